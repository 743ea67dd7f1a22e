// Package release builds a release and uses it as somebody who downloaded it
// would: checks its signature, installs the package, runs a program.
package release

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
)

const root = "../.."

// epoch is the time of the releases of this test.
const epoch = "1700000000"

var (
	building  sync.Once
	directory string // of the two releases
	failure   error
)

func TestMain(m *testing.M) {
	status := m.Run()
	if directory != "" {
		os.RemoveAll(directory)
	}
	os.Exit(status)
}

// built is the release, built twice from copies of the source in directories of
// different names and depths, with other clocks, languages and masks.
// `make release-check` does the second one with an empty build cache too.
func built(t *testing.T) (one, two string) {
	t.Helper()
	if testing.Short() {
		t.Skip("builds two releases, half a minute")
	}
	if os.Geteuid() != 0 {
		t.Skip("installs a package and starts applications: run as root")
	}
	building.Do(func() { failure = build() })
	if failure != nil {
		t.Fatal(failure)
	}
	return directory + "/one", directory + "/two"
}

func build() error {
	var err error
	if directory, err = os.MkdirTemp("", "release-test-"); err != nil {
		return err
	}
	if err := os.Chmod(directory, 0o755); err != nil { // workers look at what is installed in it
		return err
	}
	for _, b := range []struct{ source, out, environment, mask string }{
		{directory + "/a", "one", "TZ=UTC", "022"},
		{directory + "/a longer name/deeper", "two", "TZ=Asia/Tokyo", "077"},
	} {
		script := `umask ` + b.mask + `; set -e; mkdir -p "$1"; cp -a CHANGELOG.md Makefile README.md broker cmd docs go.mod go.sum policy profiles release sandbox "$1"; "$1/release/build" "$2"`
		c := exec.Command("bash", "-c", script, "build", b.source, directory+"/"+b.out)
		c.Dir = root
		c.Env = append(os.Environ(), "SOURCE_DATE_EPOCH="+epoch, b.environment)
		if out, err := c.CombinedOutput(); err != nil {
			return fmt.Errorf("release/build: %v\n%s", err, out)
		}
	}
	return nil
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// only is the one file that a pattern fits.
func only(t *testing.T, pattern string) string {
	t.Helper()
	found, err := filepath.Glob(pattern)
	if err != nil || len(found) != 1 {
		t.Fatalf("%s: %v, %v; want one file", pattern, found, err)
	}
	return found[0]
}

func run(t *testing.T, name string, arguments ...string) (string, error) {
	t.Helper()
	out, err := exec.Command(name, arguments...).CombinedOutput()
	return string(out), err
}

func must(t *testing.T, name string, arguments ...string) string {
	t.Helper()
	out, err := run(t, name, arguments...)
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(arguments, " "), err, out)
	}
	return out
}

func TestSameBytes(t *testing.T) {
	one, two := built(t)
	sums := read(t, one+"/SHA256SUMS")
	if other := read(t, two+"/SHA256SUMS"); sums != other {
		t.Errorf("two builds of one source:\n%s\n%s", sums, other)
	}
	if n := strings.Count(sums, "\n"); n != 3 {
		t.Errorf("there are sums of %d files, want those of a tarball, a package and a bill:\n%s", n, sums)
	}
}

