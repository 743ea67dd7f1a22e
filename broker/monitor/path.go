package monitor

import (
	"bytes"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"bulkhead/policy/plan"
)

// territory is a granted file or directory under a name by which a
// transparent component's programs call it. A grant has a second one where
// symbolic links lead to it, because that is where the kernel says they are.
type territory struct {
	index int // of the grant
	grant *plan.Grant
	name  string // absolute and clean
	// standIn is the empty directory of the compartment's root that stands
	// for the granted one, as the host sees it; "" where files: shows the
	// granted one itself.
	standIn string
}

// spot is what a path names that lies beneath a grant.
type spot struct {
	*territory
	path string // beneath the granted directory; "" is the granted file or directory itself
}

// text is what a person would call the place.
func (p *spot) text() string { return path.Join(p.name, p.path) }

// territories are those of a component, the deepest first: where one grant
// lies beneath another, the nearer one answers.
func (m *Monitor) territories(c *component) []territory {
	var all []territory
	for _, b := range c.Grants {
		g := &m.plan.Grants[b.Grant]
		if g.Kind != plan.GrantFile && g.Kind != plan.GrantDirectory {
			continue
		}
		names := []string{path.Clean(g.Path)}
		if real := realName(g.Path); real != "" && real != names[0] {
			names = append(names, real)
		}
		for _, name := range names {
			t := territory{index: b.Grant, grant: g, name: name}
			// Where links lead to the directory, the compartment has the
			// links too, and one directory at their end.
			t.standIn = m.rootOf(c) + names[len(names)-1]
			if st, err := os.Lstat(t.standIn); g.Kind != plan.GrantDirectory || err != nil || !st.IsDir() {
				t.standIn = ""
			}
			all = append(all, t)
		}
	}
	slices.SortStableFunc(all, func(a, b territory) int { return len(b.name) - len(a.name) })
	return all
}

// rootOf is where the host has the root of a compartment.
func (m *Monitor) rootOf(c *component) string {
	return path.Join(m.handover.Directory, "root", c.Compartment())
}

// realName is a path without symbolic links, "" where it does not exist.
func realName(name string) string {
	fd, err := unix.Open(name, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return ""
	}
	defer unix.Close(fd)
	return nameOf(fd)
}

// nameOf is the kernel's name for what a descriptor of the monitor refers to.
func nameOf(fd int) string {
	name, err := readlink("/proc/self/fd/" + itoa(fd))
	if err != nil {
		return ""
	}
	return name
}

func readlink(name string) (string, error) {
	var b [unix.PathMax]byte
	n, err := unix.Readlink(name, b[:])
	if err != nil {
		return "", err
	}
	return string(b[:n]), nil
}

// locate finds out what a path of a stopped call names: a place beneath a
// grant, or nil for what is the compartment's own matter.
//
// The path is read once, and what is done with a place is done with this copy.
// The compartment's own matter is answered with CONTINUE, and the kernel reads
// the path again. That decides nothing: whatever another thread has put there
// meanwhile, what the kernel then finds is what it would have found without
// us, behind the compartment's mounts, Landlock and the permissions of its
// user. The granted directories do not exist there.
//
// Where a relative path begins is the kernel's word, the link of /proc for the
// descriptor or the working directory. A name that is wrong gains nothing: a
// worker may say any name that its grant answers.
//
// Whether it was the caller's memory is asked before anything is done with it
// (perform). An answer needs no question: the kernel takes it for a caller that
// still waits, and one that does has waited all along.
func (m *Monitor) locate(w *work, n *notification, directory uint64, pointer uint64) *spot {
	name, errno := absolute(n, directory, pointer)
	if name == "" {
		n.lacking = errno
		return nil // the kernel says what is wrong, or own does
	}
	w.component.bytes.take(len(name))
	return w.component.files.find(name, w.dropped)
}

// locateThrough is locate for a call that follows a link at the end, which may be
// the kernel's own to a directory that the caller has open: libc changes modes by it
// (fchmodat(3) with AT_SYMLINK_NOFOLLOW).
func (m *Monitor) locateThrough(w *work, n *notification, directory, pointer, flags uint64) *spot {
	name, errno := absolute(n, directory, pointer)
	if name == "" {
		n.lacking = errno
		return nil
	}
	w.component.bytes.take(len(name))
	if link, ok := strings.CutPrefix(name, "/proc/self/fd/"); ok && flags&unix.AT_SYMLINK_NOFOLLOW == 0 {
		if number, err := strconv.Atoi(link); err == nil {
			return m.standsFor(w, n, number)
		}
	}
	return w.component.files.find(name, w.dropped)
}

