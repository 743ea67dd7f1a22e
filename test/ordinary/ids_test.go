package ordinary

import (
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"bulkhead/sandbox/cgroup"
)

// needsIDs skips a test of subordinate ids where the user has none.
func (u *User) needsIDs() {
	u.t.Helper()
	if err := u.ids(); err != nil {
		u.t.Skipf("no component can have an id of its own here: %v: the virtual machine's user has some (make test-vm)", err)
	}
}

// lines are what a component said.
func (a *Application) lines(component string) string {
	var said strings.Builder
	for line := range strings.Lines(a.Said()) {
		if who, text, found := strings.Cut(line, "|"); found && strings.Contains(who, component) {
			said.WriteString(strings.TrimLeft(text, " "))
		}
	}
	return said.String()
}

// Components with ids of their own, one that needs the user's, one that stands for another user and one
// that becomes it: what they are inside and outside, what they can write, and that nothing is left.
func TestSubordinateIDs(t *testing.T) {
	needsGroup(t)
	u := New(t)
	u.needsIDs()
	u.mkdir("data")
	u.mkdir("open")
	if err := os.Chmod(u.Dir+"/open", 0o777); err != nil {
		t.Fatal(err)
	}
	u.File("private", "for the user only\n")
	if err := os.Chmod(u.Dir+"/private", 0o600); err != nil {
		t.Fatal(err)
	}
	// One pipe, so that what is said stays in its order.
	const look = "exec 2>&1; id; cat /proc/self/uid_map /proc/self/gid_map | tr -s ' '; grep Groups: /proc/self/status; "
	a := u.Start(strings.ReplaceAll(strings.ReplaceAll(`
application: a
grants: {private: {file: "{{DIR}}/private"}}
components:
  one:
    command: [BUSYBOX, sh, -c, "LOOK cat <&3; echo x > {{DIR}}/open/one; echo up; exec sleep 1000"]
    files: {execute: [BUSYBOX], write: ["{{DIR}}/open"]}
    grants: [{private: {number: 3}}]
    limits: {processes: 8}
  two:
    command: [BUSYBOX, sh, -c, "LOOK until test -e {{DIR}}/open/one; do sleep 1; done; echo y >> {{DIR}}/open/one || echo refused; exec sleep 1000"]
    files: {execute: [BUSYBOX], write: ["{{DIR}}/open"]}
    limits: {processes: 8}
  mine:
    command: [BUSYBOX, sh, -c, "LOOK echo mine > {{DIR}}/data/file; cat {{DIR}}/private; exec sleep 1000"]
    files: {execute: [BUSYBOX], write: ["{{DIR}}/data"], read: ["{{DIR}}/private"]}
    limits: {processes: 8}
  stands-in:
    command: [BUSYBOX, sh, -c, "LOOK exec sleep 1000"]
    files: {execute: [BUSYBOX]}
    limits: {processes: 8}
    user: daemon
    groups: [www-data]
  becomes:
    command: [/usr/bin/python3, -c, "import os; os.setgroups([]); os.setgid(1); os.setuid(1); print('became', os.getresuid(), os.getresgid(), flush=True); os.execv('BUSYBOX', ['busybox', 'sleep', '1000'])"]
    extends: python
    files: {execute: [BUSYBOX]}
    become: [daemon]
`, "LOOK", look), "BUSYBOX", busybox(t)))
	a.Expect("up after", "for the user only\n", "refused", "became (1, 1, 1) (1, 1, 1)")
	var ids []string
	for component, want := range map[string]string{
		"one":       `^uid=1000\(worker\) gid=1000\(worker\).*\n0 UID 1\n1000 (1\d{5}) 1\n0 GID 1\n1000 (1\d{5}) 1\nGroups:\s*\nfor the user only\n`,
		"two":       `^uid=1000\(worker\) gid=1000\(worker\).*\n0 UID 1\n1000 (1\d{5}) 1\n0 GID 1\n1000 (1\d{5}) 1\nGroups:\s*\n(?s:.*)refused\n`,
		"mine":      `^uid=0\(root\) gid=0\(root\).*\n0 UID 1\n0 GID 1\nGroups:.*\nfor the user only\n`,
		"stands-in": `^uid=1\(daemon\) gid=1\(daemon\).*\n0 UID 1\n1 (1\d{5}) 1\n0 GID 1\n1 (1\d{5}) 1\n33 (1\d{5}) 1\nGroups:\s*33\s*\n`,
	} {
		want = strings.NewReplacer("UID", strconv.Itoa(int(u.UID)), "GID", strconv.Itoa(int(u.GID))).Replace(want)
		pattern := regexp.MustCompile(want)
		await(t, component+" says "+want, func() bool { return pattern.MatchString(a.lines(component)) })
		if found := pattern.FindStringSubmatch(a.lines(component)); len(found) > 1 {
			ids = append(ids, found[1])
		}
	}
	if len(ids) != 3 || ids[0] == ids[1] || ids[1] == ids[2] || ids[0] == ids[2] {
		t.Errorf("the ids of three components: %v", ids)
	}
	var st unix.Stat_t
	if err := unix.Stat(u.Dir+"/data/file", &st); err != nil || st.Uid != u.UID {
		t.Errorf("what the user's component wrote is %d's, %v", st.Uid, err)
	}
	if err := unix.Stat(u.Dir+"/open/one", &st); err != nil || st.Uid == u.UID || st.Uid < 100000 || st.Size != 2 {
		t.Errorf("what a component with an id of its own wrote is %d's and %d bytes, %v", st.Uid, st.Size, err)
	}
	if status, said := u.Run("inspect", "--verify", a.Name); status != 1 || strings.Count(said, "\n") != 1 || !strings.HasPrefix(said, "a: not seen: the monitor, process ") {
		t.Errorf("inspect ends with status %d and says:\n%s", status, said)
	}
	for component, want := range map[string]string{
		"one": "of the host, who owns nothing there", "mine": "who starts the application: the permission bits of ",
	} {
		if said := a.ask("inspect", "--blast-radius", component, a.Name); !strings.Contains(said, want) {
			t.Errorf("the blast radius of %s does not say %q:\n%s", component, want, said)
		}
	}
	if said := a.ask("inspect", a.Name, "mine"); !strings.Contains(said, "the user who starts it: the permission bits of ") {
		t.Errorf("inspect does not say why it is the user:\n%s", said)
	}
	a.killInit("two")
	await(t, "the compartment of two was built again", func() bool { return strings.Count(a.lines("two"), "uid=1000(worker)") == 2 })
}

// killInit kills the init of a component's compartment, which the user may.
func (a *Application) killInit(component string) {
	a.t.Helper()
	h, err := cgroup.Find()
	if err != nil {
		a.t.Fatal(err)
	}
	base, err := h.Base()
	if err != nil {
		a.t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(h.V2()+cgroup.Application(base, a.Name), component, "init/cgroup.procs"))
	if err != nil {
		a.t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		a.t.Fatal(err)
	}
	if err := unix.Kill(pid, unix.SIGKILL); err != nil {
		a.t.Error(err)
	}
}

// Where newuidmap gets no rights, components are the user, and one that would have to be somebody else
// does not start.
func TestWithoutSubordinateIDs(t *testing.T) {
	needsGroup(t)
	u := New(t)
	u.needsIDs()
	policy := u.File("policy.yaml", strings.ReplaceAll("application: a\ncomponents:\n  web: {command: [BUSYBOX, id], restart: never}\n", "BUSYBOX", busybox(t)))
	if status, said := u.Without("run", policy); status != 0 || !strings.Contains(said, "| uid=0(root) gid=0(root)") {
		t.Errorf("status %d:\n%s", status, said)
	}
	u.nothingLeft("a")
}
