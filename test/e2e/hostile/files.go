package hostile

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"

	"bulkhead/broker/client"
	"bulkhead/test/e2e/outcome"
)

// pathRace: DIRECTORY SECRET DURATION WANTED makes transparent calls whose path,
// and whose descriptor of a directory, another thread changes while they are
// stopped, and counts what comes of them.
func pathRace(arguments []string) int {
	store, secret := arguments[0], arguments[1]
	seen := newTally(arguments[2], arguments[3])
	var stop atomic.Bool

	// One buffer, and everything that it says in turn.
	buffer := make([]byte, 512)
	names := []string{
		store + "/file", secret, store + "/../secret", "/proc/self/root" + secret, "/etc/passwd", "file",
		store + "/sub/../../secret", store + "/way/secret", "/proc/1/root" + secret, strings.Repeat("x", 400),
	}
	go func() {
		runtime.LockOSThread()
		for i := 0; !stop.Load(); i++ {
			copy(buffer, names[i%len(names)]+"\x00")
		}
	}()

	// One number, and everything that it is in turn.
	standIn, err := unix.Open(store, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		say("open the directory", err)
		return 1
	}
	root, _ := unix.Open("/", unix.O_RDONLY|unix.O_DIRECTORY, 0)
	etc, _ := unix.Open("/etc", unix.O_RDONLY|unix.O_DIRECTORY, 0)
	file, _ := unix.Open(store+"/file", unix.O_RDONLY, 0)
	const number = 200
	unix.Dup3(standIn, number, 0)
	go func() {
		runtime.LockOSThread()
		for i := 0; !stop.Load(); i++ {
			unix.Dup3([]int{standIn, root, etc, file}[i%4], number, 0)
		}
	}()

	relative := append([]byte("../secret"), 0)
	path := uintptr(unsafe.Pointer(&buffer[0]))
	climbs := uintptr(unsafe.Pointer(&relative[0]))
	here := -100
	working := uintptr(here)
	list := make([]byte, 4096)
	for seen.more() {
		for _, call := range [][4]uintptr{
			{unix.SYS_OPENAT, working, path, unix.O_RDONLY},
			{unix.SYS_OPENAT, working, path, unix.O_RDWR | unix.O_CREAT},
			{unix.SYS_OPENAT, number, path, unix.O_RDONLY},
			{unix.SYS_OPENAT, number, climbs, unix.O_RDONLY},
		} {
			fd, _, errno := unix.Syscall6(unix.SYS_OPENAT, call[1], call[2], call[3], 0o600, 0, 0)
			if errno != 0 {
				seen.got(outcome.Of(errno))
				continue
			}
			var text [32]byte
			n, _ := unix.Pread(int(fd), text[:], 0)
			if strings.Contains(string(text[:max(n, 0)]), "secret") {
				seen.got("THE SECRET")
			} else {
				seen.got(judged(int(fd), unix.S_IFREG, unix.S_IFDIR))
			}
			unix.Close(int(fd))
		}
		// What changes things, by the same buffer.
		for _, call := range [][4]uintptr{
			{unix.SYS_TRUNCATE, path, 0},
			{unix.SYS_CHMOD, path, 0o666},
			{unix.SYS_UNLINKAT, number, climbs, 0},
			{unix.SYS_RENAMEAT, number, climbs, working}, // … to the buffer
			{unix.SYS_MKDIR, path, 0o777},
		} {
			_, _, errno := unix.Syscall6(call[0], call[1], call[2], call[3], path, 0, 0)
			seen.got(outcome.Of(outcomeOf(errno)))
		}
		unix.Seek(number, 0, unix.SEEK_SET)
		n, err := unix.Getdents(number, list)
		if err == nil && strings.Contains(string(list[:n]), "secret\x00") {
			seen.got("THE SECRET'S NAME")
		}
	}
	stop.Store(true)
	seen.print()
	return 0
}

// linkRace: DIRECTORY DURATION WANTED makes transparent calls on names that somebody
// else changes meanwhile.
func linkRace(arguments []string) int {
	store := arguments[0]
	seen := newTally(arguments[1], arguments[2])
	for seen.more() {
		for _, name := range []string{"file", "way/file", "way/secret", "real/../file", "way/../secret"} {
			for _, flags := range []int{unix.O_RDONLY, unix.O_RDWR | unix.O_CREAT} {
				fd, err := unix.Open(store+"/"+name, flags, 0o644)
				if err != nil {
					seen.got(outcome.Of(err))
					continue
				}
				var text [32]byte
				n, _ := unix.Read(fd, text[:])
				if strings.Contains(string(text[:max(n, 0)]), "secret") {
					seen.got("THE SECRET")
				} else {
					seen.got(judged(fd, unix.S_IFREG))
				}
				unix.Close(fd)
			}
			unix.Truncate(store+"/"+name, 100)
			unix.Chmod(store+"/"+name, 0o600)
			unix.UtimesNanoAt(unix.AT_FDCWD, store+"/"+name, make([]unix.Timespec, 2), 0)
			os.Remove(store + "/way/secret")
			os.Rename(store+"/way/secret", store+"/stolen")
			os.Mkdir(store+"/way/made", 0o755)
			if names, err := os.ReadDir(store + "/way"); err == nil {
				for _, name := range names {
					if name.Name() == "store" { // it has itself in it only from above
						seen.got("THE SECRET'S NEIGHBOUR")
					}
				}
			}
		}
	}
	seen.print()
	return 0
}

