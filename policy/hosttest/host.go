// Package hosttest makes a host for tests that is the same on every machine: a
// small Debian in memory.
package hosttest

import (
	"bytes"
	"io/fs"
	"path"
	"sort"
	"strconv"
	"strings"
	"time"

	"bulkhead/policy"
	"bulkhead/policy/subordinate"
)

// Host is a host in memory. Change it before it is used.
type Host struct {
	UID, GID  uint32
	Member    []uint32 // of these groups
	IDs       subordinate.IDs
	Users     map[string]policy.HostUser
	Groups    map[string]uint32
	Variables map[string]string
	files     map[string]*file
}

// file is also its own fs.FileInfo and fs.DirEntry.
type file struct {
	name    string
	mode    fs.FileMode
	content string // of a regular file; the text of a symbolic link
	uid     uint32
	gid     uint32
}

// OwnerIDs implements policy.Owner.
func (f *file) OwnerIDs() (uid, gid uint32) { return f.uid, f.gid }

func (f *file) Name() string               { return f.name }
func (f *file) Size() int64                { return int64(len(f.content)) }
func (f *file) Mode() fs.FileMode          { return f.mode }
func (f *file) ModTime() time.Time         { return time.Time{} }
func (f *file) IsDir() bool                { return f.mode.IsDir() }
func (f *file) Sys() any                   { return f }
func (f *file) Type() fs.FileMode          { return f.mode.Type() }
func (f *file) Info() (fs.FileInfo, error) { return f, nil }

// New returns a host as root sees it, with a few programs and daemons.
func New() *Host {
	h := &Host{
		IDs: subordinate.IDs{Missing: "there is no range of alice's in /etc/subuid", Remedy: "have one added"},
		Users: map[string]policy.HostUser{
			"root":     {Name: "root", Home: "/root"},
			"redis":    {Name: "redis", UID: 105, GID: 113, Home: "/var/lib/redis"},
			"www-data": {Name: "www-data", UID: 33, GID: 33, Home: "/var/www"},
			"alice":    {Name: "alice", UID: 1000, GID: 1000, Home: "/home/alice"},
		},
		Groups:    map[string]uint32{"root": 0, "redis": 113, "www-data": 33, "adm": 4, "alice": 1000, "ssl-cert": 110},
		Variables: map[string]string{"TERM": "xterm", "LANG": "C.UTF-8"},
		files:     map[string]*file{"/": {name: "/", mode: fs.ModeDir | 0o755}},
	}
	for _, name := range []string{"bin", "sbin", "lib", "lib64"} {
		h.Link("/"+name, "usr/"+name)
	}
	for _, name := range []string{"null", "zero", "full", "random", "urandom", "tty", "kvm", "ptmx"} {
		h.put("/dev/"+name, fs.ModeDevice|fs.ModeCharDevice|0o666, "")
	}
	const loader = "/lib64/ld-linux-x86-64.so.2"
	library := func(name string, needed ...string) {
		h.File("/usr/lib/x86_64-linux-gnu/"+name, 0o644, ELF{Soname: name, Needed: needed}.Bytes())
	}
	h.Link("/usr/lib64/ld-linux-x86-64.so.2", "/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2")
	h.File("/usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2", 0o755, ELF{Soname: "ld-linux-x86-64.so.2"}.Bytes())
	library("libc.so.6", "ld-linux-x86-64.so.2")
	library("libm.so.6", "libc.so.6")
	library("libz.so.1.2.13", "libc.so.6")
	h.Link("/usr/lib/x86_64-linux-gnu/libz.so.1", "libz.so.1.2.13")
	library("libjpeg.so.62", "libc.so.6")
	library("libssl.so.3", "libcrypto.so.3", "libc.so.6")
	library("libcrypto.so.3", "libc.so.6")
	program := func(name string, needed ...string) {
		h.File(name, 0o755, ELF{Interpreter: loader, Needed: append(needed, "libc.so.6")}.Bytes())
	}
	program("/usr/bin/djpeg", "libjpeg.so.62")
	program("/usr/bin/redis-server", "libm.so.6")
	program("/usr/sbin/nginx", "libssl.so.3", "libz.so.1")
	program("/usr/bin/python3.11", "libm.so.6", "libz.so.1")
	h.Link("/usr/bin/python3", "python3.11")
	program("/usr/bin/env")
	program("/usr/bin/dash")
	h.Link("/usr/bin/sh", "dash")
	h.File("/usr/bin/static", 0o755, ELF{}.Bytes())
	h.File("/usr/bin/broken", 0o755, ELF{Interpreter: loader, Needed: []string{"libmissing.so.1"}}.Bytes())
	h.File("/usr/bin/text", 0o755, "just a text\n")
	h.File("/usr/bin/plain", 0o644, ELF{}.Bytes())
	h.File("/usr/local/bin/tool.py", 0o755, "#!/usr/bin/env python3\nprint()\n")
	h.File("/usr/local/bin/tool.sh", 0o755, "#!/bin/sh -e\n:\n")
	h.File("/usr/lib/python3.11/os.py", 0o644, "")
	h.File("/usr/lib/python3.11/lib-dynload/_ssl.so", 0o644, ELF{Needed: []string{"libssl.so.3"}}.Bytes())
	h.File("/etc/passwd", 0o644, "")
	h.File("/etc/redis/redis.conf", 0o640, "")
	h.File("/etc/secret", 0o600, "hunter2\n")
	h.Link("/etc/localtime", "/usr/share/zoneinfo/Etc/UTC")
	h.File("/usr/share/zoneinfo/Etc/UTC", 0o644, "")
	h.File("/srv/www/index.html", 0o644, "")
	h.File("/srv/www/private/key.pem", 0o600, "")
	h.File("/srv/app/app.py", 0o644, "")
	h.File("/srv/app/pipe", fs.ModeNamedPipe|0o644, "")
	h.Directory("/srv/thumbs")
	h.Directory("/var/lib/redis")
	h.Own("/var/lib/redis", 105, 113)
	h.Own("/etc/redis/redis.conf", 105, 113)
	h.Directory("/var/log")
	h.Link("/var/run", "/run")
	h.Directory("/run/postgresql")
	h.Directory("/tmp")
	h.Directory("/proc/self")
	h.Link("/srv/loop", "loop")
	return h
}

