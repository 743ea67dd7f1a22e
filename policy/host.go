package policy

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"os/user"
	"strconv"
	"syscall"

	"bulkhead/policy/subordinate"
)

// nonBlocking keeps the opening of a FIFO from waiting for a writer.
const nonBlocking = syscall.O_NONBLOCK

// Host is what the compiler may know of the machine. It only looks: compiling
// a policy changes nothing.
type Host interface {
	// EffectiveIDs are the ids that the launcher runs with.
	EffectiveIDs() (uid, gid uint32)
	// OtherGroups are those that the launcher is in too.
	OtherGroups() []uint32
	// Subordinate are the ids that an ordinary user may give to others.
	Subordinate() subordinate.IDs
	// User finds a user by name or by number.
	User(name string) (HostUser, bool)
	// Group finds a group's id by name or by number.
	Group(name string) (uint32, bool)
	// Variable is a variable of the launcher's own environment.
	Variable(name string) (string, bool)

	Lstat(path string) (fs.FileInfo, error)
	Readlink(path string) (string, error)
	ReadDir(path string) ([]fs.DirEntry, error)
	Open(path string) (HostFile, error)
}

// HostFile is an open file.
type HostFile interface {
	io.ReaderAt
	io.Closer
	Stat() (fs.FileInfo, error)
}

// HostUser is a user of the host.
type HostUser struct {
	Name     string
	UID, GID uint32
	Home     string
}

// LocalHost is the machine that this process runs on.
func LocalHost() Host { return localHost{} }

type localHost struct{}

func (localHost) EffectiveIDs() (uid, gid uint32) {
	return uint32(os.Geteuid()), uint32(os.Getegid())
}

func (localHost) OtherGroups() []uint32 {
	groups, err := os.Getgroups()
	if err != nil {
		return nil
	}
	var all []uint32
	for _, group := range groups {
		all = append(all, uint32(group))
	}
	return all
}

func (h localHost) Subordinate() subordinate.IDs {
	uid, _ := h.EffectiveIDs()
	name := strconv.FormatUint(uint64(uid), 10)
	if user, known := h.User(name); known {
		name = user.Name
	}
	return subordinate.Of(name, uid)
}

func (localHost) User(name string) (HostUser, bool) {
	found, err := user.Lookup(name)
	if err != nil {
		if found, err = user.LookupId(name); err != nil {
			return HostUser{}, false
		}
	}
	uid, errUID := strconv.ParseUint(found.Uid, 10, 32)
	gid, errGID := strconv.ParseUint(found.Gid, 10, 32)
	return HostUser{Name: found.Username, UID: uint32(uid), GID: uint32(gid), Home: found.HomeDir}, errUID == nil && errGID == nil
}

func (localHost) Group(name string) (uint32, bool) {
	found, err := user.LookupGroup(name)
	if err != nil {
		if found, err = user.LookupGroupId(name); err != nil {
			return 0, false
		}
	}
	gid, err := strconv.ParseUint(found.Gid, 10, 32)
	return uint32(gid), err == nil
}

func (localHost) Variable(name string) (string, bool)        { return os.LookupEnv(name) }
func (localHost) Lstat(path string) (fs.FileInfo, error)     { return os.Lstat(path) }
func (localHost) Readlink(path string) (string, error)       { return os.Readlink(path) }
func (localHost) ReadDir(path string) ([]fs.DirEntry, error) { return os.ReadDir(path) }

// Open opens a file that the compiler wants to read. O_NONBLOCK: a policy may
// name a FIFO, and the start must not wait for its writer.
func (localHost) Open(path string) (HostFile, error) {
	return os.OpenFile(path, os.O_RDONLY|nonBlocking, 0)
}

// reason says why an operation on a file failed, without the path and the
// operation that messages name already.
func reason(err error) string {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "it does not exist"
	case errors.Is(err, fs.ErrPermission):
		return "there is no permission to read it"
	}
	var pathError *fs.PathError
	if errors.As(err, &pathError) {
		return pathError.Err.Error()
	}
	return err.Error()
}
