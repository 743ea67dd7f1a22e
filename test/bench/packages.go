package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// A need is a program that a Debian package brings.
type need struct {
	program string
	pkg     string
}

var (
	busybox    = need{"busybox", "busybox-static"}
	unshare    = need{"unshare", "util-linux"}
	bubblewrap = need{"bwrap", "bubblewrap"}
	crun       = need{"crun", "crun"}
	runc       = need{"runc", "runc"}
	firejail   = need{"firejail", "firejail"}
	xinetd     = need{"xinetd", "xinetd"}
	python     = need{"python3", "python3"}
	tcpserver  = need{"tcpserver", "ucspi-tcp"}
	activate   = need{"systemd-socket-activate", "systemd"}

	// The raw programs need these, whatever cases are chosen. musl's start-up is short enough not to count.
	gcc  = need{"gcc", "gcc"}
	musl = need{"musl-gcc", "musl-tools"}
)

// find returns where a program is, or "". The directories for administrators are not in everyone's PATH.
func find(program string) string {
	for _, dir := range append(filepath.SplitList(os.Getenv("PATH")), "/usr/sbin", "/sbin") {
		path := filepath.Join(dir, program)
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return path
		}
	}
	return ""
}

func (n need) path() string { return find(n.program) }

// missing returns the first package that the case lacks, or "".
func (c *benchCase) missing() string {
	for _, n := range c.needs {
		if n.path() == "" {
			return n.pkg
		}
	}
	return ""
}

func install(ctx context.Context, chosen []*benchCase) error {
	needs := []need{gcc, musl}
	for _, c := range chosen {
		needs = append(needs, c.needs...)
	}
	var packages []string
	for _, n := range needs {
		if n.path() == "" && !slices.Contains(packages, n.pkg) {
			packages = append(packages, n.pkg)
		}
	}
	if len(packages) == 0 {
		return nil
	}
	for _, arguments := range [][]string{
		{"update"},
		append([]string{"install", "-y", "--no-install-recommends"}, packages...),
	} {
		// Another installation may hold the lock: wait for it, but not for ever.
		apt := exec.CommandContext(ctx, "apt-get", append([]string{"-q", "-o", "DPkg::Lock::Timeout=300"}, arguments...)...)
		// RUNLEVEL=1 keeps Debian's scripts from starting the daemons that a package brings.
		apt.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive", "RUNLEVEL=1")
		if out, err := apt.CombinedOutput(); err != nil {
			return fmt.Errorf("apt-get %s: %w\n%s", strings.Join(arguments, " "), err, out)
		}
	}
	return nil
}
