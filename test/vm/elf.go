package main

import (
	"context"
	"debug/elf"
	"fmt"
	"io"
	"path/filepath"
	"strings"
)

// elfClosure lists what a program or a library needs besides itself: its interpreter and its
// libraries, at the paths where the interpreter looks for them. A static program needs nothing.
func elfClosure(ctx context.Context, file string) ([]string, error) {
	interpreter, err := elfInterpreter(file)
	if err != nil {
		return nil, err
	}
	if interpreter == "" {
		if needs, err := needsLibraries(file); err != nil || !needs {
			return nil, err
		}
		// A library names none: the one of whoever loads it looks for what it needs.
		if interpreter, err = elfInterpreter("/bin/sh"); err != nil || interpreter == "" {
			return nil, err
		}
	}
	file, err = filepath.Abs(file)
	if err != nil {
		return nil, err
	}
	// The dynamic linker itself is asked, as only it knows all of RPATH, its cache and the
	// processor's variants. With --list it maps the program and does not start it.
	out, err := output(ctx, "", interpreter, "--list", file)
	if err != nil {
		return nil, err
	}
	needed := []string{interpreter}
	for line := range strings.Lines(string(out)) {
		// "libc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x...)"; the linker and the vDSO have no arrow.
		name, found, ok := strings.Cut(strings.TrimSpace(line), " => ")
		if !ok {
			continue
		}
		library, _, _ := strings.Cut(found, " (0x")
		if !filepath.IsAbs(library) {
			return nil, fmt.Errorf("%s: library %s: %s", file, name, library)
		}
		needed = append(needed, library)
	}
	return needed, nil
}

func needsLibraries(file string) (bool, error) {
	f, err := elf.Open(file)
	if err != nil {
		return false, fmt.Errorf("%s: %w", file, err)
	}
	defer f.Close()
	libraries, err := f.ImportedLibraries()
	return len(libraries) > 0, err
}

// elfInterpreter returns the interpreter that an ELF file names, or nothing for a static one.
func elfInterpreter(file string) (string, error) {
	f, err := elf.Open(file)
	if err != nil {
		return "", fmt.Errorf("%s: %w", file, err)
	}
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			name, err := io.ReadAll(p.Open())
			return strings.TrimRight(string(name), "\x00"), err
		}
	}
	return "", nil
}
