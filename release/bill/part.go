package main

import (
	"debug/buildinfo"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// part is something that a program links and that somebody else wrote.
type part struct {
	name, version string
	kind          string // golang, deb
	sum           string // SHA-256 in hex, of a module as go.sum has it
	license       string // SPDX
	texts         []string
	in            []string // programs
}

// parts are what the programs link, sorted: modules as the linker noted them,
// the Go standard library, and the C libraries of Debian that are linked
// statically.
func parts(programs []string) ([]*part, error) {
	known := map[string]*part{}
	add := func(p part, program string) *part {
		key := p.kind + " " + p.name
		if known[key] == nil {
			known[key] = &p
		}
		known[key].in = append(known[key].in, filepath.Base(program))
		return known[key]
	}
	for _, program := range programs {
		info, err := buildinfo.ReadFile(program)
		if err != nil {
			if strings.Contains(err.Error(), "not a Go executable") {
				add(part{name: "musl", kind: "deb"}, program)
				continue
			}
			return nil, fmt.Errorf("read what %s links: %w", program, err)
		}
		add(part{name: "std", version: strings.TrimPrefix(info.GoVersion, "go"), kind: "golang"}, program)
		for _, m := range info.Deps {
			if m.Replace != nil {
				return nil, fmt.Errorf("%s is replaced by %s: what is released comes from where it says", m.Path, m.Replace.Path)
			}
			sum, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(m.Sum, "h1:"))
			if err != nil || len(sum) != 32 {
				return nil, fmt.Errorf("%s has no sum: %q", m.Path, m.Sum)
			}
			add(part{name: m.Path, version: m.Version, kind: "golang", sum: hex.EncodeToString(sum)}, program)
		}
		for _, s := range info.Settings {
			if s.Key == "CGO_ENABLED" && s.Value == "1" {
				add(part{name: "libseccomp", kind: "deb"}, program)
				add(part{name: "glibc", kind: "deb"}, program)
			}
		}
	}
	var all []*part
	for _, p := range known {
		if err := p.find(); err != nil {
			return nil, err
		}
		all = append(all, p)
	}
	slices.SortFunc(all, func(a, b *part) int { return strings.Compare(a.kind+a.name, b.kind+b.name) })
	return all, nil
}

// packages are the Debian packages that C libraries are linked from.
var packages = map[string]string{"musl": "musl-dev", "libseccomp": "libseccomp-dev", "glibc": "libc6-dev"}

// debianLicenses are what their copyright files say, of what is linked.
var debianLicenses = map[string]string{"musl": "MIT", "libseccomp": "LGPL-2.1-only", "glibc": "LGPL-2.1-or-later"}

// find looks for the part's version and licence.
func (p *part) find() error {
	if p.kind == "deb" {
		out, err := exec.Command("dpkg-query", "-W", "-f", "${Version}", packages[p.name]).Output()
		if err != nil {
			return fmt.Errorf("find the version of %s: %w", packages[p.name], err)
		}
		p.version, p.license = string(out), debianLicenses[p.name]
		text, err := os.ReadFile("/usr/share/doc/" + packages[p.name] + "/copyright")
		if err != nil {
			return fmt.Errorf("find the licence of %s: %w", p.name, err)
		}
		p.texts = []string{string(text)}
		return nil
	}
	arguments := []string{"list", "-m", "-f", "{{.Dir}}", p.name}
	if p.name == "std" {
		arguments = []string{"env", "GOROOT"}
	}
	out, err := exec.Command("go", arguments...).Output()
	if err != nil {
		return fmt.Errorf("find the source of %s: %w", p.name, err)
	}
	directory := strings.TrimSpace(string(out))
	found, err := filepath.Glob(filepath.Join(directory, "[LCNlcn][IOTiot][CPTPcptp]*"))
	if err != nil {
		return err
	}
	var licenses []string
	for _, file := range found {
		base := strings.ToUpper(filepath.Base(file))
		if !strings.HasPrefix(base, "LICEN") && !strings.HasPrefix(base, "COPYING") && !strings.HasPrefix(base, "NOTICE") {
			continue
		}
		text, err := os.ReadFile(file)
		if err != nil {
			return fmt.Errorf("read the licence of %s: %w", p.name, err)
		}
		p.texts = append(p.texts, string(text))
		if license := recognize(string(text)); license != "" && !slices.Contains(licenses, license) {
			licenses = append(licenses, license)
		}
	}
	if len(licenses) == 0 {
		return fmt.Errorf("the licence of %s in %s: %w", p.name, directory, errUnknown)
	}
	slices.Sort(licenses)
	p.license = strings.Join(licenses, " AND ")
	return nil
}

var errUnknown = errors.New("none that is known here; look at it and teach release/bill/license.go")
