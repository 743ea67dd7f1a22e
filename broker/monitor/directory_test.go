package monitor

import (
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"

	"bulkhead/policy/plan"
)

func standIns(t *testing.T) (*files, *territory) {
	t.Helper()
	return &files{}, &territory{grant: &plan.Grant{Kind: plan.GrantDirectory}, standIn: t.TempDir()}
}

func (f *files) mustStand(t *testing.T, at *territory, all ...stand) unix.Stat_t {
	t.Helper()
	st, errno := f.standIn(at, all)
	if errno != 0 {
		t.Fatalf("%v: %v", all, errno)
	}
	return st
}

// More than there may be: the oldest make room, but not those that are used.
func TestStandInsMakeRoom(t *testing.T) {
	f, at := standIns(t)
	first := f.mustStand(t, at, stand{path: "kept/deep"})
	for i := range maximumStandIns + 2*fewStandIns {
		f.mustStand(t, at, stand{path: strconv.Itoa(i)})
		if i%fewStandIns == 0 {
			f.mustStand(t, at, stand{path: "kept/deep"})
		}
	}
	if again := f.mustStand(t, at, stand{path: "kept/deep"}); again.Ino != first.Ino {
		t.Error("one that is used again and again was removed")
	}
	entries, err := os.ReadDir(at.standIn)
	if err != nil || len(entries) > maximumStandIns || len(entries) < maximumStandIns-fewStandIns-2 {
		t.Errorf("%d stand, %v", len(entries), err)
	}
	if len(f.lastUse) > maximumStandIns+1 || f.standIns > maximumStandIns {
		t.Errorf("it remembers %d, and counts %d", len(f.lastUse), f.standIns)
	}
}

// A link among the stand-ins leads the compartment, and never the monitor.
func TestStandInsFollowNoLink(t *testing.T) {
	f, at := standIns(t)
	outside := t.TempDir()
	f.mustStand(t, at, stand{path: "a"}, stand{path: "link", link: outside})
	if _, errno := f.standIn(at, []stand{{path: "link/made"}}); errno == 0 {
		if entries, _ := os.ReadDir(outside); len(entries) > 0 {
			t.Errorf("it made %s outside", entries[0].Name())
		}
	}
	f.goneStandIn(&spot{at, "link/made"})
	f.movedStandIn(&spot{at, "a"}, &spot{at, "link/a"})
	if entries, _ := os.ReadDir(outside); len(entries) > 0 {
		t.Errorf("it made %s outside", entries[0].Name())
	}
}

func TestStandInsMove(t *testing.T) {
	f, at := standIns(t)
	f.mustStand(t, at, stand{path: "a/b/c"})
	f.mustStand(t, at, stand{path: "z/y"})
	f.movedStandIn(&spot{at, "a/b"}, &spot{at, "z/y"})
	if _, err := os.Stat(filepath.Join(at.standIn, "z/y/c")); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(at.standIn, "a/b")); !os.IsNotExist(err) {
		t.Errorf("the old one: %v", err)
	}
	f.goneStandIn(&spot{at, "z"})
	if _, err := os.Stat(filepath.Join(at.standIn, "z")); !os.IsNotExist(err) {
		t.Errorf("the removed one: %v", err)
	}
	if _, errno := f.standIn(at, []stand{{path: deep(maximumDepth + 1)}}); errno != unix.ENAMETOOLONG {
		t.Errorf("too deep: %v", errno)
	}
}

func deep(levels int) (name string) {
	for range levels {
		name = filepath.Join(name, "d")
	}
	return name
}
