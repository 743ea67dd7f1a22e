package worker

import (
	"encoding/binary"
	"os"
	"regexp"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"
)

// The numbers stand twice, in C and in Go; here they are compared.
func TestNumbersAreThoseOfTheInit(t *testing.T) {
	header, err := os.ReadFile("../init/init.h")
	if err != nil {
		t.Fatal(err)
	}
	inC := map[string]int{}
	for _, m := range regexp.MustCompile(`\b(MSG_[A-Z_]+) = (\d+)`).FindAllStringSubmatch(string(header), -1) {
		inC[m[1]], _ = strconv.Atoi(m[2])
	}
	inGo := map[string]int{
		"MSG_HELLO": msgHello, "MSG_SPAWN": msgSpawn, "MSG_SPAWNED": msgSpawned, "MSG_FDS": msgFDs,
		"MSG_GO": msgGo, "MSG_STARTED": msgStarted, "MSG_FAILED": msgFailed,
		"MSG_ENDED": msgEnded, "MSG_COMMAND": msgCommand, "MSG_PROCESS": msgProcess, "MSG_STOPPED": msgStopped, "MSG_PID": msgPid,
	}
	for name, number := range inGo {
		if inC[name] != number {
			t.Errorf("%s is %d in C and %d in Go", name, inC[name], number)
		}
		delete(inC, name)
	}
	for name := range inC {
		t.Errorf("%s is in C only", name)
	}
}

func TestReceiveKeepsNoDescriptorOfABadMessage(t *testing.T) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pair[0])
	defer unix.Close(pair[1])
	before := openDescriptors(t)
	for _, m := range [][]byte{
		{1}, binary.LittleEndian.AppendUint32(nil, 99), binary.LittleEndian.AppendUint32(nil, msgStarted),
	} {
		if err := unix.Sendmsg(pair[1], m, unix.UnixRights(0, 1, 2), nil, 0); err != nil {
			t.Fatal(err)
		}
		if got, err := Receive(pair[0]); err == nil {
			t.Errorf("%v with three descriptors was taken as %+v", m, got)
		}
	}
	if after := openDescriptors(t); after != before {
		t.Errorf("%d descriptors are open, %d were before", after, before)
	}
}

// An init that failed before it heard has said why, whatever the kernel says of a
// packet that nobody will read.
func TestGoToOneThatHasEnded(t *testing.T) {
	for _, unread := range []int{0, 1} {
		pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(pair[0])
		for range unread {
			if err := send(pair[0], []byte("unread"), nil); err != nil {
				t.Fatal(err)
			}
		}
		failed := binary.LittleEndian.AppendUint32(nil, msgFailed)
		failed = binary.LittleEndian.AppendUint32(failed, uint32(unix.EINTR))
		if err := send(pair[1], append(failed, "enter the cgroup"...), nil); err != nil {
			t.Fatal(err)
		}
		unix.Close(pair[1])
		if err := Go(pair[0], nil, nil, nil, nil); err != ErrEnded {
			t.Errorf("%d packets unread: %v", unread, err)
		}
		if said, err := Receive(pair[0]); err != nil || said.Kind != Failed || said.Errno != unix.EINTR || said.Step != "enter the cgroup" {
			t.Errorf("%d packets unread: then it says %+v, %v", unread, said, err)
		}
	}
}

func openDescriptors(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

func FuzzParse(f *testing.F) {
	for kind := range uint32(13) {
		f.Add(binary.LittleEndian.AppendUint32(nil, kind), 0)
		f.Add(append(binary.LittleEndian.AppendUint32(nil, kind), make([]byte, 20)...), 2)
	}
	f.Fuzz(func(t *testing.T, b []byte, fds int) {
		if fds < 0 || fds > 16 {
			return
		}
		_, used, err := parse(b, make([]int, fds))
		if err == nil && used > fds {
			t.Fatalf("%d of %d descriptors used", used, fds)
		}
	})
}
