package life

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"bulkhead/test/transcript"

	"golang.org/x/sys/unix"
)

// Journald is Debian's systemd-journald in a mount namespace of its own, where
// its sockets and its journal are nobody else's.
type Journald struct {
	t      *testing.T
	holder *exec.Cmd // of the namespace
	daemon *exec.Cmd
}

const journaldProgram = "/lib/systemd/systemd-journald"

// NewJournald makes the namespace, without journald in it, for all that a runs.
func NewJournald(t *testing.T, a *Application) *Journald {
	t.Helper()
	if _, err := os.Stat(journaldProgram); err != nil {
		t.Fatalf("needs the package systemd: %v", err)
	}
	j := &Journald{t: t, holder: exec.Command("unshare", "--mount", "sh", "-c", `set -e
mkdir -p /run/systemd /run/log
mount -t tmpfs journald /run/systemd
mount -t tmpfs journald /run/log
mkdir -p /run/log/journal /run/systemd/journald.conf.d
printf '[Journal]\nStorage=volatile\nReadKMsg=no\nAudit=no\nRateLimitBurst=0\nSyncIntervalSec=1\n' >/run/systemd/journald.conf.d/test.conf
echo made
exec cat`)}
	end, err := j.holder.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	said := &transcript.Transcript{}
	j.holder.Stdout, j.holder.Stderr = said, said
	if err := j.holder.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { end.Close(); j.holder.Wait() })
	a.Until("the namespace of journald", func() bool { return said.String() == "made\n" })
	a.within = j.inside()
	return j
}

func (j *Journald) inside() []string {
	// It changes the directory to the namespace's root.
	here, err := os.Getwd()
	if err != nil {
		j.t.Fatal(err)
	}
	return []string{"nsenter", "--mount=/proc/" + strconv.Itoa(j.holder.Process.Pid) + "/ns/mnt", "--wdns=" + here}
}

// Start starts journald.
func (j *Journald) Start(a *Application) {
	j.t.Helper()
	j.daemon = exec.Command(j.inside()[0], append(j.inside()[1:], journaldProgram)...)
	if err := j.daemon.Start(); err != nil {
		j.t.Fatal(err)
	}
	daemon := j.daemon
	j.t.Cleanup(func() { daemon.Process.Kill(); daemon.Wait() })
	a.Until("journald listens", func() bool {
		// The socket of one before is there still, so its name says nothing.
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return false
		}
		defer unix.Close(fd)
		root := "/proc/" + strconv.Itoa(j.holder.Process.Pid) + "/root"
		return unix.Connect(fd, &unix.SockaddrUnix{Name: root + "/run/systemd/journal/socket"}) == nil
	})
}

// Signal signals journald.
func (j *Journald) Signal(s unix.Signal) { j.daemon.Process.Signal(s) }

// Kill ends journald at once.
func (j *Journald) Kill() {
	j.Signal(unix.SIGKILL)
	j.daemon.Wait()
}

// Entries are what journalctl says of an application's component.
func (j *Journald) Entries(application, component string) []map[string]any {
	b, _ := exec.Command(j.inside()[0], append(j.inside()[1:], "journalctl", "--quiet", "--all", "--output=json", "--output-fields=MESSAGE,PRIORITY,SYSLOG_IDENTIFIER,BULKHEAD_STREAM,BULKHEAD_CUT",
		"BULKHEAD_APPLICATION="+application, "BULKHEAD_COMPONENT="+component)...).Output()
	var all []map[string]any
	for line := range strings.Lines(string(b)) {
		var entry map[string]any
		if err := json.Unmarshal([]byte(line), &entry); err != nil {
			j.t.Fatalf("journalctl says %q: %v", line, err)
		}
		all = append(all, entry)
	}
	return all
}

