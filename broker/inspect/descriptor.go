package inspect

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sort"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Descriptor is one open descriptor of a process.
type Descriptor struct {
	Number  int     `json:"number"`
	Kind    string  `json:"kind"`   // file, directory, device, pipe, socket, anonymous
	Object  string  `json:"object"` // path, or what the kernel calls it
	Access  string  `json:"access"` // read, write, read-write, path
	Append  bool    `json:"append,omitempty"`
	OnExec  bool    `json:"close-on-exec"`
	Outside bool    `json:"outside"` // of a file system that its own mounts do not show
	Deleted bool    `json:"deleted,omitempty"`
	Socket  *Socket `json:"socket,omitempty"`
	// From is what explains it: "grant store", "its own root". Empty is drift
	// for a process of an application, and nothing for others.
	From string `json:"from,omitempty"`

	device, inode uint64
}

// descriptors reads /proc/PID/fd and fdinfo. Sockets are looked at through a
// copy (pidfd_getfd(2)): their addresses stand in the tables of the network
// namespace that they were made in, and that need not be the process's.
func (i *Inspector) descriptors(p *Process, pidfd int) ([]Descriptor, error) {
	// Their links can be read by the process's user and by root only; the numbers
	// by whoever may trace it, as an ordinary user may trace workers that have
	// subordinate ids of that user's.
	entries, err := os.ReadDir(procPath(p.PID, "fdinfo"))
	if err != nil {
		return nil, err
	}
	own := map[int]bool{}
	for _, m := range p.Mounts {
		own[m.ID] = true
	}
	all := []Descriptor{}
	for _, e := range entries {
		number, _ := strconv.Atoi(e.Name())
		d, err := i.descriptor(p, pidfd, number, own)
		if gone(err) {
			continue // closed meanwhile
		}
		if err != nil {
			return nil, err
		}
		all = append(all, d)
	}
	sort.Slice(all, func(a, b int) bool { return all[a].Number < all[b].Number })
	return all, nil
}

// closed is the error of pidfd_getfd(2) for a number that is nobody's any more, as
// reading its link has it.
func closed(err error) error {
	if err == unix.EBADF {
		return fs.ErrNotExist
	}
	return os.NewSyscallError("pidfd_getfd", err)
}

// nullDevice is the number of /dev/null (null(4)).
var nullDevice = unix.Mkdev(1, 3)

func (i *Inspector) descriptor(p *Process, pidfd, number int, own map[int]bool) (Descriptor, error) {
	d := Descriptor{Number: number}
	place := procPath(p.PID, "fd/"+strconv.Itoa(number))
	link, err := os.Readlink(place)
	if errors.Is(err, fs.ErrPermission) {
		var copied int
		if copied, err = unix.PidfdGetfd(pidfd, number, 0); err != nil {
			return d, closed(err)
		}
		defer unix.Close(copied)
		place = procPath(os.Getpid(), "fd/"+strconv.Itoa(copied))
		link, err = os.Readlink(place)
	}
	if err != nil {
		return d, err
	}
	d.Object = link
	var st unix.Stat_t
	if err := unix.Stat(place, &st); err != nil {
		return d, err
	}
	d.device, d.inode = st.Dev, st.Ino
	info, err := readFile(procPath(p.PID, "fdinfo/"+strconv.Itoa(number)))
	if err != nil {
		return d, err
	}
	mount := d.flags(string(info))
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		d.Kind = "file"
	case unix.S_IFDIR:
		d.Kind = "directory"
	case unix.S_IFCHR, unix.S_IFBLK:
		d.Kind = "device"
		// Its number says what it is. The path is lost with the mount, as when
		// the monitor has got another root since.
		if st.Mode&unix.S_IFMT == unix.S_IFCHR && st.Rdev == nullDevice {
			d.Object = "/dev/null"
		}
	case unix.S_IFIFO:
		d.Kind = "pipe"
	case unix.S_IFSOCK:
		d.Kind = "socket"
	default:
		d.Kind = "anonymous"
	}
	if strings.HasPrefix(link, "/memfd:") {
		d.Kind = "anonymous"
	}
	d.Object, d.Deleted = strings.CutSuffix(d.Object, " (deleted)")
	// Pipes, sockets and the like lie on mounts that the kernel keeps to itself.
	if d.Kind == "file" || d.Kind == "directory" || d.Kind == "device" || d.Kind == "pipe" && strings.HasPrefix(d.Object, "/") {
		d.Outside = !own[mount]
	}
	if d.Kind == "socket" {
		if d.Socket, err = i.socket(p, pidfd, number); err != nil {
			p.Unseen = append(p.Unseen, fmt.Sprintf("socket %d: %v", number, err))
		}
	}
	return d, nil
}

// flags reads fdinfo and returns the id of the mount.
func (d *Descriptor) flags(info string) (mount int) {
	for line := range strings.Lines(info) {
		key, value, _ := strings.Cut(line, ":")
		value = strings.TrimSpace(value)
		switch key {
		case "flags":
			flags, _ := strconv.ParseUint(value, 8, 64)
			d.OnExec = flags&unix.O_CLOEXEC != 0
			d.Append = flags&unix.O_APPEND != 0
			switch {
			case flags&unix.O_PATH != 0:
				d.Access = "path"
			case flags&unix.O_ACCMODE == unix.O_WRONLY:
				d.Access = "write"
			case flags&unix.O_ACCMODE == unix.O_RDWR:
				d.Access = "read-write"
			default:
				d.Access = "read"
			}
		case "mnt_id":
			mount, _ = strconv.Atoi(value)
		}
	}
	return mount
}

// writes says whether the descriptor can be used to write.
func (d *Descriptor) writes() bool { return d.Access == "write" || d.Access == "read-write" }
