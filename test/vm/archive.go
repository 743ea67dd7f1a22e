package main

import (
	"bufio"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// An archive is a file system to be, written as a cpio archive of the "newc" kind, which is what
// the kernel unpacks as its initramfs. It needs no privilege: device nodes and owners are only
// numbers here.
type archive struct {
	nodes map[string]node // by path without the leading slash
}

// A node is one file, directory, symbolic link or device.
type node struct {
	mode    uint32 // as in st_mode
	owner   int    // user and group
	device  [2]int // major, minor
	content []byte // of a file, or a link's target
	host    string // file whose content is copied instead
}

// st_mode's types.
const (
	typeMask   = 0o170000
	typeDir    = 0o040000
	typeFile   = 0o100000
	typeLink   = 0o120000
	typeDevice = 0o020000 // character
)

func newArchive() *archive { return &archive{nodes: map[string]node{}} }

// add puts a node at a path, with the directories above it. Links that are already in the
// archive are followed on the way, as the kernel does when it unpacks; what was at the path is replaced.
func (a *archive) add(at string, n node) error {
	name, err := a.resolve(at)
	if err != nil || name == "" {
		return err
	}
	old, exists := a.nodes[name]
	if exists && old.mode&typeMask == typeDir && n.mode&typeMask != typeDir {
		return fmt.Errorf("/%s is a directory in the machine and cannot be replaced", name)
	}
	if exists && old.mode&typeMask == typeLink && n.mode&typeMask == typeDir {
		return nil // a tree's /bin falls into the /usr/bin to which /bin leads
	}
	a.nodes[name] = n
	return nil
}

// resolve returns the path with the links in its parents followed, and makes missing parents.
func (a *archive) resolve(at string) (string, error) {
	const maxLinks = 40 // the kernel's limit
	at = path.Clean("/" + at)[1:]
	for links := 0; ; links++ {
		if links > maxLinks {
			return "", fmt.Errorf("/%s: more than %d symbolic links", at, maxLinks)
		}
		again := false
		for i := range at {
			if at[i] != '/' {
				continue
			}
			parent := at[:i]
			n, exists := a.nodes[parent]
			switch {
			case !exists:
				a.nodes[parent] = node{mode: typeDir | 0o755}
			case n.mode&typeMask == typeLink:
				target := string(n.content)
				if !path.IsAbs(target) {
					target = path.Join("/", path.Dir(parent), target)
				}
				at, again = path.Clean(target + at[i:])[1:], true
			case n.mode&typeMask != typeDir:
				return "", fmt.Errorf("/%s: /%s is not a directory", at, parent)
			}
			if again {
				break
			}
		}
		if !again {
			return at, nil
		}
	}
}

// addHost puts a file of the host's at a path; links are followed.
func (a *archive) addHost(host, at string) error {
	info, err := os.Stat(host)
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s is not a regular file", host)
	}
	return a.add(at, node{mode: typeFile | permissions(info.Mode()), host: host})
}

// addTree puts a directory of the host's, with all in it, at a path. Everything belongs to root in
// the machine, whoever owns it on the host.
func (a *archive) addTree(host, at string) error {
	return filepath.WalkDir(host, func(file string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := os.Lstat(file)
		if file == host {
			info, err = os.Stat(file) // the tree itself may be named through a link
		}
		if err != nil {
			return err
		}
		below, err := filepath.Rel(host, file)
		if err != nil {
			return err
		}
		to := path.Join(at, below)
		switch info.Mode().Type() {
		case 0:
			return a.addHost(file, to)
		case fs.ModeDir:
			return a.add(to, node{mode: typeDir | permissions(info.Mode())})
		case fs.ModeSymlink:
			target, err := os.Readlink(file)
			if err != nil {
				return err
			}
			return a.add(to, node{mode: typeLink | 0o777, content: []byte(target)})
		}
		return fmt.Errorf("%s: cannot put a %v in the machine", file, info.Mode().Type())
	})
}

// permissions turns Go's mode bits into the kernel's; set-user-id programs are tested too.
func permissions(m fs.FileMode) uint32 {
	bits := uint32(m.Perm())
	for flag, bit := range map[fs.FileMode]uint32{fs.ModeSetuid: 0o4000, fs.ModeSetgid: 0o2000, fs.ModeSticky: 0o1000} {
		if m&flag != 0 {
			bits |= bit
		}
	}
	return bits
}

// write writes the archive, uncompressed: copying is cheap and emulated unpacking is not.
func (a *archive) write(to io.Writer) error {
	out := bufio.NewWriterSize(to, 1<<20)
	// Sorted, a directory comes before what is in it.
	for i, name := range slices.Sorted(maps.Keys(a.nodes)) {
		if err := writeNode(out, i+1, name, a.nodes[name]); err != nil {
			return fmt.Errorf("/%s: %w", name, err)
		}
	}
	if err := writeNode(out, 0, "TRAILER!!!", node{}); err != nil {
		return err
	}
	return out.Flush()
}

func writeNode(out io.Writer, inode int, name string, n node) error {
	content := io.Reader(strings.NewReader(string(n.content)))
	size := int64(len(n.content))
	if n.host != "" {
		f, err := os.Open(n.host)
		if err != nil {
			return err
		}
		defer f.Close()
		info, err := f.Stat()
		if err != nil {
			return err
		}
		content, size = f, info.Size()
	}
	if size >= 1<<32 {
		return fmt.Errorf("%d bytes are too many for an initramfs", size)
	}
	head := fmt.Sprintf("070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%s\x00",
		inode, n.mode, n.owner, n.owner, 1, 0, size, 0, 0, n.device[0], n.device[1], len(name)+1, 0, name)
	if _, err := io.WriteString(out, head+padding(int64(len(head)))); err != nil {
		return err
	}
	// A file that changes while it is packed must not shift all that follows it.
	if _, err := io.CopyN(out, content, size); err != nil {
		return fmt.Errorf("%w: did it shrink?", err)
	}
	_, err := io.WriteString(out, padding(size))
	return err
}

// padding fills up to the next multiple of four.
func padding(size int64) string { return "\x00\x00\x00"[:(4-size%4)%4] }