// TestJournald: lines of components are entries of the real journald, with
// their fields. While it is stopped those who write wait and nobody else does;
// after its death and a new one nothing is missing that came later, in order.
func TestJournald(t *testing.T) {
	a := New(t, "journald")
	j := NewJournald(t, a)
	j.Start(a)
	a.Run(`application: {{NAME}}
logs: journald
components:
  web: { {{SH}} "echo plain; echo '<3>bad' >&2; printf '%09000d\\n' 7; printf 'tail'; exec sleep 1000"] }
  crash: { restart: never, {{SH}} "printf crashing; kill -SEGV $$"] }
  much: { {{SH}} "while [ ! -e {{DIR}}/go ]; do sleep 0.1; done; i=0; while [ $i -lt 20000 ]; do echo line $i; i=$((i+1)); done; echo written >{{DIR}}/written; exec sleep 1000"] }
  beside: { logs: terminal, {{SH}} "i=0; while :; do echo beside $i; i=$((i+1)); sleep 0.2; done"] }
  slow: { {{SH}} "i=0; while :; do i=$((i+1)); echo slow $i; sleep 0.02; done"] }
`)
	a.Expect("up after")
	entries := func(component string) []map[string]any { return j.Entries(a.Name, component) }
	a.Until("the entries of web", func() bool { return len(entries("web")) == 4 })
	var web []map[string]any
	for _, stream := range []string{"stdout", "stderr"} { // two pipes have no common order
		for _, e := range entries("web") {
			if e["BULKHEAD_STREAM"] == stream {
				web = append(web, e)
			}
		}
	}
	for i, want := range []map[string]any{
		{"MESSAGE": "plain", "PRIORITY": "6", "BULKHEAD_STREAM": "stdout"},
		{"MESSAGE": strings.Repeat("0", 8192), "PRIORITY": "6", "BULKHEAD_CUT": "1"},
		{"MESSAGE": strings.Repeat("0", 9000-8192-1) + "7", "PRIORITY": "6"},
		{"MESSAGE": "bad", "PRIORITY": "3", "BULKHEAD_STREAM": "stderr"},
	} {
		want["SYSLOG_IDENTIFIER"] = a.Name + "/web"
		for field, value := range want {
			if web[i][field] != value {
				t.Errorf("entry %d has %.100v as %s, not %.100v", i, web[i][field], field, value)
			}
		}
	}
	a.Until("the last word of the crash", func() bool {
		all := entries("crash")
		return len(all) == 1 && all[0]["MESSAGE"] == "crashing"
	})

	j.Signal(unix.SIGSTOP)
	a.File("go", "")
	a.Until("the status says who waits", func() bool {
		return strings.Contains(a.Sandbox("status", a.Name), "log journald:much: cannot be written")
	})
	said := strings.Count(a.Said.String(), "beside")
	a.Until("another component writes", func() bool { return strings.Count(a.Said.String(), "beside") > said+2 })
	if a.Read("written") != "" {
		t.Error("20,000 lines were written while journald was stopped")
	}
	j.Signal(unix.SIGCONT)
	a.Until("all is written", func() bool { return a.Read("written") != "" })
	a.Until("all is in the journal", func() bool { return len(entries("much")) >= 20000 })
	for n, e := range entries("much") {
		if e["MESSAGE"] != fmt.Sprintf("line %d", n) {
			t.Fatalf("line %d is %v", n, e["MESSAGE"])
		}
	}
	a.Until("it is said that it goes on", func() bool { return strings.Contains(a.Said.String(), "log journald:much: is written again after") })

	j.Kill()
	a.Expect("log journald:slow: connection refused; its component waits")
	j.Start(a)
	before := len(entries("slow"))
	a.Until("entries of the new journald", func() bool { return len(entries("slow")) > before+100 })
	last, gaps := 0, 0
	for _, e := range entries("slow") {
		n := 0
		fmt.Sscanf(fmt.Sprint(e["MESSAGE"]), "slow %d", &n)
		if n <= last {
			t.Fatalf("slow %d comes after slow %d", n, last)
		}
		if n != last+1 {
			gaps++ // what the dead one had not read: one queue's worth at one place
		}
		last = n
	}
	if gaps > 1 {
		t.Errorf("lines are missing at %d places", gaps)
	}

	a.Signal(unix.SIGTERM)
	a.Wait()
	a.Until("the last word of web", func() bool {
		all := entries("web")
		return len(all) > 0 && all[len(all)-1]["MESSAGE"] == "tail"
	})
}

// TestNoJournald: without journald the start stops and says what to do.
func TestNoJournald(t *testing.T) {
	a := New(t, "nojournald")
	NewJournald(t, a)
	a.Run(`application: {{NAME}}
logs: journald
components: { one: { {{SH}} "echo ran >{{DIR}}/ran"] } }
`)
	if status := a.Wait(); status != 125 {
		t.Errorf("it ends with %d", status)
	}
	a.Expect("policy.yaml:2:7: connect to journald at /run/systemd/journal/socket: no such file or directory (start systemd-journald, or write logs: {file: PATH})")
	if a.Read("ran") != "" {
		t.Error("a component ran")
	}
}
