package learn_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"bulkhead/policy/hosttest"
	"bulkhead/policy/learn"
)

// host is a small Debian with what the records speak of.
func host() *hosttest.Host {
	h := hosttest.New()
	for _, name := range []string{"/srv/data/a", "/srv/data/b", "/srv/data/c", "/srv/data/sub/d", "/var/log/app/app.log", "/var/log/app/app.log.1",
		"/srv/logs/log-2026-01-01", "/srv/logs/log-2026-01-02", "/etc/app.conf", "/var/log/single.log", "/srv/state/db"} {
		h.File(name, 0o644, "")
	}
	h.File("/etc/secret", 0o600, "")
	h.Link("/etc/app-link.conf", "app.conf")
	return h
}

// run is a record of one run of a program of the host's.
func run(program string) (*learn.Record, *learn.Program) {
	r := learn.NewRecord()
	r.Runs = []learn.Run{{Command: []string{program}, Directory: "/", Ended: "exit status 0"}}
	return r, r.Program(program)
}

func draft(t *testing.T, r *learn.Record) string {
	t.Helper()
	text, err := learn.Draft(r, learn.Options{Host: host()})
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func wants(t *testing.T, text string, lines ...string) {
	t.Helper()
	for _, line := range lines {
		if !strings.Contains(text, line) {
			t.Errorf("there is no %q in\n%s", line, text)
		}
	}
}

func lacks(t *testing.T, text string, lines ...string) {
	t.Helper()
	for _, line := range lines {
		if strings.Contains(text, line) {
			t.Errorf("there is %q in\n%s", line, text)
		}
	}
}

func TestOneFileIsNamedAndManyAreTheirDirectory(t *testing.T) {
	r, p := run("/usr/bin/djpeg")
	p.Use("/srv/data/a", learn.Read, learn.File, false)
	wants(t, draft(t, r), "- /srv/data/a ", "seen once")
	p.Use("/srv/data/b", learn.Read, learn.File, false)
	wants(t, draft(t, r), "- /srv/data/a ", "- /srv/data/b ")
	p.Use("/srv/data/c", learn.Read, learn.File, false)
	text := draft(t, r)
	wants(t, text, "- /srv/data ", "3 paths in it, seen 3 times")
	lacks(t, text, "/srv/data/a")
}

func TestNumberedNamesAreTheirDirectory(t *testing.T) {
	r, p := run("/usr/bin/djpeg")
	p.Use("/srv/logs/log-2026-01-01", learn.Read, learn.File, false)
	p.Use("/srv/logs/log-2026-01-02", learn.Read, learn.File, false)
	wants(t, draft(t, r), "- /srv/logs ")
}

func TestWideDirectoriesAreNeverNamed(t *testing.T) {
	r, p := run("/usr/bin/djpeg")
	for _, name := range []string{"/etc/app.conf", "/etc/app-link.conf", "/etc/passwd", "/etc/hosts"} {
		p.Use(name, learn.Read, learn.File, false)
	}
	p.Use("/etc", learn.List, learn.Directory, false)
	text := draft(t, r)
	wants(t, text, "- /etc/app.conf", "it lists /etc, which is left out")
	lacks(t, text, "- /etc ", "/etc/passwd", "/etc/hosts") // every component has those
}

func TestTemporaryNames(t *testing.T) {
	r, p := run("/usr/bin/djpeg")
	p.Use("/tmp/a.Xy12Zw", learn.Create, learn.File, true)
	p.Use("/tmp/a.Xy12Zw", learn.Remove, learn.File, true)
	p.Use("/tmp/dir.12/deep", learn.Create, learn.File, true)
	text := draft(t, r)
	wants(t, text, "temporary:", "- /tmp ")
	lacks(t, text, "Xy12Zw", "dir.12", "user: root")
}

func TestRotatedLogsNeedTheirDirectory(t *testing.T) {
	r, p := run("/usr/bin/djpeg")
	p.Use("/var/log/app/app.log", learn.Remove, learn.File, false)
	p.Use("/var/log/app/app.log.1", learn.Create, learn.File, false)
	p.Use("/var/log/single.log", learn.Write, learn.File, false)
	text := draft(t, r)
	wants(t, text, "- /var/log/app ", "- /var/log/single.log ")
	lacks(t, text, "app.log.1", "- /var/log ")
}

func TestPidsAreItsOwnProcesses(t *testing.T) {
	r, p := run("/usr/bin/djpeg")
	p.Use("/proc/4711/stat", learn.Read, learn.File, false)
	p.Use("/proc/self/maps", learn.Read, learn.File, false)
	lacks(t, draft(t, r), "proc:", "4711")
	p.Use("/proc/meminfo", learn.Read, learn.File, false)
	wants(t, draft(t, r), "proc: full", "/proc/meminfo seen once")
}

func TestWhoItRunsAs(t *testing.T) {
	r, p := run("/usr/bin/djpeg")
	p.Use("/srv/data/a", learn.Read, learn.File, false)
	lacks(t, draft(t, r), "    user:")
	p.Use("/etc/secret", learn.Read, learn.File, false)
	wants(t, draft(t, r), "user: root", "reading /etc/secret")
	p.Arguments["setuid 33"] = 1
	wants(t, draft(t, r), "user: www-data", "whom it changes to")
}

func TestCallsAreGroupedWhereTheyBelongTogether(t *testing.T) {
	r, p := run("/usr/bin/djpeg")
	for _, call := range []string{"read", "clone3", "shmget", "shmat", "setpriority", "ptrace"} {
		p.Calls[call] = 3
	}
	p.Calls["ioctl"], p.Arguments["ioctl 0x8912"], p.Arguments["ioctl 0x5402"] = 2, 1, 1
	p.Calls["fcntl"], p.Arguments["fcntl 1024"] = 2, 1
	text := draft(t, r)
	wants(t, text, `"@ipc"`, "shmget, shmat, seen 6 times", "- setpriority", "- ptrace", "{call: ioctl, argument: 1, equal: 0x8912}", `"@terminal"`,
		"{call: fcntl, argument: 1, equal: 0x400}")
	lacks(t, text, "clone3", "- read", "@debug", "- fcntl")
}

func TestNetlinkThatLibcAsksIsLeftOut(t *testing.T) {
	r, p := run("/usr/bin/redis-server")
	p.Calls["socket"] = 2
	p.Sockets["connect tcp:192.0.2.1:80"] = 1
	p.Arguments["socket 16 0x80003 0"] = 1
	p.Arguments["netlink 22"] = 1
	lacks(t, draft(t, r), "netlink")
	p.Arguments["netlink 18"] = 1
	wants(t, draft(t, r), `"@netlink-route"`)
}

func TestRecordsOfTwoProgramsAreNotMixed(t *testing.T) {
	r, _ := run("/usr/bin/djpeg")
	other, _ := run("/usr/bin/redis-server")
	r.Add(other)
	if _, err := learn.Draft(r, learn.Options{Host: host()}); err == nil || !strings.Contains(err.Error(), "a record for each program") {
		t.Errorf("%v", err)
	}
}

func TestRecordsAddUp(t *testing.T) {
	r, p := run("/usr/bin/djpeg")
	p.Use("/srv/data/a", learn.Read, learn.File, false)
	p.Peak = learn.Peak{Tasks: 2, Memory: 10}
	other, q := run("/usr/bin/djpeg")
	q.Use("/srv/data/a", learn.Read, learn.File, false)
	q.Use("/srv/data/b", learn.Look, learn.File, false)
	q.Peak = learn.Peak{Tasks: 1, Memory: 20}
	q.Calls["read"] = 5
	r.Add(other)
	text, err := r.Text()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "record")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	back, err := learn.ReadRecord(file)
	if err != nil {
		t.Fatal(err)
	}
	sum := back.Program("/usr/bin/djpeg")
	if len(back.Runs) != 2 || sum.Paths["/srv/data/a"].Uses[learn.Read] != 2 || sum.Paths["/srv/data/b"].Uses[learn.Look] != 1 ||
		sum.Calls["read"] != 5 || sum.Peak.Tasks != 2 || sum.Peak.Memory != 20 {
		t.Errorf("%s", text)
	}
}

func TestWhatIsNoRecord(t *testing.T) {
	for _, text := range []string{"", "{}", `{"version": 9}`, `{"version": 1, "runs": 3}`} {
		file := filepath.Join(t.TempDir(), "record")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := learn.ReadRecord(file); err == nil {
			t.Errorf("%q is taken for a record", text)
		}
	}
	if _, err := learn.Draft(learn.NewRecord(), learn.Options{Host: host()}); err == nil {
		t.Error("an empty record makes a policy")
	}
}
