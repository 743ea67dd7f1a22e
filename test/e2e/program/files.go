package program

import (
	"fmt"
	"os"
	"sort"
	"strconv"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"bulkhead/test/e2e/outcome"
)

// fileSteps are what a program does to files that knows nothing of Bulkhead,
// by the kernel's own calls, one for each step. What a step returns is printed
// behind it.
var fileSteps = map[string]func([]string) (string, error){
	"open":     openFile,
	"again":    openAgain,
	"list":     list,
	"chdir":    func(a []string) (string, error) { return "", unix.Chdir(a[0]) },
	"getcwd":   func([]string) (string, error) { return os.Getwd() },
	"stat":     func(a []string) (string, error) { return status(unix.AT_FDCWD, a[0], 0) },
	"lstat":    func(a []string) (string, error) { return status(unix.AT_FDCWD, a[0], unix.AT_SYMLINK_NOFOLLOW) },
	"oldstat":  oldStat,
	"statx":    statx,
	"access":   access,
	"readlink": readLink,
	"truncate": func(a []string) (string, error) { return "", unix.Truncate(a[0], int64(number(a[1]))) },
	"unlink":   func(a []string) (string, error) { return "", unix.Unlink(a[0]) },
	"rmdir":    func(a []string) (string, error) { return "", unix.Rmdir(a[0]) },
	"mkdir":    func(a []string) (string, error) { return "", unix.Mkdir(a[0], octal(a[1])) },
	"rename":   func(a []string) (string, error) { return "", unix.Rename(a[0], a[1]) },
	"exchange": func(a []string) (string, error) {
		return "", unix.Renameat2(unix.AT_FDCWD, a[0], unix.AT_FDCWD, a[1], unix.RENAME_EXCHANGE)
	},
	"replace-not": func(a []string) (string, error) {
		return "", unix.Renameat2(unix.AT_FDCWD, a[0], unix.AT_FDCWD, a[1], unix.RENAME_NOREPLACE)
	},
	"link":    func(a []string) (string, error) { return "", unix.Link(a[0], a[1]) },
	"symlink": func(a []string) (string, error) { return "", unix.Symlink(a[0], a[1]) },
	"mkfifo":  func(a []string) (string, error) { return "", unix.Mkfifo(a[0], 0o600) },
	"chmod":   func(a []string) (string, error) { return "", unix.Chmod(a[0], octal(a[1])) },
	"fchmod": func(a []string) (string, error) {
		return opened(a[0], func(fd int) error { return unix.Fchmod(fd, octal(a[1])) })
	},
	"fchown": func(a []string) (string, error) {
		return opened(a[0], func(fd int) error { return unix.Fchown(fd, number(a[1]), number(a[2])) })
	},
	"through": func(a []string) (string, error) {
		return opened(a[0], func(fd int) error { return unix.Chmod("/proc/self/fd/"+strconv.Itoa(fd), octal(a[1])) })
	},
	"flags": unknownFlags,
	"chown": func(a []string) (string, error) { return "", unix.Chown(a[0], number(a[1]), number(a[2])) },
	"touch": func(a []string) (string, error) {
		return "", unix.UtimesNanoAt(unix.AT_FDCWD, a[0], []unix.Timespec{{Sec: int64(number(a[1]))}, {Sec: int64(number(a[1]))}}, 0)
	},
	"relative": relative,
	"same":     same,
	"descend":  descend,
	"umask":    func(a []string) (string, error) { return "", ignore(unix.Umask(int(octal(a[0])))) },
}

// opened does something with a descriptor of PATH.
func opened(path string, do func(fd int) error) (string, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", err
	}
	defer unix.Close(fd)
	return "", do(fd)
}

