package subordinate

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// machine is a directory of files that stand for a machine's.
func machine(t *testing.T, subuid, subgid string) (etc, bin string) {
	t.Helper()
	etc, bin = t.TempDir(), t.TempDir()
	for name, text := range map[string]string{"subuid": subuid, "subgid": subgid} {
		if text == "" {
			continue
		}
		if err := os.WriteFile(filepath.Join(etc, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return etc, bin
}

func program(t *testing.T, path string, mode os.FileMode) {
	t.Helper()
	if err := os.WriteFile(path, nil, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}

const range1 = "alice:100000:10\n"

// What is missing is said, and what to do.
func TestMissing(t *testing.T) {
	for _, c := range []struct {
		what, subuid, subgid string
		programs             map[string]os.FileMode
		missing, remedy      string
	}{
		{"no file", "", range1, nil, "no range of alice's in ETC/subuid", "usermod --add-subuids"},
		{"no line", "bob:100000:10\n", range1, nil, "no range of alice's in ETC/subuid", "usermod --add-subuids"},
		{"no groups", range1, "bob:100000:10\n", nil, "no range of alice's in ETC/subgid", "--add-subgids"},
		{"a file without end", range1, strings.Repeat("x", 2000), nil, "ETC/subgid cannot be read", "corrected"},
		{"no programs", range1, range1, nil, "newuidmap is not installed", "the package uidmap"},
		{"a program without rights", range1, range1, map[string]os.FileMode{"newuidmap": 0o755}, "BIN/newuidmap is neither set-user-id root", "chmod u+s BIN/newuidmap"},
		{"a program that nobody may execute", range1, range1, map[string]os.FileMode{"newuidmap": 0o644 | os.ModeSetuid}, "newuidmap is not installed", "the package uidmap"},
	} {
		etc, bin := machine(t, c.subuid, c.subgid)
		for name, mode := range c.programs {
			program(t, filepath.Join(bin, name), mode)
		}
		ids := find(etc, []string{t.TempDir(), bin}, "alice", 1000)
		names := strings.NewReplacer("ETC", etc, "BIN", bin)
		if !strings.Contains(ids.Missing, names.Replace(c.missing)) || !strings.Contains(ids.Remedy, names.Replace(c.remedy)) || ids.UIDs != nil || ids.GIDs != nil {
			t.Errorf("%s: %+v", c.what, ids)
		}
	}
	if missing, _ := helper([]string{t.TempDir()}, "newgidmap"); missing != "newgidmap is not installed" {
		t.Error(missing)
	}
}

// The programs of this machine, where it has them, with ranges of a user's.
func TestHere(t *testing.T) {
	etc, _ := machine(t, range1, "alice:200000:20\n")
	ids := find(etc, filepath.SplitList(Path), "alice", 1000)
	if _, err := os.Stat("/usr/bin/newuidmap"); err != nil {
		if !strings.Contains(ids.Missing, "newuidmap is not installed") {
			t.Errorf("%+v", ids)
		}
		return
	}
	if ids.Missing != "" || !slices.Equal(ids.UIDs, []Range{{100000, 10}}) || !slices.Equal(ids.GIDs, []Range{{200000, 20}}) {
		t.Errorf("%+v", ids)
	}
}