func (h *Host) put(name string, mode fs.FileMode, content string) {
	for directory := path.Dir(name); h.files[directory] == nil; directory = path.Dir(directory) {
		h.files[directory] = &file{name: path.Base(directory), mode: fs.ModeDir | 0o755}
	}
	h.files[name] = &file{name: path.Base(name), mode: mode, content: content}
}

// File adds a file; mode may hold a file type.
func (h *Host) File(name string, mode fs.FileMode, content string) { h.put(name, mode, content) }

// Directory adds a directory.
func (h *Host) Directory(name string) { h.put(name, fs.ModeDir|0o755, "") }

// Link adds a symbolic link.
func (h *Host) Link(name, text string) { h.put(name, fs.ModeSymlink|0o777, text) }

// Own gives a file to somebody else than root.
func (h *Host) Own(name string, uid, gid uint32) { h.files[name].uid, h.files[name].gid = uid, gid }

// Remove takes a file away.
func (h *Host) Remove(name string) { delete(h.files, name) }

// EffectiveIDs implements policy.Host.
func (h *Host) EffectiveIDs() (uid, gid uint32) { return h.UID, h.GID }

// OtherGroups implements policy.Host.
func (h *Host) OtherGroups() []uint32 { return h.Member }

// Subordinate implements policy.Host.
func (h *Host) Subordinate() subordinate.IDs { return h.IDs }

// User implements policy.Host.
func (h *Host) User(name string) (policy.HostUser, bool) {
	if user, known := h.Users[name]; known {
		return user, true
	}
	for _, user := range h.Users {
		if strconv.FormatUint(uint64(user.UID), 10) == name {
			return user, true
		}
	}
	return policy.HostUser{}, false
}

// Group implements policy.Host.
func (h *Host) Group(name string) (uint32, bool) {
	group, known := h.Groups[name]
	return group, known
}

// Variable implements policy.Host.
func (h *Host) Variable(name string) (string, bool) {
	value, set := h.Variables[name]
	return value, set
}

func (h *Host) find(operation, name string) (*file, error) {
	if found := h.files[name]; found != nil {
		return found, nil
	}
	return nil, &fs.PathError{Op: operation, Path: name, Err: fs.ErrNotExist}
}

// follow resolves symbolic links as open(2) does.
func (h *Host) follow(name string) string {
	for range 40 {
		parts := strings.Split(strings.Trim(name, "/"), "/")
		at, changed := "/", false
		for i, part := range parts {
			at = path.Join(at, part)
			if f := h.files[at]; f != nil && f.mode&fs.ModeSymlink != 0 {
				target := f.content
				if !path.IsAbs(target) {
					target = path.Join(path.Dir(at), target)
				}
				name, changed = path.Join(append([]string{target}, parts[i+1:]...)...), true
				break
			}
		}
		if !changed {
			return path.Clean(name)
		}
	}
	return name
}

// Lstat implements policy.Host. As the kernel, it follows links in all but the
// last part of the name.
func (h *Host) Lstat(name string) (fs.FileInfo, error) {
	name = path.Join(h.follow(path.Dir(name)), path.Base(name))
	found, err := h.find("lstat", name)
	if err != nil {
		return nil, err
	}
	return found, nil
}

// Readlink implements policy.Host.
func (h *Host) Readlink(name string) (string, error) {
	found, err := h.find("readlink", name)
	if err != nil {
		return "", err
	}
	return found.content, nil
}

// ReadDir implements policy.Host.
func (h *Host) ReadDir(name string) ([]fs.DirEntry, error) {
	name = h.follow(name)
	if _, err := h.find("open", name); err != nil {
		return nil, err
	}
	var entries []fs.DirEntry
	for known, f := range h.files {
		if known != "/" && path.Dir(known) == name {
			entries = append(entries, f)
		}
	}
	sort.Slice(entries, func(i, j int) bool { return entries[i].Name() < entries[j].Name() })
	return entries, nil
}

// Open implements policy.Host.
func (h *Host) Open(name string) (policy.HostFile, error) {
	found, err := h.find("open", h.follow(name))
	if err != nil {
		return nil, err
	}
	return &openFile{Reader: bytes.NewReader([]byte(found.content)), file: found}, nil
}

type openFile struct {
	*bytes.Reader
	file *file
}

func (o *openFile) Close() error               { return nil }
func (o *openFile) Stat() (fs.FileInfo, error) { return o.file, nil }
