package hostile

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"bulkhead/broker/client"
	"bulkhead/test/e2e/outcome"
)

// appendOnly tries to change what is in a file that it may only append to.
func appendOnly([]string) int {
	b, err := client.Dial()
	if err != nil {
		say("dial", err)
		return 1
	}
	f, err := b.Open("log", "", os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		say("open", err)
		return 1
	}
	raw, _ := f.SyscallConn()
	raw.Control(func(p uintptr) {
		fd := int(p)
		_, err := unix.Pwrite(fd, []byte("pwrite."), 0)
		say("pwrite", err)
		_, err = unix.Pwritev2(fd, [][]byte{[]byte("NOAPPEND")}, 0, 0x20 /* RWF_NOAPPEND, Linux 6.9 */)
		say("pwritev2 without append", err)
		say("truncate", unix.Ftruncate(fd, 0))
		say("punch a hole", unix.Fallocate(fd, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 0, 4))
		_, err = unix.FcntlInt(p, unix.F_SETFL, 0)
		say("clear O_APPEND", err)
		_, err = unix.Pwrite(fd, []byte("OVERWRITTEN"), 0)
		say("pwrite again", err)
		_, err = unix.FcntlInt(p, unix.F_SETFL, unix.O_APPEND|unix.O_NONBLOCK)
		say("set O_NONBLOCK", err)
		_, err = unix.FcntlInt(uintptr(pipe()), unix.F_SETFL, unix.O_ASYNC)
		say("have the monitor set O_ASYNC", err)
		own(fd)
	})
	return 0
}

// appendKept holds a file that it may only append to while the file's directory is
// made again, ROUNDS times, and with it the monitor's root; and tries each time to
// change what is in the files that it has by then.
func appendKept(arguments []string) int {
	b, err := client.Dial()
	if err != nil {
		say("dial", err)
		return 1
	}
	own, err := unix.Open("/tmp/own", unix.O_RDWR|unix.O_CREAT|unix.O_APPEND|unix.O_CLOEXEC, 0o600)
	if err != nil {
		say("open a file of its own", err)
		return 1
	}
	var held []*os.File
	seen := map[uint64]bool{}
	for rounds := number(arguments[0]); len(held) <= rounds; time.Sleep(10 * time.Millisecond) {
		f, err := b.Open("log", "", os.O_WRONLY|os.O_APPEND, 0)
		if err != nil {
			continue // it is not there yet
		}
		var st unix.Stat_t
		if err := unix.Fstat(int(f.Fd()), &st); err != nil || seen[st.Ino] {
			f.Close()
			continue
		}
		seen[st.Ino] = true
		held = append(held, f)
		for i, f := range held {
			fd := int(f.Fd())
			_, cleared := unix.FcntlInt(f.Fd(), unix.F_SETFL, 0)
			_, err := unix.Write(fd, []byte("."))
			fmt.Printf("%d of %d: truncate %s, allocate %s, clear O_APPEND %s, write %s\n", i+1, len(held), outcome.Of(unix.Ftruncate(fd, 0)),
				outcome.Of(unix.Fallocate(fd, 0, 0, 4096)), outcome.Of(cleared), outcome.Of(err))
		}
		_, cleared := unix.FcntlInt(uintptr(own), unix.F_SETFL, unix.O_APPEND)
		fmt.Printf("its own beside %d: truncate %s, set O_APPEND %s\n", len(held), outcome.Of(unix.Ftruncate(own, 0)), outcome.Of(cleared))
	}
	return 0
}

