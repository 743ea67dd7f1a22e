package main

import (
	"bytes"
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
)

// dpkgStatus is where dpkg-query looks for what is installed.
const dpkgStatus = "var/lib/dpkg/status"

// unneeded are parts of packages that no program reads.
var unneeded = []string{"/usr/share/doc/", "/usr/share/man/", "/usr/share/locale/", "/usr/share/info/", "/usr/share/lintian/"}

// addPackage puts a Debian package that the host has installed in the machine: its files as dpkg knows
// them, what its programs are linked with, and its stanza for dpkg-query. Maintainer scripts do
// not run: users that they make, and files, are not there.
func (a *archive) addPackage(ctx context.Context, name string) error {
	stanza, err := output(ctx, "", "dpkg-query", "--status", name)
	if err != nil {
		return fmt.Errorf("%w: is it installed here?", err)
	}
	known := a.nodes[dpkgStatus].content
	if err := a.add(dpkgStatus, node{mode: typeFile | 0o644, content: append(append(known, bytes.TrimSpace(stanza)...), "\n\n"...)}); err != nil {
		return err
	}
	list, err := output(ctx, "", "dpkg-query", "--listfiles", name)
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(list)) {
		if err := a.addPackaged(ctx, strings.TrimSpace(line)); err != nil {
			return err
		}
	}
	return nil
}

// addPackaged adds one file of a package, with its libraries. Directories come with what is in
// them; an empty one is not worth the room.
func (a *archive) addPackaged(ctx context.Context, file string) error {
	for _, prefix := range unneeded {
		if strings.HasPrefix(file, prefix) {
			return nil
		}
	}
	info, err := os.Lstat(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // removed by who set the host up, or diverted
	} else if err != nil {
		return err
	}
	switch info.Mode().Type() {
	case 0:
	case fs.ModeSymlink:
		target, err := os.Readlink(file)
		if err != nil {
			return err
		}
		return a.add(file, node{mode: typeLink | 0o777, content: []byte(target)})
	default:
		return nil
	}
	if err := a.addHost(file, file); err != nil {
		return err
	}
	program, err := elf.Open(file)
	if err != nil {
		return nil // a script, or data
	}
	program.Close()
	return addClosure(ctx, a, file)
}
