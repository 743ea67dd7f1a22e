package monitor

import (
	"strings"

	"golang.org/x/sys/unix"

	"bulkhead/policy/plan"
	"bulkhead/sandbox/worker"
)

// own are the variables that are about the caller: they mean nothing, or
// something else, in what it executes.
var own = []string{"SANDBOX_BROKER_FD", "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"}

// fill makes a process of what the caller gave, within what the plan lets
// pass, and of the plan.
func fill(p *worker.Process, c *plan.Component, path string, g *given) error {
	var what *plan.Replaced
	for i := range c.Replaces {
		if c.Replaces[i].Path == path {
			what = &c.Replaces[i]
		}
	}
	if what == nil || len(what.Arguments) == 0 {
		return unix.ENOENT
	}
	p.Program = what.Program
	p.Arguments = append(p.Arguments, what.Arguments...)
	if what.Named && len(g.arguments) > 0 {
		p.Arguments[0] = g.arguments[0]
	}
	for i, argument := range g.arguments {
		if i == 0 || len(c.Pass.Arguments) == 0 {
			continue
		}
		if !matchesAny(c.Pass.Arguments, argument) {
			return errArgument
		}
		p.Arguments = append(p.Arguments, argument)
	}
	p.Environment = append(p.Environment, c.Environment...)
	for _, variable := range g.environment {
		name, _, _ := strings.Cut(variable, "=")
		if passesVariable(c, name) {
			p.Environment = append(p.Environment, variable)
		}
	}
	if !c.Pass.KeepDirectory {
		p.Directory = g.directory
	}
	if c.Pass.KeepUmask {
		p.Umask = worker.NoUmask
	}
	return nil
}

func passesVariable(c *plan.Component, name string) bool {
	for _, other := range own {
		if name == other {
			return false
		}
	}
	for _, variable := range c.Environment {
		if set, _, _ := strings.Cut(variable, "="); set == name {
			return false // the plan's word stands
		}
	}
	if !matchesAny(c.Pass.Withheld, name) {
		return matchesAny(c.Pass.Environment, name)
	}
	for _, pattern := range c.Pass.Environment {
		if pattern == name {
			return true
		}
	}
	return false
}

func matchesAny(patterns []string, text string) bool {
	for _, pattern := range patterns {
		if matches(pattern, text) {
			return true
		}
	}
	return false
}

// matches compares a text with a pattern of * and ?. It goes back to the last
// * only, so it takes no more than their lengths' product.
func matches(pattern, text string) bool {
	p, t, star, from := 0, 0, -1, 0
	for t < len(text) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, from = p, t
			p++
		case p < len(pattern) && (pattern[p] == '?' || pattern[p] == text[t]):
			p++
			t++
		case star >= 0:
			from++
			p, t = star+1, from
		default:
			return false
		}
	}
	for p < len(pattern) && pattern[p] == '*' {
		p++
	}
	return p == len(pattern)
}

// File systems whose files are ways into the kernel or into other processes
// (linux/magic.h): nothing of theirs passes.
var neverFrom = map[int64]bool{
	unix.PROC_SUPER_MAGIC: true, unix.SYSFS_MAGIC: true, unix.NSFS_MAGIC: true,
	unix.CGROUP_SUPER_MAGIC: true, unix.CGROUP2_SUPER_MAGIC: true, unix.BPF_FS_MAGIC: true,
	unix.DEBUGFS_MAGIC: true, unix.TRACEFS_MAGIC: true, unix.SECURITYFS_MAGIC: true,
	unix.SELINUX_MAGIC: true, unix.SECRETMEM_MAGIC: true, unix.SMACK_MAGIC: true, unix.PID_FS_MAGIC: true,
}

// events are the kinds of anonymous inodes that pass as events; of the others
// none does: a seccomp listener, an io_uring, a Landlock ruleset.
var events = map[string]bool{
	"anon_inode:[eventfd]": true, "anon_inode:[timerfd]": true, "anon_inode:[signalfd]": true,
	"anon_inode:[eventpoll]": true, "anon_inode:inotify": true,
}

// memoryDevice is the file system, mounted nowhere, that all files of
// memfd_create(2) are on; other files on a tmpfs are files.
func memoryDevice() (uint64, error) {
	fd, err := unix.MemfdCreate("device", unix.MFD_CLOEXEC)
	if err != nil {
		return 0, err
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	err = unix.Fstat(fd, &st)
	return st.Dev, err
}

// examine says what kind of descriptor fd is. It stands still while a file
// system does, so it is not for the loop.
func examine(fd, number int, directories []string, memory uint64) descriptor {
	d := descriptor{fd: fd, number: number, what: "unknown"}
	var st unix.Stat_t
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
	if err != nil || unix.Fstat(fd, &st) != nil {
		return d
	}
	d.inode = st.Ino
	if flags&unix.O_PATH != 0 {
		d.what = "O_PATH"
		return d
	}
	var fs unix.Statfs_t
	if unix.Fstatfs(fd, &fs) != nil || neverFrom[int64(fs.Type)] {
		d.what = "kernel-file"
		return d
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		d.kind, d.what = plan.PassFiles, "files"
		if st.Dev == memory || fs.Type == unix.HUGETLBFS_MAGIC {
			d.kind, d.what = plan.PassMemory, "memory"
		}
	case unix.S_IFIFO:
		d.kind, d.what = plan.PassPipes, "pipes"
	case unix.S_IFSOCK:
		d.kind, d.what = plan.PassSockets, "sockets"
	case unix.S_IFCHR:
		d.kind, d.what = plan.PassDevices, "devices"
	case unix.S_IFBLK:
		d.what = "block-device"
	case unix.S_IFDIR:
		d.what = "directory"
		d.path, _ = unixReadlink("/proc/self/fd/" + itoa(fd))
		for _, directory := range directories {
			var named unix.Stat_t
			if unix.Stat(directory, &named) == nil && named.Dev == st.Dev && named.Ino == st.Ino {
				d.named = true
			}
		}
	default:
		name, _ := unixReadlink("/proc/self/fd/" + itoa(fd))
		d.what = name
		if events[name] {
			d.kind, d.what = plan.PassEvents, "events"
		}
	}
	return d
}
