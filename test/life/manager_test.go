package life

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestNotifiesManager: systemd hears that the application is up when it is, and
// that it stops, and s6 gets its newline.
func TestNotifiesManager(t *testing.T) {
	a := New(t, "notify")
	path := filepath.Join(a.Dir, "manager")
	manager, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer manager.Close()
	hear := func() string {
		b := make([]byte, 512)
		manager.SetReadDeadline(time.Now().Add(Patience))
		n, err := manager.Read(b)
		if err != nil {
			t.Fatal(err)
		}
		return string(b[:n])
	}
	ready, other, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer ready.Close()
	started := time.Now()
	a.StartWith([]*os.File{other}, []string{"NOTIFY_SOCKET=" + path}, "run", "--ready-fd", "3", a.Policy(`application: {{NAME}}
components:
  slow: { ready: {fd: 3}, {{SH}} "sleep 0.5; echo >&3; exec sleep 1000"] }
`))
	other.Close()
	if text := hear(); !strings.HasPrefix(text, "READY=1\n") || time.Since(started) < 400*time.Millisecond {
		t.Errorf("after %v the manager hears %q", time.Since(started), text)
	}
	b := make([]byte, 10)
	if n, err := ready.Read(b); string(b[:n]) != "\n" {
		t.Errorf("the descriptor says %q, %v", b[:n], err)
	}
	a.Signal(unix.SIGTERM)
	if text := hear(); !strings.HasPrefix(text, "STOPPING=1\n") {
		t.Errorf("the manager hears %q", text)
	}
}

// TestSocketsOfManager: the manager's socket outlives the application; a client
// that connects while nothing runs is served by the next run.
func TestSocketsOfManager(t *testing.T) {
	a := New(t, "sockets")
	a.File("echoes.py", echoes)
	path := filepath.Join(a.Dir, "door")
	listener, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	file, err := listener.(*net.UnixListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	policy := a.Policy(strings.NewReplacer("ADDRESS", "unix:"+path, "    idle: IDLE\n", "", "start: on-demand", "start: with-application").Replace(onDemand))
	run := func() {
		a.StartWith([]*os.File{file}, []string{"LISTEN_FDS=1", "LISTEN_FDNAMES=door"}, "run", policy)
	}
	run()
	if answer := speak(t, "unix", path, "one\n"); answer != "start 1\none\n" {
		t.Errorf("the answer is %q", answer)
	}
	a.Signal(unix.SIGTERM)
	a.Wait()
	if _, err := os.Stat(path); err != nil {
		t.Errorf("the manager's socket is gone: %v", err)
	}
	answered := make(chan string)
	go func() { answered <- speak(t, "unix", path, "two\n") }()
	time.Sleep(100 * time.Millisecond)
	run()
	if answer := <-answered; answer != "start 2\ntwo\n" {
		t.Errorf("the answer is %q", answer)
	}
	a.Signal(unix.SIGTERM)
	a.Wait()

	// One of another kind is refused, with the line of the grant.
	file2, err := os.Open("/dev/null")
	if err != nil {
		t.Fatal(err)
	}
	defer file2.Close()
	a.StartWith([]*os.File{file2}, []string{"LISTEN_FDS=1", "LISTEN_FDNAMES=door"}, "run", policy)
	if status := a.Wait(); status != 125 || !strings.Contains(a.Said.String(), "is of another kind") {
		t.Errorf("status %d", status)
	}
}

// TestInstall: systemd finds nothing wrong with the units, they are replaced
// and nobody else's are.
func TestInstall(t *testing.T) {
	a := New(t, "install")
	policy := a.Policy(fmt.Sprintf(`application: {{NAME}}
grants:
  http: {listen: "tcp:127.0.0.1:%d"}
  door: {listen: "unix:{{DIR}}/door"}
  abstract: {listen: "unix:@{{NAME}}"}
  dns: {listen: "udp:[::1]:5353"}
components:
  web: { stop-timeout: 30s, grants: [http, door, abstract, dns], {{SH}} "exec sleep 1000"] }
  next: { stop-timeout: 5s, after: web, {{SH}} "exec sleep 1000"] }
`, 8099))
	install := func() string { return a.Sandbox("install", "--sockets", "--directory", a.Dir, policy) }
	if text := install(); strings.Count(text, "wrote ") != 5 || !strings.Contains(text, "systemctl enable --now sandbox-"+a.Name+"-abstract.socket") {
		t.Errorf("install says\n%s", text)
	}
	if text := install(); strings.Count(text, "is as it should be") != 5 {
		t.Errorf("a second install says\n%s", text)
	}
	service := a.Read("sandbox-" + a.Name + ".service")
	for _, line := range []string{"Type=notify\n", "Delegate=yes\n", "KillMode=mixed\n", "ExecReload=", "TimeoutStopSec=67\n", "Sockets=sandbox-" + a.Name + "-door.socket\n"} {
		if !strings.Contains(service, line) {
			t.Errorf("no %q in\n%s", line, service)
		}
	}
	a.File("sandbox-"+a.Name+".service", "[Unit]\nDescription=another's\n")
	if text := install(); !strings.Contains(text, "was not made by sandbox install") {
		t.Errorf("over another's unit it says\n%s", text)
	}
	a.Remove("sandbox-" + a.Name + ".service")
	install()
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("the units are not verified: there is no systemd-analyze")
	}
	units, _ := filepath.Glob(filepath.Join(a.Dir, "sandbox-*"))
	if text, err := exec.Command(analyze, append([]string{"verify"}, units...)...).CombinedOutput(); err != nil || len(text) > 0 {
		t.Errorf("systemd-analyze verify: %v\n%s", err, text)
	}
}
