package e2e

import (
	"io"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// hostileSite makes a directory to grant, with a secret beside it.
func hostileSite(t *testing.T, a *Application) (store string) {
	t.Helper()
	a.File("secret", "secret")
	store = a.Dir + "/store"
	if err := os.MkdirAll(store+"/sub", 0o777); err != nil {
		t.Fatal(err)
	}
	a.File("store/file", "fine")
	if err := os.Symlink("..", store+"/way"); err != nil {
		t.Fatal(err)
	}
	if err := unix.Chmod(store, 0o777); err != nil {
		t.Fatal(err)
	}
	return store
}

// expectUntouched says whether all beside the granted directory is as it was.
func expectUntouched(t *testing.T, a *Application) {
	t.Helper()
	expectFile(t, a.Dir+"/secret", "secret")
	st, err := os.Stat(a.Dir + "/secret")
	if err != nil || st.Mode().Perm()&0o022 != 0 || ownerOf(st) != 0 {
		t.Errorf("the secret is %v now, %v", st, err)
	}
	entries, err := os.ReadDir(a.Dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if name := e.Name(); name != "secret" && name != "store" && !strings.HasSuffix(name, ".yaml") {
			t.Errorf("%s is new", name)
		}
	}
}

// A second thread rewrites the path and the number of the directory while the
// call is stopped: what the monitor acts on is its own copy, and what goes on in
// the kernel is behind the compartment's walls.
func TestPathsThatChange(t *testing.T) {
	a := New(t, "path-race")
	hostileSite(t, a)
	a.Write(`
application: {{NAME}}
grants:
  store: {directory: "{{DIR}}/store", access: read-write}
components:
  villain:
    command: [{{PROGRAM}}, hostile, path-race, "{{DIR}}/store", "{{DIR}}/secret", 2s, "fine,ENOENT"]
    grants: [store]
    transparent: true
    restart: never
  calm: {command: [{{BUSYBOX}}, sleep, "1000"]}
`).Run()
	expectLostRace(t, a, "fine", "ENOENT")
	expectUntouched(t, a)
	a.Stop()
}

// Symbolic links that are swapped under the monitor lead nowhere but into the
// granted directory.
func TestLinksThatChange(t *testing.T) {
	a := New(t, "link-race")
	hostileSite(t, a)
	a.Write(`
application: {{NAME}}
grants:
  store: {directory: "{{DIR}}/store", access: read-write}
components:
  swapper: {command: [{{PROGRAM}}, hostile, swap, "{{DIR}}/store", "{{DIR}}/secret"], files: {write: ["{{DIR}}/store"]}}
  villain:
    command: [{{PROGRAM}}, hostile, link-race, "{{DIR}}/store", 2s, "fine,EACCES"]
    grants: [store]
    transparent: true
    restart: never
    after: swapper
`).Run()
	expectLostRace(t, a, "fine", "EACCES")
	expectUntouched(t, a)
	a.Stop()
}

// What only looks like a path beneath a grant.
func TestBeyondFiles(t *testing.T) {
	a := New(t, "beyond")
	hostileSite(t, a)
	a.Write(`
application: {{NAME}}
grants:
  store: {directory: "{{DIR}}/store", access: read-write}
  door:  {connect: "unix:{{DIR}}/secret"}
components:
  villain:
    command: [{{PROGRAM}}, hostile, beyond, "{{DIR}}/store"]
    grants: [store, door]
    transparent: true
    restart: never
`).Run()
	a.ExpectStatus(0)
	lines := a.Lines("villain")
	if len(lines) != 14 {
		t.Errorf("it wrote %q", lines)
	}
	for _, line := range lines {
		if strings.HasSuffix(line, ": ok") {
			t.Error(line)
		}
	}
	expectUntouched(t, a)
}

// What was opened for appending stays so when its directory is made again: the
// monitor has another root then, and the old files came through mounts that are
// nowhere any more.
func TestAppendOnlyOfFormerRoots(t *testing.T) {
	a := New(t, "append-kept").Write(`
application: {{NAME}}
grants:
  log: {file: "{{DIR}}/log/file", access: append}
components:
  villain:
    command: [{{PROGRAM}}, hostile, kept, "2"]
    grants: [log: {at-start: false}]
    files: {temporary: [/tmp]}
    restart: never
  calm: {command: [{{BUSYBOX}}, sleep, "1000"]}
`)
	file := a.File("log/file", "first")
	a.Run()
	var old []*os.File // keeps the inodes, or a new file may have an old one's number
	for _, next := range []string{"second", "third"} {
		a.Expect(a.Out, "its own beside "+itoa(len(old)+1))
		kept, err := os.Open(file)
		if err != nil {
			t.Fatal(err)
		}
		defer kept.Close()
		old = append(old, kept)
		if err := os.RemoveAll(a.Dir + "/log"); err != nil {
			t.Fatal(err)
		}
		a.File("next/file", next)
		if err := os.Rename(a.Dir+"/next", a.Dir+"/log"); err != nil {
			t.Fatal(err)
		}
	}
	a.Expect(a.Out, "its own beside 3")
	const refused, own = ": truncate EPERM, allocate EPERM, clear O_APPEND EPERM, write ok", ": truncate ok, set O_APPEND ok"
	expectLines(t, a.Lines("villain"),
		"1 of 1"+refused, "its own beside 1"+own,
		"1 of 2"+refused, "2 of 2"+refused, "its own beside 2"+own,
		"1 of 3"+refused, "2 of 3"+refused, "3 of 3"+refused, "its own beside 3"+own,
	)
	expectFile(t, file, "third.")
	for i, want := range []string{"first...", "second.."} {
		if text, err := io.ReadAll(old[i]); err != nil || string(text) != want {
			t.Errorf("the file of before is %.100q, %v, want %q", text, err, want)
		}
	}
	a.Stop()
}

// No file beneath a grant becomes a program that lends the component's user to
// the host's, whether the component opens it or asks for it.
func TestNothingLendsItsUser(t *testing.T) {
	for name, villain := range map[string]string{
		"transparent": `hostile, lend, "{{DIR}}/store/mine"], transparent: true, files: {temporary: [/tmp]}`,
		"on request":  `hostile, lend]`,
	} {
		t.Run(name, func(t *testing.T) {
			a := New(t, "lend")
			if err := os.Chown(hostileSite(t, a), 1000, 1000); err != nil {
				t.Fatal(err)
			}
			a.Write(`
application: {{NAME}}
grants:
  store: {directory: "{{DIR}}/store", access: read-write}
components:
  villain: {user: 1000, command: [{{PROGRAM}}, ` + villain + `, syscalls: ["@file-system"], grants: [store], restart: never}
`).Run()
			a.ExpectStatus(0)
			want := []string{"an honest mode: ok", "fchmod: EPERM", "fchmod of the group: EPERM", "chmod: EPERM", "fchmodat2: EPERM"}
			if name == "transparent" {
				want = append(want, "chmod of its own: ok", "chmod of its own that may be another: EPERM")
			}
			expectLines(t, a.Lines("villain"), want...)
			if strings.Contains(a.Err.String(), "syscalls: [") {
				t.Error("a policy line is named that would not allow it")
			}
			if st, err := os.Stat(a.Dir + "/store/mine"); err != nil || st.Mode() != 0o755 {
				t.Errorf("the file is there with %v (%v)", st.Mode(), err)
			}
		})
	}
}
