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
