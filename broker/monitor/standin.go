package monitor

import (
	"cmp"
	"maps"
	"path"
	"slices"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A descriptor of a granted directory would be a ladder into the monitor's
// mount tree, so no program gets one. What it opens, and changes to, is a
// stand-in: an empty directory at the same path of its own compartment's root,
// which only the monitor can write and which is made when it is first asked
// for. So the kernel keeps the books: getcwd, "..", fchdir, fork and dup mean
// what they always do, and the name of a descriptor says what it stands for.
// What is asked relative to it goes to the granted directory, by that name,
// and its content is read there.

const (
	// maximumStandIns bounds those of one component. They are inodes of a
	// tmpfs, which the machine shares. When there are more, so many make room.
	maximumStandIns = 4096
	fewStandIns     = 256
	// maximumDepth bounds how deep they go: the sweeper takes them down with
	// a descriptor for each level.
	maximumDepth = 128
)

// stand is a part of what stands for a directory: a directory of the same name,
// or a symbolic link to where the granted one leads.
type stand struct {
	path string // beneath the territory, without symbolic links on the way
	link string // "" for a directory
}

// stands lists what has to stand in the compartment so that the kernel finds
// the stand-in by the name that the program used. found is what it leads to.
func (l lookup) stands(at *spot, found int) ([]stand, syscall.Errno) {
	root, _, errno := l.root(at.grant, at.path)
	if errno != 0 {
		return nil, errno
	}
	defer l.leave(root)
	top := nameOf(root)
	under := func(fd int) (string, bool) { return beneath(nameOf(fd), top) }
	end, ok := under(found)
	if !ok {
		return nil, unix.ENOENT // it was moved away meanwhile
	}
	all := []stand{{path: end}}
	if end == strings.TrimRight(at.path, "/") {
		return all, 0
	}
	// By another name: the links on the way are needed too.
	here, prefix := "", ""
	for _, element := range elements(at.path) {
		prefix = path.Join(prefix, ".") + "/" + element
		if element == ".." {
			here, _ = path.Split(here)
			here = strings.TrimRight(here, "/")
			continue
		}
		name := path.Join(here, element)
		fd, errno := l.open(root, path.Join(".", prefix), unix.O_PATH, 0)
		if errno != 0 {
			return nil, errno
		}
		to, ok := under(fd)
		unix.Close(fd)
		if !ok {
			return nil, unix.ENOENT
		}
		if to != name {
			all = append(all, stand{path: to}, stand{path: name, link: path.Join("/", at.name, to)})
		} else {
			all = append(all, stand{path: to})
		}
		here = to
	}
	return all, 0
}

// standIn makes what is missing of the stand-ins and returns the last
// directory's, which is that of all[0].
func (f *files) standIn(t *territory, all []stand) (unix.Stat_t, syscall.Errno) {
	var st unix.Stat_t
	root, err := unix.Open(t.standIn, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return st, errnoOf(err)
	}
	defer unix.Close(root)
	for _, s := range all {
		f.used(t, s.path)
		if s.link != "" {
			if errno := f.standInLink(root, s); errno != 0 {
				return st, errno
			}
			continue
		}
		if errno := f.standInDirectory(root, s.path); errno != 0 {
			return st, errno
		}
	}
	fd, errno := openStandIn(root, all[0].path)
	if errno != 0 {
		return st, errno
	}
	defer unix.Close(fd)
	return st, errnoOrZero(unix.Fstat(fd, &st))
}

// openStandIn follows no link: those of stand-ins lead where the compartment
// has a place of that name, and the monitor is not there.
func openStandIn(root int, name string) (int, syscall.Errno) {
	if name == "" {
		name = "."
	}
	fd, err := unix.Openat2(root, name, &unix.OpenHow{
		Flags:   unix.O_PATH | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS,
	})
	return fd, errnoOrZero(err)
}

func (f *files) standInDirectory(root int, name string) syscall.Errno {
	if fd, errno := openStandIn(root, name); errno == 0 {
		unix.Close(fd)
		return 0
	}
	parts := elements(name)
	if len(parts) > maximumDepth {
		return unix.ENAMETOOLONG
	}
	for i := range parts {
		at := strings.Join(parts[:i+1], "/")
		fd, errno := openStandIn(root, at)
		if errno == 0 {
			unix.Close(fd)
			continue
		}
		if errno == unix.ENOTDIR || errno == unix.ELOOP {
			unix.Unlinkat(root, at, 0) // a link stood here, and now a directory does
		}
		if errno := f.room(); errno != 0 {
			return errno
		}
		if err := unix.Mkdirat(root, at, 0o755); err != nil {
			return errnoOf(err)
		}
		// Whatever the monitor's umask is.
		if fd, err := unix.Openat(root, at, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0); err == nil {
			unix.Fchmod(fd, 0o755)
			unix.Close(fd)
		}
		f.standIns++
	}
	return 0
}

func (f *files) standInLink(root int, s stand) syscall.Errno {
	directory, last := path.Split(s.path)
	if errno := f.standInDirectory(root, strings.TrimRight(directory, "/")); errno != 0 {
		return errno
	}
	fd, errno := openStandIn(root, strings.TrimRight(directory, "/"))
	if errno != 0 {
		return errno
	}
	defer unix.Close(fd)
	var b [unix.PathMax]byte
	if n, err := unix.Readlinkat(fd, last, b[:]); err == nil && string(b[:n]) == s.link {
		return 0
	}
	if errno := f.room(); errno != 0 {
		return errno
	}
	f.removeStandIn(fd, last)
	if err := unix.Symlinkat(s.link, fd, last); err != nil {
		return errnoOf(err)
	}
	f.standIns++
	return 0
}

// standInName is a stand-in's place: the directory that stands for the granted
// one, and the name beneath.
type standInName struct{ top, name string }

// used notes that a stand-in and those that it is in are asked for now.
func (f *files) used(t *territory, name string) {
	if f.lastUse == nil {
		f.lastUse = map[standInName]uint64{}
	}
	f.uses++
	for ; name != "" && name != "."; name = path.Dir(name) {
		f.lastUse[standInName{t.standIn, name}] = f.uses
	}
}

// room makes sure that one more stand-in may be made. Those that were asked for
// longest ago go. A program that has one of them open still, or as its working
// directory, finds that it was removed.
func (f *files) room() syscall.Errno {
	if f.standIns < maximumStandIns {
		return 0
	}
	oldest := slices.Collect(maps.Keys(f.lastUse))
	slices.SortFunc(oldest, func(a, b standInName) int { return cmp.Compare(f.lastUse[a], f.lastUse[b]) })
	// What is in a stand-in was asked for when it was, or earlier: it has gone
	// before, or goes along.
	for _, s := range oldest[:min(fewStandIns, len(oldest))] {
		delete(f.lastUse, s)
		f.remove(s)
	}
	if f.standIns >= maximumStandIns {
		return unix.ENFILE
	}
	return 0
}

func (f *files) remove(s standInName) {
	root, err := unix.Open(s.top, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return
	}
	defer unix.Close(root)
	directory, last := path.Split(s.name)
	if fd, errno := openStandIn(root, strings.TrimRight(directory, "/")); errno == 0 {
		f.removeStandIn(fd, last)
		unix.Close(fd)
	}
}

// movedStandIn follows a rename: what is open of the directory keeps standing
// for it.
func (f *files) movedStandIn(from, to *spot) {
	if from.standIn == "" || to.standIn == "" {
		return
	}
	root, err := unix.Open(from.standIn, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return
	}
	defer unix.Close(root)
	oldDirectory, oldName, errno := standInParent(root, from)
	if errno != 0 {
		return // nobody has asked for it
	}
	defer unix.Close(oldDirectory)
	parent, _ := path.Split(strings.TrimRight(to.path, "/"))
	if f.standInDirectory(root, strings.TrimRight(parent, "/")) != 0 {
		return
	}
	newDirectory, newName, errno := standInParent(root, to)
	if errno != 0 {
		return
	}
	defer unix.Close(newDirectory)
	var st unix.Stat_t
	if unix.Fstatat(oldDirectory, oldName, &st, unix.AT_SYMLINK_NOFOLLOW) != nil {
		return
	}
	f.removeStandIn(newDirectory, newName)
	if unix.Renameat(oldDirectory, oldName, newDirectory, newName) != nil {
		return
	}
	before, after := strings.TrimRight(from.path, "/"), strings.TrimRight(to.path, "/")
	for s, use := range maps.Clone(f.lastUse) {
		if rest, ok := strings.CutPrefix(s.name, before); ok && s.top == from.standIn && (rest == "" || rest[0] == '/') {
			delete(f.lastUse, s)
			f.lastUse[standInName{to.standIn, after + rest}] = use
		}
	}
}

// goneStandIn follows the removal of a directory: its descriptors stand for
// what is gone.
func (f *files) goneStandIn(at *spot) {
	if at.standIn != "" {
		s := standInName{at.standIn, strings.TrimRight(at.path, "/")}
		delete(f.lastUse, s)
		f.remove(s)
	}
}

func standInParent(root int, at *spot) (fd int, last string, errno syscall.Errno) {
	directory, last := path.Split(strings.TrimRight(at.path, "/"))
	fd, errno = openStandIn(root, strings.TrimRight(directory, "/"))
	return fd, last, errno
}

// rebuilt forgets the stand-ins of a compartment that was built again.
func (f *files) rebuilt() {
	f.standIns, f.lastUse = 0, nil
}

// removeStandIn removes a stand-in and what stands beneath it.
func (f *files) removeStandIn(directory int, name string) {
	if unix.Unlinkat(directory, name, 0) == nil {
		f.standIns--
		return
	}
	if unix.Unlinkat(directory, name, unix.AT_REMOVEDIR) == nil {
		f.standIns--
		return
	}
	fd, err := unix.Openat(directory, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return
	}
	defer unix.Close(fd)
	var b [4096]byte
	for {
		n, err := unix.Getdents(fd, b[:])
		if n <= 0 || err != nil {
			break
		}
		for _, entry := range entries(b[:n]) {
			if entry != "." && entry != ".." {
				f.removeStandIn(fd, entry)
			}
		}
	}
	if unix.Unlinkat(directory, name, unix.AT_REMOVEDIR) == nil {
		f.standIns--
	}
}

// entries are the names in records of getdents64(2).
func entries(b []byte) (names []string) {
	for len(b) > 0 {
		entry := (*unix.Dirent)(unsafe.Pointer(&b[0]))
		names = append(names, unix.ByteSliceToString(b[unsafe.Offsetof(entry.Name):entry.Reclen]))
		b = b[entry.Reclen:]
	}
	return names
}