// beyondFiles tries what is not a path beneath a grant, though it looks so.
func beyondFiles(arguments []string) int {
	store := arguments[0]
	directory, err := unix.Open(store, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		say("open the directory", err)
		return 1
	}
	file, err := unix.Open(store+"/file", unix.O_RDONLY, 0)
	if err != nil {
		say("open the file", err)
		return 1
	}
	for _, try := range []struct {
		what string
		do   func() error
	}{
		{"make a file in the stand-in", func() error {
			// By a call that nobody looks at: a copy of the directory in /proc.
			return open(unix.Open(fmt.Sprintf("/proc/self/fd/%d/new", directory), unix.O_WRONLY|unix.O_CREAT, 0o600))
		}},
		{"bind a socket there", func() error {
			fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
			if err != nil {
				return err
			}
			return unix.Bind(fd, &unix.SockaddrUnix{Name: store + "/socket"})
		}},
		{"make a device", func() error { return unix.Mknod(store+"/null", unix.S_IFCHR|0o666, 0x103) }},
		{"make a FIFO", func() error { return unix.Mknod(store+"/pipe", unix.S_IFIFO|0o666, 0) }},
		{"make it set-user-ID", func() error { return unix.Fchmod(file, 0o4755) }},
		{"open with set-user-ID", func() error {
			if err := open(unix.Open(store+"/suid", unix.O_WRONLY|unix.O_CREAT, 0o6755)); err != nil {
				return err
			}
			var st unix.Stat_t
			if err := unix.Stat(store+"/suid", &st); err != nil || st.Mode&0o6000 != 0 {
				return nil
			}
			return unix.EPERM // it is there, and an ordinary file
		}},
		{"open the directory by its number", func() error { return open(unix.Openat(directory, "../secret", unix.O_RDONLY, 0)) }},
		{"climb by /proc/self/fd", func() error {
			return open(unix.Open(fmt.Sprintf("/proc/self/fd/%d/../secret", directory), unix.O_RDONLY, 0))
		}},
		{"open the file again to write", func() error { return open(unix.Open(fmt.Sprintf("/proc/self/fd/%d", file), unix.O_WRONLY, 0)) }},
		{"execute what it wrote", func() error {
			if err := unix.Chmod(store+"/suid", 0o755); err != nil {
				return err
			}
			return unix.Exec(store+"/suid", []string{"suid"}, nil)
		}},
		{"link a descriptor's file", func() error {
			return unix.Linkat(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", file), unix.AT_FDCWD, store+"/again", unix.AT_SYMLINK_FOLLOW)
		}},
		{"read the real directory by getdents", func() error {
			var b [4096]byte
			_, _, errno := unix.Syscall(unix.SYS_GETDENTS64, uintptr(file), uintptr(unsafe.Pointer(&b[0])), 4096)
			return outcomeOf(errno)
		}},
		{"write a list to nowhere", func() error {
			_, _, errno := unix.Syscall(unix.SYS_GETDENTS64, uintptr(directory), 8, 4096)
			return outcomeOf(errno)
		}},
		{"write a status to nowhere", func() error {
			name, _ := unix.BytePtrFromString(store + "/file")
			_, _, errno := unix.Syscall(unix.SYS_STAT, uintptr(unsafe.Pointer(name)), 8, 0)
			return outcomeOf(errno)
		}},
	} {
		say(try.what, try.do())
	}
	return 0
}

func outcomeOf(errno unix.Errno) error {
	if errno == 0 {
		return nil
	}
	return errno
}

func open(fd int, err error) error {
	if err == nil {
		unix.Close(fd)
	}
	return err
}

// lend makes a file beneath a grant, PATH or, where that is not given, on request,
// and tries to make a program of it that lends the component's user.
func lend(arguments []string) int {
	file, err := func() (*os.File, error) {
		if len(arguments) > 0 {
			return os.OpenFile(arguments[0], os.O_RDWR|os.O_CREATE, 0o644)
		}
		b, err := client.Dial()
		if err != nil {
			return nil, err
		}
		return b.Open("store", "mine", os.O_RDWR|os.O_CREATE, 0o4644)
	}()
	if err != nil {
		say("make the file", err)
		return 1
	}
	fd := int(file.Fd())
	link := fmt.Sprintf("/proc/self/fd/%d", fd)
	say("an honest mode", unix.Fchmod(fd, 0o755))
	say("fchmod", unix.Fchmod(fd, 0o4755))
	say("fchmod of the group", unix.Fchmod(fd, 0o2755))
	say("chmod", unix.Chmod(link, 0o4755))
	say("fchmodat2", unix.Fchmodat(fd, "", 0o4755, unix.AT_EMPTY_PATH))
	if len(arguments) == 0 {
		return 0
	}
	// A path of its own, which is another one when the kernel reads it.
	own := "/tmp/own"
	if err := os.WriteFile(own, nil, 0o644); err != nil {
		say("make its own file", err)
		return 1
	}
	say("chmod of its own", unix.Chmod(own, 0o600))
	say("chmod of its own that may be another", unix.Chmod(own, 0o4755))
	return 0
}