// TestPackage installs the Debian package into an empty root, and removes it.
func TestPackage(t *testing.T) {
	one, _ := built(t)
	clean := filepath.Join(directory, "root")
	for _, place := range []string{"var/lib/dpkg/info", "var/lib/dpkg/updates"} {
		if err := os.MkdirAll(filepath.Join(clean, place), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(clean+"/var/lib/dpkg/status", nil, 0o644); err != nil {
		t.Fatal(err)
	}
	must(t, "dpkg", "--root="+clean, "--install", only(t, one+"/*.deb"))
	works(t, clean+"/usr/bin/sandbox")
	if out := must(t, "dpkg", "--root="+clean, "--verify", "bulkhead"); out != "" {
		t.Errorf("what is installed is not what is in the package:\n%s", out)
	}
	for _, file := range []string{
		"usr/share/man/man8/sandbox.8.gz", "usr/share/man/man8/sandbox-run.8.gz", "usr/share/bash-completion/completions/sandbox",
		"usr/share/zsh/vendor-completions/_sandbox", "usr/share/fish/vendor_completions.d/sandbox.fish",
		"usr/lib/systemd/system/sandbox@.service", "usr/share/doc/bulkhead/copyright", "usr/share/doc/bulkhead/docs/policy.md", "etc/sandbox",
	} {
		if _, err := os.Stat(filepath.Join(clean, file)); err != nil {
			t.Errorf("the package has no %s", file)
		}
	}
	must(t, "dpkg", "--root="+clean, "--purge", "bulkhead")
	for _, gone := range []string{"usr", "etc/sandbox"} {
		if _, err := os.Stat(filepath.Join(clean, gone)); err == nil {
			t.Errorf("%s is left when the package is removed", gone)
		}
	}
}

// TestTarball unpacks the tarball where a user may.
func TestTarball(t *testing.T) {
	one, _ := built(t)
	place := filepath.Join(directory, "opt")
	if err := os.Mkdir(place, 0o755); err != nil {
		t.Fatal(err)
	}
	must(t, "tar", "--directory", place, "--strip-components=1", "--extract", "--file", only(t, one+"/*.tar.gz"))
	works(t, place+"/bin/sandbox")
	for _, program := range []string{"bin/sandbox", "libexec/sandbox/monitor", "libexec/sandbox/builder", "libexec/sandbox/supervisor", "libexec/sandbox/init", "libexec/sandbox/stub", "libexec/sandbox/sweeper", "libexec/sandbox/keeper"} {
		if out := must(t, "readelf", "--wide", "--segments", "--dynamic", filepath.Join(place, program)); strings.Contains(out, "INTERP") || strings.Contains(out, "NEEDED") {
			t.Errorf("%s is not static:\n%s", program, out)
		}
	}
	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		t.Log("the unit is not verified: there is no systemd-analyze")
		return
	}
	// It looks for the program in its own path, where a test installs nothing.
	unit := strings.ReplaceAll(read(t, place+"/lib/systemd/system/sandbox@.service"), "=sandbox ", "="+place+"/bin/sandbox ")
	unit = strings.ReplaceAll(unit, "Documentation=man:sandbox(8)\n", "")
	file := filepath.Join(t.TempDir(), "sandbox@x.service")
	if err := os.WriteFile(file, []byte(unit), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := run(t, "systemd-analyze", "verify", file); err != nil || strings.Contains(out, "sandbox@x") {
		t.Errorf("systemd-analyze verify: %v\n%s", err, out)
	}
}

// works starts something with an installed sandbox.
func works(t *testing.T, sandbox string) {
	t.Helper()
	if out := must(t, sandbox, "--version"); !strings.Contains(out, "0.") {
		t.Errorf("the version is %q", out)
	}
	if out, err := run(t, sandbox, "wrap", "--", "/bin/true"); err != nil || out != "" {
		t.Errorf("sandbox wrap -- /bin/true: %v\n%s", err, out)
	}
	if out, err := run(t, sandbox, "wrap", "--", "/bin/sh", "-c", "echo inside; exit 7"); err == nil || err.Error() != "exit status 7" || out != "inside\n" {
		t.Errorf("sandbox wrap: %v, %q; want status 7 and a word from inside", err, out)
	}
}

// TestSignature signs with a key that is thrown away, and checks as
// docs/release.md says.
func TestSignature(t *testing.T) {
	one, _ := built(t)
	if _, err := exec.LookPath("ssh-keygen"); err != nil {
		t.Skip("ssh-keygen is not installed; test/release/packages.txt names its package")
	}
	place := filepath.Join(t.TempDir(), "download")
	must(t, "cp", "-r", one, place)
	keys := t.TempDir()
	for _, name := range []string{"release", "stranger"} {
		must(t, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", filepath.Join(keys, name))
	}
	signers := filepath.Join(keys, "allowed_signers")
	if err := os.WriteFile(signers, []byte(`release@bulkhead namespaces="bulkhead-release" `+read(t, keys+"/release.pub")), 0o644); err != nil {
		t.Fatal(err)
	}
	sign, verify := root+"/release/sign", root+"/release/verify"
	must(t, sign, keys+"/release", place)
	if out := must(t, verify, signers, place); !strings.Contains(out, "these are the files that were signed") {
		t.Errorf("verify says %s", out)
	}
	refused := func(why string) {
		t.Helper()
		if out, err := run(t, verify, signers, place); err == nil {
			t.Errorf("%s, and it is accepted:\n%s", why, out)
		}
	}
	archive := only(t, place+"/*.tar.gz")
	text := read(t, archive)
	write := func(path, text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write(archive, text+"x")
	refused("a file was changed")
	if out, err := run(t, sign, keys+"/release", place); err == nil {
		t.Errorf("sums that are wrong are signed: %s", out)
	}
	write(archive, text)
	must(t, sign, keys+"/stranger", place)
	refused("a stranger signed it")
	must(t, "ssh-keygen", "-Y", "sign", "-q", "-n", "mail", "-f", keys+"/release", place+"/SHA256SUMS")
	refused("the key signed something else than a release")
}

var moduleRow = regexp.MustCompile("(?m)^\\| `([^`]+)` \\| .* \\| ([^|]+) \\|$")

// TestBill: the bill of materials has what the programs link, and the licences are
// those that docs/dependencies.md says.
func TestBill(t *testing.T) {
	one, _ := built(t)
	var bill struct {
		BOMFormat, SpecVersion, SerialNumber string
		Components                           []struct {
			Type, Name, Version, Purl string
			Reference                 string `json:"bom-ref"`
			Licenses                  []struct{ Expression string }
		}
		Dependencies []struct {
			Ref       string
			DependsOn []string
		}
	}
	d := json.NewDecoder(bytes.NewReader([]byte(read(t, only(t, one+"/*.cdx.json")))))
	if err := d.Decode(&bill); err != nil {
		t.Fatal(err)
	}
	if bill.BOMFormat != "CycloneDX" || !regexp.MustCompile(`^urn:uuid:[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`).MatchString(bill.SerialNumber) {
		t.Errorf("it is %s %s, serial %s", bill.BOMFormat, bill.SpecVersion, bill.SerialNumber)
	}
	references, licenses := map[string]bool{"bulkhead": true}, map[string]string{}
	for _, c := range bill.Components {
		if references[c.Reference] {
			t.Errorf("%s is there twice", c.Reference)
		}
		references[c.Reference] = true
		if c.Type == "library" {
			if len(c.Licenses) != 1 || c.Version == "" || !strings.HasPrefix(c.Purl, "pkg:") {
				t.Errorf("%s: %+v", c.Name, c)
				continue
			}
			licenses[c.Name] = c.Licenses[0].Expression
		}
	}
	for _, dependency := range bill.Dependencies {
		for _, reference := range append(dependency.DependsOn, dependency.Ref) {
			if !references[reference] {
				t.Errorf("%s is not described", reference)
			}
		}
	}
	for _, name := range []string{"sandbox", "monitor", "builder", "supervisor", "init", "stub", "sweeper", "keeper"} {
		if !references["program:"+name] {
			t.Errorf("the program %s is not in the bill", name)
		}
	}
	linked := strings.Fields(must(t, "go", "list", "-C", root, "-deps", "-f", "{{with .Module}}{{if not .Main}}{{.Path}}{{end}}{{end}}", "./cmd/sandbox"))
	slices.Sort(linked)
	documented := map[string]string{}
	for _, row := range moduleRow.FindAllStringSubmatch(read(t, root+"/docs/dependencies.md"), -1) {
		documented[row[1]] = strings.ReplaceAll(row[2], " and ", " AND ")
	}
	for _, module := range slices.Compact(linked) {
		switch {
		case licenses[module] == "":
			t.Errorf("%s is linked and not in the bill", module)
		case documented[module] != licenses[module]:
			t.Errorf("%s: docs/dependencies.md says %q, its own files %q", module, documented[module], licenses[module])
		}
	}
	for _, name := range []string{"std", "glibc", "musl", "libseccomp"} {
		if licenses[name] == "" {
			t.Errorf("%s is not in the bill", name)
		}
	}
	allowed := []string{"MIT", "ISC", "BSD-2-Clause", "BSD-3-Clause", "Apache-2.0", "MPL-2.0", "LGPL-2.1-only", "LGPL-2.1-or-later"}
	for name, license := range licenses {
		for one := range strings.SplitSeq(license, " AND ") {
			if !slices.Contains(allowed, one) {
				t.Errorf("%s has the licence %s, which nobody has thought about", name, one)
			}
		}
	}
}
