package e2e

import (
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

// The flags of these tests.
var (
	binDirectory = flag.String("bin", "../../bin", "the `directory` that make build fills")
	built        = flag.String("built", "", "a `directory` with what tests else compile: parent (split/parent.c), and hostile/supervisor and the like")
	faultCount   = flag.Int("faults", 0, "how many random faults TestRandomFaults makes; 0 is the usual number")
	faultSeed    = flag.Uint64("seed", 1, "what the random faults follow from")
	injectAll    = flag.Bool("inject", false, "let TestFailingCalls… fail more calls")
)

// Site is where the programs under test are: a copy of bin/, so that a build
// meanwhile changes nothing under a test, and so that programs of ours that
// run are known by their path.
type Site struct {
	Dir     string // holds sandbox and program
	Libexec string
	Sandbox string
	Program string // this test binary, which plays components
	Busybox string
}

var (
	theSite  *Site
	siteOnce sync.Once
	siteErr  error
)

// site returns the site, made at the first call.
func site(t *testing.T) *Site {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("these tests run applications as root and look at the whole machine: run them as root")
	}
	siteOnce.Do(func() { theSite, siteErr = newSite(*binDirectory) })
	if siteErr != nil {
		t.Fatal(siteErr)
	}
	return theSite
}

func newSite(bin string) (*Site, error) {
	dir, err := makeDirectory("e2e-site-")
	if err != nil {
		return nil, err
	}
	s := &Site{Dir: dir, Libexec: dir + "/libexec", Sandbox: dir + "/sandbox", Program: dir + "/program"}
	if s.Busybox, err = exec.LookPath("busybox"); err != nil {
		return s, fmt.Errorf("components here are busybox programs: install busybox-static: %w", err)
	}
	if err := os.Mkdir(s.Libexec, 0o755); err != nil {
		return s, err
	}
	for _, name := range []string{"sandbox", "libexec/monitor", "libexec/builder", "libexec/supervisor", "libexec/init", "libexec/stub", "libexec/sweeper", "libexec/keeper"} {
		if err := copyProgram(filepath.Join(bin, name), filepath.Join(dir, name)); err != nil {
			return s, fmt.Errorf("these tests run what `make build` makes: %w", err)
		}
	}
	self, err := os.Executable()
	if err != nil {
		return s, err
	}
	return s, copyProgram(self, s.Program)
}

// makeDirectory makes a directory that components, who are other users, can get
// to. Not below /tmp, where many a component has a file system of its own, nor
// below /run, where on many machines nothing can be executed.
func makeDirectory(prefix string) (string, error) {
	const base = "/var/tmp"
	if err := os.MkdirAll(base, 0o777); err != nil {
		return "", err
	}
	dir, err := os.MkdirTemp(base, prefix)
	if err != nil {
		return "", err
	}
	return dir, os.Chmod(dir, 0o755)
}

func copyProgram(from, to string) error {
	source, err := os.Open(from)
	if err != nil {
		return err
	}
	defer source.Close()
	target, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o755)
	if err != nil {
		return err
	}
	if _, err := io.Copy(target, source); err != nil {
		target.Close()
		return err
	}
	return target.Close()
}

func (s *Site) remove() {
	if s != nil {
		os.RemoveAll(s.Dir)
	}
}