// absolute reads a path of a stopped call and begins it where the kernel would,
// "" where there is none: the descriptor itself is meant, or it cannot be read.
// The errno is that of lacking.
func absolute(n *notification, directory, pointer uint64) (string, syscall.Errno) {
	if pointer == 0 {
		return "", 0
	}
	name, errno := readPath(n.pid, pointer)
	if name == "" || name[0] == '/' {
		return name, errno
	}
	from, errno := directoryName(n.pid, int(int32(directory)))
	if from == "" {
		return "", errno
	}
	return from + "/" + name, 0
}

// lacking is the errno of what this process lacks to look at a caller: memory,
// descriptors. It is 0 for what is wrong with the call itself: that the kernel
// finds as well.
func lacking(err error) syscall.Errno {
	switch err {
	case unix.ENOMEM, unix.EMFILE, unix.ENFILE:
		return errnoOf(err)
	}
	return 0
}

// directoryName is what the kernel calls a thread's working directory or
// descriptor, "" for what has no name. The errno is that of lacking.
func directoryName(tid, number int) (string, syscall.Errno) {
	link := "/proc/" + itoa(tid) + "/cwd"
	if number != unix.AT_FDCWD {
		if number < 0 {
			return "", 0
		}
		link = "/proc/" + itoa(tid) + "/fd/" + itoa(number)
	}
	name, err := readlink(link)
	if err != nil || name == "" || name[0] != '/' {
		return "", lacking(err)
	}
	return name, 0
}

// readPath reads a path from a thread's memory, at most PATH_MAX bytes. It may
// end in front of a page that is not there. Without one the errno is that of
// lacking.
func readPath(tid int, pointer uint64) (string, syscall.Errno) {
	const page = 4096
	var b [unix.PathMax]byte
	// One page first: most paths end in it.
	for from, to := 0, min(len(b), page-int(pointer%page)); ; from, to = to, len(b) {
		local := []unix.Iovec{{Base: &b[from]}}
		local[0].SetLen(to - from)
		remote := []unix.RemoteIovec{{Base: uintptr(pointer) + uintptr(from), Len: to - from}}
		got, err := unix.ProcessVMReadv(tid, local, remote, 0)
		if err != nil || got != to-from {
			return "", lacking(err) // else EFAULT
		}
		if end := bytes.IndexByte(b[from:to], 0); end >= 0 {
			return string(b[:from+end]), 0
		}
		if to == len(b) {
			return "", 0 // ENAMETOOLONG
		}
	}
}

// find looks a name up in the territories.
func (f *files) find(name string, dropped map[int]bool) *spot {
	if f == nil {
		return nil // only its sockets are transparent
	}
	for i := range f.territories {
		t := &f.territories[i]
		if dropped[t.index] {
			continue
		}
		rest, ok := beneath(name, t.name)
		if ok && (rest == "" || t.grant.Kind == plan.GrantDirectory) {
			return &spot{t, rest}
		}
	}
	return nil
}

// beneath says whether an absolute path leads to root or beneath it, and how
// it goes on from there. Behind root, ".." stays as it is: only the kernel
// knows what it means after a symbolic link. A path that leaves root again,
// going by its names, is not beneath it.
func beneath(name, root string) (rest string, ok bool) {
	if !strings.Contains(name, "/.") && !strings.Contains(name, "//") {
		// Most paths. A clean one is compared as it is.
		rest, ok = strings.CutPrefix(name, strings.TrimSuffix(root, "/"))
		if !ok || rest != "" && rest[0] != '/' {
			return "", false
		}
		return strings.TrimPrefix(rest, "/"), true
	}
	want := elements(root)
	var outside, inside []string
	within, depth := len(want) == 0, 0
	for _, element := range elements(name) {
		switch {
		case element == ".":
		case within && element == "..":
			if depth--; depth >= 0 {
				inside = append(inside, element)
			} else if len(want) > 0 {
				within, outside = false, append(outside[:0], want[:len(want)-1]...)
			} else {
				depth, inside = 0, nil // the root is its own parent
			}
		case within:
			depth++
			inside = append(inside, element)
		case element == "..":
			outside = outside[:max(len(outside)-1, 0)]
		default:
			outside = append(outside, element)
			if within = slices.Equal(outside, want); within {
				depth, inside = 0, nil
			}
		}
	}
	if !within {
		return "", false
	}
	rest = strings.Join(inside, "/")
	if rest != "" && (strings.HasSuffix(name, "/") || strings.HasSuffix(name, "/.")) {
		rest += "/" // it has to be a directory
	}
	return rest, true
}

func elements(name string) []string {
	return strings.FieldsFunc(name, func(r rune) bool { return r == '/' })
}
