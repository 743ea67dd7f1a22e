package launch

import (
	"os"
	"path/filepath"
	"testing"
)

// An ordinary user's applications are where nobody else can put a socket in the
// place of theirs.
func TestPrivate(t *testing.T) {
	own := t.TempDir()
	open := filepath.Join(own, "open")
	if err := os.Mkdir(open, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(open, 0o777); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(own, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	me := os.Geteuid()
	for _, c := range []struct {
		path string
		uid  int
		want string
	}{
		{own, me, ""},
		{own + "/not-there", me, ""},
		{"run", me, "which is not absolute"},
		{file, me, "which is not a directory"},
		{file + "/below", me, "which cannot be looked at: not a directory"},
		{"/proc", 1000, "which is that of user 0, and not of user 1000"},
		{open, me, "which others may write (mode 0777)"},
	} {
		got := ""
		if err := private(c.path, c.uid); err != nil {
			got = err.Error()
		}
		if got != c.want {
			t.Errorf("%s: %q, want %q", c.path, got, c.want)
		}
	}
}
