package observe

import (
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"bulkhead/policy/learn"
)

// absolute is a path as the observed process means it: from its working
// directory, or from the directory that a descriptor stands for.
func (r *run) absolute(n *notification, text string, a pathArgument) (string, bool) {
	proc := "/proc/" + strconv.Itoa(int(n.pid))
	if !strings.HasPrefix(text, "/") {
		base, ok := "", false
		switch {
		case a.directory < 0 || int32(n.arguments[a.directory]) == unix.AT_FDCWD:
			r.relative = true
			link, err := os.Readlink(proc + "/cwd")
			base, ok = link, err == nil
		default:
			base, ok = descriptorPath(int(n.pid), int(int32(n.arguments[a.directory])))
		}
		if !ok || !strings.HasPrefix(base, "/") || text == "" && a.use != learn.Execute {
			return "", false // an empty path means the descriptor itself
		}
		if text == "" {
			return base, true
		}
		text = base + "/" + text
	} else if r.chrooted {
		if root, err := os.Readlink(proc + "/root"); err == nil && root != "/" {
			text = root + text
		}
	}
	// ".." is the parent of where a link leads, not of where it stands.
	for strings.Contains(text, "/..") {
		before, after, found := strings.Cut(text+"/", "/../")
		if !found {
			break
		}
		real, err := filepath.EvalSymlinks(before + "/")
		if err != nil {
			return "", false
		}
		text = path.Join(path.Dir(real), after)
	}
	return path.Clean(text), true
}

// descriptorPath is the path of what a descriptor of a process is open on.
func descriptorPath(pid, fd int) (string, bool) {
	name, err := os.Readlink("/proc/" + strconv.Itoa(pid) + "/fd/" + strconv.Itoa(fd))
	if err != nil || strings.HasSuffix(name, " (deleted)") {
		return "", false
	}
	return name, true
}

// use writes down how a path is used, as far as it will succeed: what is not
// there needs no right.
func (r *run) use(p *process, call, name string, use learn.Use, flags uint64, key seen, cache bool) {
	var st unix.Stat_t
	at := name
	if rest, own := strings.CutPrefix(name, "/proc/self/"); own {
		at = "/proc/" + strconv.Itoa(p.id) + "/" + rest
	}
	exists := unix.Stat(at, &st) == nil
	if !exists && (use == learn.Remove || use == learn.Look) {
		exists = unix.Lstat(at, &st) == nil // a link that leads nowhere
	}
	creates := use == learn.Create || flags&unix.O_CREAT != 0
	temporary := flags&unix.O_TMPFILE == unix.O_TMPFILE
	switch {
	case exists && temporary:
		use, name = learn.Create, path.Join(name, "#unnamed")
	case exists && strings.HasPrefix(call, "mkdir"):
		use = learn.Write // it would make what it is going to write into
	case exists && use == learn.Create && call != "creat" && !strings.HasPrefix(call, "rename"):
		use = learn.Look // EEXIST
	case exists && use == learn.Create && call == "creat":
		use = learn.Write
	case exists:
	case !creates || unix.Stat(path.Dir(at), &st) != nil:
		return
	default:
		use = learn.Create
		st.Mode = unix.S_IFREG
		if strings.HasPrefix(call, "mkdir") {
			st.Mode = unix.S_IFDIR
		}
	}
	kind := kindOf(st.Mode)
	switch use {
	case learn.Read:
		if kind == learn.Directory {
			use = learn.List
		}
	case learn.Execute:
		if kind != learn.File || st.Mode&0o111 == 0 {
			return
		}
		p.entry.Executes[name]++
		p.entry.Use(name, use, kind, false)
		r.executes(p, name)
		if ids := strings.Fields(statusFields(p.id)["Uid"]); len(ids) > 1 {
			p.entry.Users[ids[1]]++ // the effective one
		}
		if directory, err := os.Readlink("/proc/" + strconv.Itoa(p.id) + "/cwd"); err == nil {
			p.entry.Directories[directory]++
		}
		return
	case learn.Enter:
		r.chrooted = r.chrooted || call == "chroot"
	}
	entry, isNew := p.entry, !exists
	again := func() { entry.Use(name, use, kind, isNew) }
	again()
	if cache && exists {
		if p.seen == nil {
			p.seen = map[seen]func(){}
		}
		p.seen[key] = again
	}
}

func kindOf(mode uint32) string {
	switch mode & unix.S_IFMT {
	case unix.S_IFDIR:
		return learn.Directory
	case unix.S_IFCHR, unix.S_IFBLK:
		return learn.Device
	case unix.S_IFSOCK:
		return learn.Socket
	case unix.S_IFIFO:
		return learn.FIFO
	}
	return learn.File
}
