package policy

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"path"
	"strings"
)

// linker finds the files that ld.so(8) would load for a program.
type linker struct {
	host   *lookups
	images map[string]imageResult
	cache  map[string][]string // ld.so.cache: soname to paths
	done   map[string]closureResult
}

type imageResult struct {
	image *image
	err   error
}

// closureResult is what a program or library needs: the paths as ld.so opens
// them, itself left out.
type closureResult struct {
	interpreter string
	libraries   []string
	err         error
}

// The directories that ld.so searches last, on Debian and elsewhere.
var libraryDirectories = []string{"/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu", "/lib64", "/usr/lib64", "/lib", "/usr/lib"}

const linkerCache = "/etc/ld.so.cache"

func newLinker(host *lookups) *linker {
	return &linker{host: host, images: map[string]imageResult{}, done: map[string]closureResult{}}
}

// image reads a file once.
func (l *linker) image(name string) (*image, error) {
	known, found := l.images[name]
	if !found {
		known.image, known.err = l.open(name)
		l.images[name] = known
	}
	return known.image, known.err
}

func (l *linker) open(name string) (*image, error) {
	file, err := l.host.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return readImage(file)
}

// object is a library on the way to the program that needs it: DT_RPATH is
// inherited from there, DT_RUNPATH is not.
type object struct {
	name   string
	image  *image
	needer *object
}

// closure follows DT_NEEDED breadth first, as ld.so does; each name is loaded
// once.
func (l *linker) closure(name string) closureResult {
	if known, found := l.done[name]; found {
		return known
	}
	result := l.walk(name)
	l.done[name] = result
	return result
}

func (l *linker) walk(name string) (result closureResult) {
	const mostLibraries = 2000
	image, err := l.image(l.host.resolve(name).real)
	if err != nil {
		result.err = err
		return result
	}
	result.interpreter = image.interpreter
	queue := []*object{{name: name, image: image}}
	loaded := map[string]bool{image.soname: true}
	if image.interpreter != "" {
		loaded[path.Base(image.interpreter)] = true
	}
	// ld.so resolves each name once, so a queue with names seen is enough.
	for len(queue) > 0 && len(loaded) < mostLibraries {
		current := queue[0]
		queue = queue[1:]
		for _, needed := range current.image.needed {
			if loaded[needed] {
				continue
			}
			loaded[needed] = true
			found := l.find(needed, current)
			if len(found) == 0 {
				result.err = fmt.Errorf("%s needs the library %s, which is nowhere", subject(current), needed)
				return result
			}
			for _, file := range found {
				library, err := l.image(l.host.resolve(file).real)
				if err != nil {
					result.err = fmt.Errorf("%s needs %s: %s", subject(current), file, reason(err))
					return result
				}
				result.libraries = append(result.libraries, file)
				queue = append(queue, &object{name: file, image: library, needer: current})
			}
		}
	}
	// libc loads this one itself when a thread is cancelled or exits by
	// pthread_exit(3), and aborts where it is missing.
	if loaded["libc.so.6"] && !loaded["libgcc_s.so.1"] {
		result.libraries = append(result.libraries, first(l.find("libgcc_s.so.1", &object{image: image}), 1)...)
	}
	return result
}

// subject says who needs a library, in a message that names the program.
func subject(o *object) string {
	if o.needer == nil {
		return "it"
	}
	return o.name
}

// find returns where ld.so finds a library, most often one path. Variants for
// newer processors (glibc-hwcaps) come beside the plain one.
func (l *linker) find(needed string, by *object) []string {
	if strings.Contains(needed, "/") {
		if l.usable(needed) {
			return []string{needed}
		}
		return nil
	}
	if by.image.runpath == "" {
		for o := by; o != nil; o = o.needer {
			if o.image.runpath != "" {
				continue
			}
			if found := l.search(needed, o.image.rpath, o.name); found != "" {
				return []string{found}
			}
		}
	} else if found := l.search(needed, by.image.runpath, by.name); found != "" {
		return []string{found}
	}
	var cached []string
	for _, candidate := range l.cached(needed) {
		if l.usable(candidate) {
			cached = append(cached, candidate)
		}
	}
	if len(cached) > 0 {
		return cached
	}
	if found := l.search(needed, strings.Join(libraryDirectories, ":"), ""); found != "" {
		return []string{found}
	}
	return nil
}

// search looks into the directories of a RPATH or RUNPATH.
func (l *linker) search(needed, directories, by string) string {
	if directories == "" {
		return ""
	}
	origin := path.Dir(l.host.resolve(by).real)
	expand := strings.NewReplacer("$ORIGIN", origin, "${ORIGIN}", origin, "$LIB", "lib/x86_64-linux-gnu",
		"${LIB}", "lib/x86_64-linux-gnu", "$PLATFORM", "x86_64", "${PLATFORM}", "x86_64")
	for _, directory := range strings.Split(directories, ":") {
		directory = expand.Replace(directory)
		if !path.IsAbs(directory) {
			continue // relative to the working directory: nothing to rely on
		}
		if candidate := path.Join(directory, needed); l.usable(candidate) {
			return candidate
		}
	}
	return ""
}

// usable says whether ld.so would take the file; it passes over those of
// another architecture.
func (l *linker) usable(name string) bool {
	found := l.host.resolve(name)
	if found.err != nil || !found.info.Mode().IsRegular() {
		return false
	}
	_, err := l.image(found.real)
	return err == nil
}

func (l *linker) cached(soname string) []string {
	if l.cache == nil {
		l.cache = map[string][]string{}
		if text, err := l.host.readText(linkerCache, 16<<20); err == nil {
			if entries, err := parseLinkerCache([]byte(text)); err == nil {
				l.cache = entries
			}
		}
	}
	return l.cache[soname]
}

// parseLinkerCache reads /etc/ld.so.cache, glibc's sysdeps/generic/dl-cache.h:
// a header of 48 bytes, entries of 24, then the strings, at offsets from the
// header's start.
func parseLinkerCache(data []byte) (map[string][]string, error) {
	const (
		magic      = "glibc-ld.so.cache1.1"
		headerSize = 48
		entrySize  = 24
		flagsX8664 = 0x0303 // FLAG_X8664_LIB64 | FLAG_ELF_LIBC6
	)
	damaged := errors.New("it is damaged")
	// An older format may stand before the newer one.
	start := bytes.Index(data, []byte(magic))
	if start < 0 || len(data)-start < headerSize {
		return nil, damaged
	}
	data = data[start:]
	count := int(binary.LittleEndian.Uint32(data[20:]))
	if count < 0 || count > (len(data)-headerSize)/entrySize {
		return nil, damaged
	}
	text := func(offset uint32) string {
		if int(offset) >= len(data) {
			return ""
		}
		end := bytes.IndexByte(data[offset:min(int(offset)+4096, len(data))], 0)
		return string(data[offset : int(offset)+max(0, end)])
	}
	result := make(map[string][]string, count)
	for i := range count {
		entry := data[headerSize+i*entrySize:]
		if binary.LittleEndian.Uint32(entry) != flagsX8664 {
			continue
		}
		name := text(binary.LittleEndian.Uint32(entry[4:]))
		if file := text(binary.LittleEndian.Uint32(entry[8:])); path.IsAbs(file) {
			result[name] = append(result[name], file)
		}
	}
	return result, nil
}