// unknownFlags: PATH says what calls answer to flags that they do not have.
func unknownFlags(a []string) (string, error) {
	const unknown = 0x8000
	path, err := unix.BytePtrFromString(a[0])
	if err != nil {
		return "", err
	}
	at, name := unix.AT_FDCWD, uintptr(unsafe.Pointer(path))
	var st unix.Stat_t
	var answers []string
	for _, errno := range []syscall.Errno{
		raw(unix.SYS_NEWFSTATAT, uintptr(at), name, uintptr(unsafe.Pointer(&st)), unknown),
		raw(unix.SYS_FACCESSAT2, uintptr(at), name, 0, unknown),
		raw(unix.SYS_FCHMODAT2, uintptr(at), name, 0o644, unknown),
		raw(unix.SYS_FCHOWNAT, uintptr(at), name, ^uintptr(0), ^uintptr(0), unknown),
		raw(unix.SYS_UTIMENSAT, uintptr(at), name, uintptr(unsafe.Pointer(&[2]unix.Timespec{})), unknown),
	} {
		answers = append(answers, outcome.Of(errno))
	}
	return strings.Join(answers, " "), nil
}

func raw(call uintptr, arguments ...uintptr) syscall.Errno {
	var all [6]uintptr
	copy(all[:], arguments)
	_, _, errno := unix.Syscall6(call, all[0], all[1], all[2], all[3], all[4], all[5])
	return errno
}

func ignore(int) error { return nil }

func doFiles(steps []string) int {
	unix.Umask(0o022)
	for _, step := range steps {
		words := strings.Fields(step)
		f := fileSteps[words[0]]
		if f == nil {
			fmt.Println("unknown step:", step)
			return 99
		}
		got, err := f(words[1:])
		switch {
		case err != nil:
			got = outcome.Of(err)
		case got == "":
			got = "ok"
		}
		fmt.Println(step + ": " + got)
	}
	return 0
}

var openWords = map[string]int{
	"read": unix.O_RDONLY, "write": unix.O_WRONLY, "both": unix.O_RDWR, "create": unix.O_CREAT, "new": unix.O_CREAT | unix.O_EXCL,
	"truncate": unix.O_TRUNC, "append": unix.O_APPEND, "directory": unix.O_DIRECTORY, "nofollow": unix.O_NOFOLLOW, "path": unix.O_PATH,
	"nonblock": unix.O_NONBLOCK, "temporary": unix.O_TMPFILE, "cloexec": unix.O_CLOEXEC,
}

func openFlags(words string) (flags int) {
	for _, word := range strings.Split(words, ",") {
		flags |= openWords[word]
	}
	return flags
}

// openFile: PATH FLAG,FLAG… [MODE [TEXT]] tells what it reads, what kind of
// thing it is, and which flags it has.
func openFile(a []string) (string, error) {
	mode := uint32(0o666)
	if len(a) > 2 {
		mode = octal(a[2])
	}
	flags := openFlags(a[1])
	fd, err := unix.Open(a[0], flags, mode)
	if err != nil {
		return "", err
	}
	defer unix.Close(fd)
	if len(a) > 3 {
		if _, err := unix.Write(fd, []byte(a[3])); err != nil {
			return "", err
		}
	}
	text := kindOf(fd)
	if flags&(unix.O_ACCMODE|unix.O_PATH) != unix.O_WRONLY && text == "file" {
		var b [64]byte
		n, err := unix.Pread(fd, b[:], 0)
		if err != nil {
			return "", err
		}
		text += " " + strconv.Quote(string(b[:n]))
	}
	onExec, _ := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
	is, _ := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
	for _, f := range []struct {
		set  bool
		name string
	}{{onExec&unix.FD_CLOEXEC != 0, "cloexec"}, {is&unix.O_APPEND != 0, "append"}, {is&unix.O_NONBLOCK != 0, "nonblock"}} {
		if f.set {
			text += " " + f.name
		}
	}
	return text, nil
}

// openAgain: PATH COUNT opens a file many times and tells what it got that was not
// the file, by the numbers that open returned.
func openAgain(a []string) (string, error) {
	wrong := map[string]int{}
	for range number(a[1]) {
		fd, err := unix.Open(a[0], unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			return "", err
		}
		if fd < 3 || kindOf(fd) != "file" {
			wrong[fmt.Sprintf("number %d, a %s", fd, kindOf(fd))]++
			continue
		}
		unix.Close(fd)
	}
	if len(wrong) > 0 {
		return fmt.Sprint(wrong), nil
	}
	return "", nil
}

