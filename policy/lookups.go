package policy

import (
	"errors"
	"io"
	"io/fs"
	"path"
	"sort"
	"strings"
)

// lookups remembers what the host said, for the length of one compilation: the
// components of an application share most of their libraries.
type lookups struct {
	Host
	stats map[string]statResult
	links map[string]string
	paths map[string]resolved
	globs map[string][]string
}

type statResult struct {
	info fs.FileInfo
	err  error
}

func newLookups(host Host) *lookups {
	return &lookups{Host: host, stats: map[string]statResult{}, links: map[string]string{}, paths: map[string]resolved{}, globs: map[string][]string{}}
}

func (l *lookups) Lstat(name string) (fs.FileInfo, error) {
	known, found := l.stats[name]
	if !found {
		known.info, known.err = l.Host.Lstat(name)
		l.stats[name] = known
	}
	return known.info, known.err
}

func (l *lookups) Readlink(name string) (string, error) {
	if text, found := l.links[name]; found {
		return text, nil
	}
	text, err := l.Host.Readlink(name)
	if err == nil {
		l.links[name] = text
	}
	return text, err
}

// link is a symbolic link on the way to a file.
type link struct {
	at, text string
}

// resolved is where a path leads.
type resolved struct {
	links []link
	real  string // without symbolic links
	info  fs.FileInfo
	err   error
}

// resolve follows a path as the kernel does and remembers each link on the
// way: inside the compartment the same links make the same path lead to the
// same file.
func (l *lookups) resolve(name string) resolved {
	name = path.Clean(name)
	if known, found := l.paths[name]; found {
		return known
	}
	result := l.follow(name)
	l.paths[name] = result
	return result
}

func (l *lookups) follow(name string) (result resolved) {
	const mostLinks = 40 // as the kernel: path_resolution(7)
	rest := strings.Split(strings.Trim(name, "/"), "/")
	at := "/"
	info, err := l.Lstat("/")
	for len(rest) > 0 && err == nil {
		part := rest[0]
		rest = rest[1:]
		switch part {
		case "", ".":
			continue
		case "..":
			at = path.Dir(at)
			info, err = l.Lstat(at)
			continue
		}
		next := path.Join(at, part)
		if info, err = l.Lstat(next); err != nil {
			break
		}
		if info.Mode()&fs.ModeSymlink == 0 {
			if len(rest) > 0 && !info.IsDir() {
				err = &fs.PathError{Op: "open", Path: next, Err: errors.New(next + " is not a directory")}
			}
			at = next
			continue
		}
		text, errLink := l.Readlink(next)
		if errLink != nil {
			err = errLink
			break
		}
		result.links = append(result.links, link{at: next, text: text})
		if len(result.links) > mostLinks {
			err = &fs.PathError{Op: "open", Path: name, Err: errors.New("its symbolic links lead in a circle")}
			break
		}
		if path.IsAbs(text) {
			at = "/"
		}
		info, err = l.Lstat(at)
		rest = append(strings.Split(text, "/"), rest...)
	}
	result.real, result.info, result.err = at, info, err
	return result
}

// glob returns the paths that match a pattern, in order. Only the elements
// with a * or ? or [ are looked up in their directories.
func (l *lookups) glob(pattern string) []string {
	known, found := l.globs[pattern]
	if !found {
		known = l.match(pattern)
		l.globs[pattern] = known
	}
	return known
}

func (l *lookups) match(pattern string) []string {
	found := []string{"/"}
	for _, part := range strings.Split(strings.Trim(path.Clean(pattern), "/"), "/") {
		var next []string
		for _, directory := range found {
			if !isPattern(part) {
				candidate := path.Join(directory, part)
				if l.resolve(candidate).err == nil {
					next = append(next, candidate)
				}
				continue
			}
			entries, err := l.ReadDir(l.resolve(directory).real)
			if err != nil {
				continue // what cannot be read does not match
			}
			for _, entry := range entries {
				if ok, err := path.Match(part, entry.Name()); err == nil && ok {
					next = append(next, path.Join(directory, entry.Name()))
				}
			}
		}
		found = next
	}
	sort.Strings(found)
	return found
}

func isPattern(text string) bool { return strings.ContainsAny(text, "*?[") }

// readText reads a file of at most most bytes.
func (l *lookups) readText(name string, most int64) (string, error) {
	file, err := l.Open(name)
	if err != nil {
		return "", err
	}
	defer file.Close()
	info, err := file.Stat()
	switch {
	case err != nil:
		return "", err
	case !info.Mode().IsRegular():
		return "", errors.New("it is not a regular file")
	case info.Size() > most:
		return "", errors.New("it is too large")
	}
	text, err := io.ReadAll(io.NewSectionReader(file, 0, most))
	return string(text), err
}