// own does the same to a file of its own, which is nobody's business, and then
// puts the other in its place while the monitor looks.
func own(log int) {
	fd, err := unix.Open("/tmp/own", unix.O_RDWR|unix.O_CREAT|unix.O_APPEND|unix.O_CLOEXEC, 0o600)
	say("open a file of its own", err)
	unix.Write(fd, []byte("0123456789"))
	say("truncate its own", unix.Ftruncate(fd, 5))
	say("allocate its own", unix.Fallocate(fd, 0, 0, 4096))
	say("truncate it beyond its limit", unix.Ftruncate(fd, 1<<30))
	_, err = unix.FcntlInt(uintptr(fd), unix.F_SETFL, 0)
	say("clear O_APPEND of its own", err)
	number, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 200)
	say("dup", err)
	go func() {
		for {
			unix.Dup3(log, number, unix.O_CLOEXEC)
			unix.Dup3(fd, number, unix.O_CLOEXEC)
		}
	}()
	cut, refused := 0, 0
	for end := time.Now().Add(time.Second); goesOn(end, cut > 0 && refused > 0); {
		if unix.Ftruncate(number, 0) == nil {
			cut++
		} else {
			refused++
		}
		unix.FcntlInt(uintptr(number), unix.F_SETFL, 0)
	}
	flags, _ := unix.FcntlInt(uintptr(log), unix.F_GETFL, 0)
	fmt.Println("raced: cut some:", cut > 0, "refused some:", refused > 0, "appends still:", flags&unix.O_APPEND != 0)
}

// reopen tries to get more access to what it has than it was given.
func reopen([]string) int {
	b, err := client.Dial()
	if err != nil {
		say("dial", err)
		return 1
	}
	f, err := b.Open("books", "moby", os.O_RDONLY, 0)
	if err != nil {
		say("open", err)
		return 1
	}
	raw, _ := f.SyscallConn()
	raw.Control(func(p uintptr) {
		path := fmt.Sprintf("/proc/self/fd/%d", p)
		for _, mode := range []struct {
			name  string
			flags int
		}{{"write", unix.O_WRONLY}, {"read and write", unix.O_RDWR}, {"truncate", unix.O_RDONLY | unix.O_TRUNC}} {
			_, err := unix.Open(path, mode.flags, 0)
			say("reopen to "+mode.name, err)
		}
		say("change its mode", unix.Fchmod(int(p), 0o777))
		_, err = unix.Openat(int(p), "..", unix.O_RDONLY, 0)
		say("climb from it", err)
	})
	return 0
}

// swap changes what a name in the current directory's "store" stands for, as
// fast as it can.
func swap(arguments []string) int {
	dir := arguments[0]
	secret := arguments[1]
	fmt.Println("swaps")
	os.Mkdir(dir+"/real", 0o777)
	os.WriteFile(dir+"/real/file", []byte("fine"), 0o666)
	os.WriteFile(dir+"/plain", []byte("fine"), 0o666)
	for i := 0; ; i++ {
		os.Symlink(secret, dir+"/a")
		os.Rename(dir+"/a", dir+"/file")
		os.Symlink("real/file", dir+"/b")
		os.Rename(dir+"/b", dir+"/file")
		os.Symlink("..", dir+"/c")
		os.Rename(dir+"/c", dir+"/way")
		os.Symlink("real", dir+"/d")
		os.Rename(dir+"/d", dir+"/way")
		os.Symlink("/proc/self/root"+secret, dir+"/e")
		os.Rename(dir+"/e", dir+"/file")
		os.Link(dir+"/plain", dir+"/g")
		os.Rename(dir+"/g", dir+"/file")
		unix.Mkfifo(dir+"/f", 0o666)
		os.Rename(dir+"/f", dir+"/file")
	}
}

// race: DURATION WANTED opens names that change meanwhile and counts what it gets.
func race(arguments []string) int {
	b, err := client.Dial()
	if err != nil {
		say("dial", err)
		return 1
	}
	seen := newTally(arguments[0], arguments[1])
	for seen.more() {
		for _, name := range []string{"file", "way/file", "way/secret", "real/../file", "way/../secret"} {
			for _, flags := range []int{os.O_RDONLY, os.O_RDWR | os.O_CREATE} {
				f, err := b.Open("store", name, flags, 0o644)
				if err != nil {
					seen.got(outcome.Of(err))
					continue
				}
				var text [32]byte
				n, _ := f.Read(text[:])
				if strings.Contains(string(text[:n]), "secret") {
					seen.got("THE SECRET")
				} else {
					seen.got(judged(int(f.Fd()), unix.S_IFREG))
				}
				f.Close()
			}
		}
	}
	seen.print()
	return 0
}

