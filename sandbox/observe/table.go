package observe

import (
	"golang.org/x/sys/unix"

	"bulkhead/policy/learn"
)

// pathArgument is a path among the arguments of a call.
type pathArgument struct {
	directory int // the argument with the directory's descriptor; none: -1
	path      int
	use       learn.Use
}

// pathCalls are the calls that name files, with what they do to them. What
// open and openat do depends on their flags: see opened.
var pathCalls = map[string][]pathArgument{
	"open": {{-1, 0, learn.Read}}, "openat": {{0, 1, learn.Read}}, "openat2": {{0, 1, learn.Read}}, "creat": {{-1, 0, learn.Create}},
	"execve": {{-1, 0, learn.Execute}}, "execveat": {{0, 1, learn.Execute}}, "uselib": {{-1, 0, learn.Map}},
	"chdir": {{-1, 0, learn.Enter}}, "chroot": {{-1, 0, learn.Enter}},

	"stat": {{-1, 0, learn.Look}}, "lstat": {{-1, 0, learn.Look}}, "newfstatat": {{0, 1, learn.Look}}, "statx": {{0, 1, learn.Look}},
	"access": {{-1, 0, learn.Look}}, "faccessat": {{0, 1, learn.Look}}, "faccessat2": {{0, 1, learn.Look}},
	"readlink": {{-1, 0, learn.Look}}, "readlinkat": {{0, 1, learn.Look}}, "statfs": {{-1, 0, learn.Look}},
	"getxattr": {{-1, 0, learn.Look}}, "lgetxattr": {{-1, 0, learn.Look}}, "getxattrat": {{0, 1, learn.Look}},
	"listxattr": {{-1, 0, learn.Look}}, "llistxattr": {{-1, 0, learn.Look}}, "listxattrat": {{0, 1, learn.Look}},
	"name_to_handle_at": {{0, 1, learn.Look}}, "file_getattr": {{0, 1, learn.Look}}, "inotify_add_watch": {{-1, 1, learn.Look}},

	"mkdir": {{-1, 0, learn.Create}}, "mkdirat": {{0, 1, learn.Create}},
	"mknod": {{-1, 0, learn.Create}}, "mknodat": {{0, 1, learn.Create}},
	"symlink": {{-1, 1, learn.Create}}, "symlinkat": {{1, 2, learn.Create}},
	"link": {{-1, 0, learn.Look}, {-1, 1, learn.Create}}, "linkat": {{0, 1, learn.Look}, {2, 3, learn.Create}},
	"rename": {{-1, 0, learn.Remove}, {-1, 1, learn.Create}}, "renameat": {{0, 1, learn.Remove}, {2, 3, learn.Create}},
	"renameat2": {{0, 1, learn.Remove}, {2, 3, learn.Create}},
	"rmdir":     {{-1, 0, learn.Remove}}, "unlink": {{-1, 0, learn.Remove}}, "unlinkat": {{0, 1, learn.Remove}},

	"truncate": {{-1, 0, learn.Write}}, "chmod": {{-1, 0, learn.Write}}, "fchmodat": {{0, 1, learn.Write}}, "fchmodat2": {{0, 1, learn.Write}},
	"chown": {{-1, 0, learn.Write}}, "lchown": {{-1, 0, learn.Write}}, "fchownat": {{0, 1, learn.Write}},
	"utime": {{-1, 0, learn.Write}}, "utimes": {{-1, 0, learn.Write}}, "futimesat": {{0, 1, learn.Write}}, "utimensat": {{0, 1, learn.Write}},
	"setxattr": {{-1, 0, learn.Write}}, "lsetxattr": {{-1, 0, learn.Write}}, "setxattrat": {{0, 1, learn.Write}},
	"removexattr": {{-1, 0, learn.Write}}, "lremovexattr": {{-1, 0, learn.Write}}, "removexattrat": {{0, 1, learn.Write}}, "file_setattr": {{0, 1, learn.Write}},
}

// otherCalls are stopped for yet other reasons: addresses, new processes, the
// end of one.
var otherCalls = []string{"bind", "connect", "listen", "sendto", "sendmsg", "sendmmsg", "mmap", "fork", "vfork", "clone", "exit", "exit_group"}

// An ordinary ioctl is asked for on every standard output and every new
// descriptor: these are in @default, and are not stopped.
var ordinaryIoctls = []uint32{0x5401, 0x5413, 0x540f, 0x541b, 0x5411, 0x5421, 0x5450, 0x5451, 0x5452}

// Rare commands of fcntl(2) are those that @default leaves out: F_SETLEASE,
// F_NOTIFY, F_SETDELEG. The others are asked for as often, and not stopped.
var rareCommands = []uint32{unix.F_SETLEASE, unix.F_NOTIFY, 1040}

// opened says how flags of open(2) use a file.
func opened(flags uint64) learn.Use {
	switch {
	case flags&unix.O_PATH != 0:
		return learn.Look
	case flags&unix.O_TMPFILE == unix.O_TMPFILE:
		return learn.Create // in the directory that it names
	case flags&(unix.O_WRONLY|unix.O_RDWR|unix.O_TRUNC) != 0:
		return learn.Write
	case flags&unix.O_DIRECTORY != 0:
		return learn.List
	}
	return learn.Read
}
