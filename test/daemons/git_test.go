package daemons

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// git runs git in a directory as its user would, with nobody's configuration.
func git(directory string, arguments ...string) (string, error) {
	c := exec.Command("git", append([]string{"-C", directory, "-c", "user.name=test", "-c", "user.email=test@localhost", "-c", "safe.directory=*"}, arguments...)...)
	c.Env = []string{"PATH=/usr/bin:/bin", "HOME=/nonexistent", "GIT_CONFIG_NOSYSTEM=1"}
	b, err := c.CombinedOutput()
	return string(b), err
}

func mustGit(t *testing.T, directory string, arguments ...string) {
	t.Helper()
	if out, err := git(directory, arguments...); err != nil {
		t.Fatalf("git %s: %v: %s", strings.Join(arguments, " "), err, out)
	}
}

// gitSite is a directory of repositories with one in it, and a clone that is
// one commit ahead.
func gitSite(t *testing.T) (settings []string, url, repositories, work string) {
	t.Helper()
	port := freePort(t)
	repositories, work = directory(t, "root"), directory(t, "root")
	mustGit(t, repositories, "init", "-q", "--bare", "--initial-branch=main", "shop.git")
	mustGit(t, work, "init", "-q", "--initial-branch=main", ".")
	// More than one pack of a pipe's size.
	file(t, filepath.Join(work, "large"), strings.Repeat("a line of a file\n", 100_000), 0o644)
	mustGit(t, work, "add", ".")
	mustGit(t, work, "commit", "-q", "-m", "first")
	mustGit(t, work, "push", "-q", filepath.Join(repositories, "shop.git"), "main")
	file(t, filepath.Join(work, "second"), "second\n", 0o644)
	mustGit(t, work, "add", ".")
	mustGit(t, work, "commit", "-q", "-m", "second")
	if out, err := command("chown", "-R", "www-data", repositories); err != nil {
		t.Fatal(out, err)
	}
	return []string{"variables.port=" + port, "variables.repositories=" + repositories},
		"git://127.0.0.1:" + port + "/shop.git", repositories, work
}

func TestGitDaemon(t *testing.T) {
	long(t)
	needs(t, "git")
	settings, url, _, work := gitSite(t)
	a := start(t, "git-daemon", settings...)
	a.component = "daemon"
	a.expect("refs/heads/main", "git", "ls-remote", url)
	clone := directory(t, "root")
	mustGit(t, clone, "clone", "-q", url, "copy")
	if b, err := os.ReadFile(filepath.Join(clone, "copy", "large")); err != nil || len(b) != 1_700_000 {
		t.Errorf("the clone has %d bytes, %v", len(b), err)
	}
	if out, err := git(clone, "clone", "-q", strings.Replace(url, "shop", "nothing", 1), "nothing"); err == nil || !strings.Contains(out, "access denied or repository not exported") {
		t.Errorf("a repository that is not there: %v: %s", err, out)
	}
	if out, err := git(work, "push", url, "main"); err == nil || !strings.Contains(out, "access denied") {
		t.Errorf("a push where none is wanted: %v: %s", err, out)
	}
	a.denials()
	a.stop()
}

func TestGitDaemonWithPushes(t *testing.T) {
	long(t)
	needs(t, "git")
	settings, url, repositories, work := gitSite(t)
	a := start(t, "git-daemon", append(settings, "variables.push=--enable=receive-pack",
		"components.git.files.write="+repositories, "components.git.user=www-data")...)
	a.component = "daemon"
	a.await("the push", func() error {
		out, err := git(work, "push", url, "main")
		if err != nil {
			t.Log(out)
		}
		return err
	})
	want, err := git(work, "rev-parse", "main")
	if err != nil {
		t.Fatal(want, err)
	}
	if got, err := git(repositories, "--git-dir=shop.git", "rev-parse", "main"); err != nil || got != want {
		t.Errorf("after the push the repository has %q (%v), not %q", got, err, want)
	}
	a.denials()
	a.stop()
}