// judged is "fine" for a descriptor of one of some kinds (inode(7), S_IFMT), and all
// that is known of it otherwise. Below 3 none was handed out: those are the
// program's own from its start.
func judged(fd int, kinds ...uint32) string {
	var st unix.Stat_t
	err := unix.Fstat(fd, &st)
	if err == nil && fd > 2 && slices.Contains(kinds, st.Mode&unix.S_IFMT) {
		return "fine"
	}
	flags, flagsErr := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
	link, linkErr := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd))
	return fmt.Sprintf("SOMETHING ELSE: descriptor %d, fstat %v: mode %#o, device %#x, inode %d, flags %#x (%v), link %q (%v)",
		fd, err, st.Mode, st.Dev, st.Ino, flags, flagsErr, link, linkErr)
}

// ladder tries to give another worker a way into its own root: a directory, an
// O_PATH descriptor, its broker socket, each directly, stored, and in flight
// in a socket that may be passed.
func ladder([]string) int {
	b, err := client.Dial()
	if err != nil {
		say("dial", err)
		return 1
	}
	directory, err := os.Open("/")
	if err != nil {
		say("open /", err)
		return 1
	}
	path, err := unix.Open("/proc/self/exe", unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		say("open O_PATH", err)
		return 1
	}
	broker, err := unix.FcntlInt(uintptr(brokerFD()), unix.F_DUPFD_CLOEXEC, 100)
	if err != nil {
		say("dup", err)
		return 1
	}
	for _, give := range []struct {
		name string
		file *os.File
	}{{"a directory", directory}, {"O_PATH", os.NewFile(uintptr(path), "path")}, {"the broker socket", os.NewFile(uintptr(broker), "broker")}} {
		_, err := b.Start("climber", map[int]*os.File{0: give.file})
		say("pass "+give.name, err)
		say("store "+give.name, b.Store("x", give.file))
	}
	// In flight: what a socket carries nobody can look at.
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		say("socketpair", err)
		return 1
	}
	if err := unix.Sendmsg(pair[0], []byte("x"), unix.UnixRights(int(directory.Fd())), nil, 0); err != nil {
		say("send", err)
		return 1
	}
	r, w, err := os.Pipe()
	if err != nil {
		say("pipe", err)
		return 1
	}
	w.Fd() // blocking
	_, err = b.Start("climber", map[int]*os.File{0: os.NewFile(uintptr(pair[1]), "pair"), 1: w})
	w.Close()
	if err != nil {
		say("pass a socket", err)
		return 1
	}
	text, _ := io.ReadAll(r)
	fmt.Print(string(text))
	return 0
}

// climb takes a directory out of the socket at descriptor 0 and looks for what
// only its giver has.
func climb(arguments []string) int {
	var b [16]byte
	control := make([]byte, 64)
	_, n, _, _, err := unix.Recvmsg(0, b[:], control, unix.MSG_CMSG_CLOEXEC)
	if err != nil {
		say("receive", err)
		return 1
	}
	messages, _ := unix.ParseSocketControlMessage(control[:n])
	if len(messages) == 0 {
		fmt.Println("climb: nothing came")
		return 0
	}
	fds, _ := unix.ParseUnixRights(&messages[0])
	_, err = unix.Openat(fds[0], strings.TrimPrefix(arguments[0], "/"), unix.O_RDONLY, 0)
	say("climb to a file of the giver", err)
	_, err = unix.Openat(fds[0], "..", unix.O_RDONLY|unix.O_DIRECTORY, 0)
	say("climb to its root", err)
	return 0
}
