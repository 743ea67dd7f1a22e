package release

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// What is linked and known to be vulnerable is found, and a database that
// cannot be reached is no answer.
func TestVulncheck(t *testing.T) {
	dir := t.TempDir()
	repository, database := filepath.Join(dir, "repository"), filepath.Join(dir, "database")
	if err := os.MkdirAll(filepath.Join(repository, "data/osv"), 0o755); err != nil {
		t.Fatal(err)
	}
	const report = `{"schema_version": "1.3.1", "id": "GO-2000-0001", "modified": "2000-01-01T00:00:00Z", "published": "2000-01-01T00:00:00Z",
		"summary": "An invention of this test", "details": "There is none.", "database_specific": {"url": "https://example.org/"}, "affected": [{"package": {"name": "golang.org/x/sys", "ecosystem": "Go"},
		"ranges": [{"type": "SEMVER", "events": [{"introduced": "0"}]}], "ecosystem_specific": {"imports": [{"path": "golang.org/x/sys/unix"}]}}]}`
	if err := os.WriteFile(filepath.Join(repository, "data/osv/GO-2000-0001.json"), []byte(report), 0o644); err != nil {
		t.Fatal(err)
	}
	run := func(want int, said string, environment []string, command ...string) {
		t.Helper()
		c := exec.Command(command[0], command[1:]...)
		c.Dir, c.Env = root, append(os.Environ(), environment...)
		out, _ := c.CombinedOutput()
		if got := c.ProcessState.ExitCode(); got != want || !strings.Contains(string(out), said) {
			t.Errorf("%v: status %d and not %d, or it does not say %q:\n%s", command, got, want, said, out)
		}
	}
	run(0, "1 reports in ", nil, "go", "run", "./release/vulndb", repository, database)
	run(1, "GO-2000-0001", []string{"GOVULNDB=file://" + database}, "release/vulncheck", "./sandbox/cgroup")
	run(2, "NOTHING WAS CHECKED", []string{"GOVULNDB=http://127.0.0.1:1"}, "release/vulncheck", "./sandbox/cgroup")
}