func list(a []string) (string, error) {
	entries, err := os.ReadDir(a[0])
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return strings.Join(names, " "), err
}

func status(directory int, path string, flags int) (string, error) {
	var st unix.Stat_t
	if err := unix.Fstatat(directory, path, &st, flags); err != nil {
		return "", err
	}
	return fmt.Sprintf("%#o %d:%d %d", st.Mode, st.Uid, st.Gid, size(&st)), nil
}

// size is not told of directories, whose file system decides it.
func size(st *unix.Stat_t) int64 {
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		return 0
	}
	return st.Size
}

func oldStat(a []string) (string, error) {
	var st unix.Stat_t
	path, err := unix.BytePtrFromString(a[0])
	if err != nil {
		return "", err
	}
	if _, _, errno := unix.Syscall(unix.SYS_STAT, uintptr(unsafe.Pointer(path)), uintptr(unsafe.Pointer(&st)), 0); errno != 0 {
		return "", errno
	}
	return fmt.Sprintf("%#o %d:%d %d", st.Mode, st.Uid, st.Gid, size(&st)), nil
}

func statx(a []string) (string, error) {
	var st unix.Statx_t
	if err := unix.Statx(unix.AT_FDCWD, a[0], 0, unix.STATX_BASIC_STATS, &st); err != nil {
		return "", err
	}
	return fmt.Sprintf("%#o %d:%d %d", st.Mode, st.Uid, st.Gid, st.Size), nil
}

func access(a []string) (string, error) {
	mode := map[string]uint32{"exists": 0, "read": unix.R_OK, "write": unix.W_OK, "execute": unix.X_OK}[a[1]]
	if err := unix.Faccessat2(unix.AT_FDCWD, a[0], mode, unix.AT_EACCESS); err != nil {
		return "", err
	}
	return "", unix.Access(a[0], mode)
}

func readLink(a []string) (string, error) {
	var b [256]byte
	n, err := unix.Readlink(a[0], b[:])
	if err != nil {
		return "", err
	}
	return string(b[:n]), nil
}

// relative: DIRECTORY PATH opens the path by a descriptor of the directory.
func relative(a []string) (string, error) {
	directory, err := unix.Open(a[0], unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return "", err
	}
	defer unix.Close(directory)
	fd, err := unix.Openat(directory, a[1], unix.O_RDONLY, 0)
	if err != nil {
		return "", err
	}
	defer unix.Close(fd)
	var b [64]byte
	n, _ := unix.Read(fd, b[:])
	return kindOf(fd) + " " + strconv.Quote(string(b[:n])), nil
}

// same: PATH compares what stat and an fstat of an open descriptor say, as
// programs do that remove trees.
func same(a []string) (string, error) {
	fd, err := unix.Open(a[0], unix.O_RDONLY, 0)
	if err != nil {
		return "", err
	}
	defer unix.Close(fd)
	var byName, byNumber unix.Stat_t
	if err := unix.Stat(a[0], &byName); err != nil {
		return "", err
	}
	if err := unix.Fstat(fd, &byNumber); err != nil {
		return "", err
	}
	return strconv.FormatBool(byName.Dev == byNumber.Dev && byName.Ino == byNumber.Ino), nil
}

// descend: DIRECTORY climbs from a descriptor of it as far as that goes, and
// lists the top.
func descend(a []string) (string, error) {
	directory, err := unix.Open(a[0], unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return "", err
	}
	for range 32 {
		above, err := unix.Openat(directory, "..", unix.O_RDONLY|unix.O_DIRECTORY, 0)
		if err != nil {
			return "", err
		}
		unix.Close(directory)
		directory = above
	}
	f := os.NewFile(uintptr(directory), "top")
	defer f.Close()
	names, err := f.Readdirnames(-1)
	sort.Strings(names)
	return strings.Join(names, " "), err
}

func number(text string) int {
	n, _ := strconv.Atoi(text)
	return n
}

func octal(text string) uint32 {
	n, _ := strconv.ParseUint(text, 8, 32)
	return uint32(n)
}
