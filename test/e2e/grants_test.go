package e2e

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func expectLines(t *testing.T, got []string, want ...string) {
	t.Helper()
	if len(got) == len(want) && len(want) > 20 {
		for i := range want {
			if got[i] != want[i] {
				t.Errorf("it wrote\n\t%s\nnot\n\t%s", got[i], want[i])
			}
		}
		return
	}
	if !slices.Equal(got, want) {
		t.Errorf("it wrote\n\t%s\nnot\n\t%s", strings.Join(got, "\n\t"), strings.Join(want, "\n\t"))
	}
}

// talk sends text to an address and returns the answer.
func talk(t *testing.T, network, address, text string) string {
	t.Helper()
	c, err := net.DialTimeout(network, address, *patience)
	if err != nil {
		t.Error(err)
		return ""
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(*patience))
	io.WriteString(c, text)
	answer, err := io.ReadAll(c)
	if err != nil {
		t.Errorf("%s %s: %v", network, address, err)
	}
	return string(answer)
}

// Two components, a grant each: each serves its own, and is no other's.
func TestTwoComponentsWithAGrantEach(t *testing.T) {
	a := New(t, "two").Write(`
application: {{NAME}}
grants:
  http: {listen: "tcp:127.0.0.1:{{PORT}}"}
  door: {listen: "unix:{{DIR}}/door"}
components:
  web:   {command: [{{PROGRAM}}, program, serve, web], grants: [http]}
  guard: {command: [{{PROGRAM}}, program, serve, guard], grants: [door]}
`).Run().Ready()
	if answer := talk(t, "tcp", "127.0.0.1:"+itoa(a.Port()), "you"); answer != "web heard you" {
		t.Errorf("tcp answers %q", answer)
	}
	if answer := talk(t, "unix", a.Dir+"/door", "you"); answer != "guard heard you" {
		t.Errorf("unix answers %q", answer)
	}
	if status := a.Stop(); status != 0 {
		t.Errorf("status %d", status)
	}
}

// What sd_listen_fds(3) promises, and not one descriptor beside it.
func TestDescriptorsAtStart(t *testing.T) {
	a := New(t, "descriptors").Write(`
application: {{NAME}}
grants:
  http: {listen: "tcp:127.0.0.1:{{PORT}}"}
  door: {listen: "unix:{{DIR}}/door"}
  log:  {file: "{{DIR}}/log", access: append, create: true}
  late: {listen: "unix:{{DIR}}/late"}
components:
  web:
    command: [{{PROGRAM}}, program, describe]
    grants: [http, door, log: {number: 9}, late: {at-start: false}]
    environment: {NAME: value}
    restart: never
`).Run()
	a.ExpectStatus(0)
	expectLines(t, a.Lines("web"),
		"pid is LISTEN_PID: true",
		"LISTEN_FDS=2",
		"LISTEN_FDNAMES=http:door",
		"SANDBOX_BROKER_FD=10",
		"descriptors: 0:device 1:pipe 2:pipe 3:listening 4:listening 9:file 10:socket",
		"environment: LISTEN_FDNAMES LISTEN_FDS LISTEN_PID NAME SANDBOX_BROKER_FD")
}

// Connections at start: a worker has them before its program runs, each at its
// number, whatever the server says late. Where nobody listens it does not start,
// and the grant's place in the policy is said.
func TestConnectedAtStart(t *testing.T) {
	a := New(t, "connected")
	path := filepath.Join(t.TempDir(), "db")
	server, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	go func() {
		for {
			c, err := server.Accept()
			if err != nil {
				return
			}
			b := make([]byte, 64)
			n, _ := c.Read(b)
			fmt.Fprintf(c, "heard %s", b[:n])
			c.Close()
		}
	}()
	a.Write(`
application: {{NAME}}
grants:
  db: {connect: "unix:` + path + `"}
components:
  client:
    command: [{{BUSYBOX}}, sh, -c, "echo $$ >&7; read -r answer <&7; echo $$ $answer; ls /proc/self/fd | tr '\\n' ' '"]
    files: {proc: own}
    grants: [db: {at-start: true, number: 7}]
    restart: never
`).Run()
	a.ExpectStatus(0)
	expectLines(t, a.Lines("client"), "2 heard 2", "0 1 2 3 7 8 ") // 3 is the list's own, 8 the broker socket
	server.Close()

	a.Write(`
application: {{NAME}}
grants:
  db: {connect: "unix:` + path + `"}
components:
  client: {command: [{{BUSYBOX}}, "true"], grants: [db: {at-start: true}], restart: never}
`).Run()
	a.ExpectStatus(125)
	a.Expect(a.Err, "policy.yaml:4:3: open grant db (unix:"+path+"): no such file or directory")
}

// A component without grants inherits nothing at all.
func TestNoDescriptorsAtStart(t *testing.T) {
	held, err := os.Open("/etc/hostname")
	if err != nil {
		held, err = os.Open("/proc/version")
	}
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	a := New(t, "nothing").Write(`
application: {{NAME}}
components:
  web: {command: [{{PROGRAM}}, program, describe], restart: never}
`)
	// A careless caller leaks a descriptor into the launcher.
	a.command = exec.Command(a.site.Sandbox, "run", a.Policy)
	a.command.ExtraFiles = []*os.File{held, held, held}
	a.start()
	a.ExpectStatus(0)
	expectLines(t, a.Lines("web"),
		"pid is LISTEN_PID: false",
		"LISTEN_FDS=",
		"LISTEN_FDNAMES=",
		"SANDBOX_BROKER_FD=",
		"descriptors: 0:device 1:pipe 2:pipe",
		"environment: ")
}

const requesting = `
application: {{NAME}}
grants:
  store: {directory: "{{DIR}}/store", access: read-write}
  books: {directory: "{{DIR}}/books"}
  log:   {file: "{{DIR}}/log", access: append, create: true}
  db:    {connect: "unix:{{DIR}}/db"}
  http:  {listen: "tcp:127.0.0.1:{{PORT}}"}
  other: {file: "{{DIR}}/other"}
components:
`

// requestingSite makes what the grants name, and returns what ends it.
func requestingSite(t *testing.T, a *Application) (end func() error) {
	t.Helper()
	for _, dir := range []string{"store", "books"} {
		if err := os.MkdirAll(filepath.Join(a.Dir, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	a.File("books/moby", "Call me Ishmael.")
	a.File("other", "not yours")
	return serve(t, "unix", a.Dir+"/db", func(_ net.Addr, heard []byte) string { return "db heard " + string(heard) }).Close
}

// Descriptors on request, by the Go client: what is granted comes, what is
// not has an errno that says so.
func TestDescriptorsOnRequest(t *testing.T) {
	a := New(t, "request")
	end := requestingSite(t, a)
	defer end()
	a.Write(requesting + `
  web:
    command:
      - {{PROGRAM}}
      - program
      - ask
      - ready
      - status all is well
      - write store a.txt wc first
      - read store a.txt
      - read books moby
      - open books moby w
      - open books new wc
      - open books .. r
      - open books ../other r
      - open books . r
      - open books nothing r
      - open other - r
      - open log - r
      - open log - w
      - write log - wa line
      - connect db
      - connect books
      - listen http
      - listen db
      - store tray kept
      - fetch tray
      - fetch nothing
      - drop books
      - read books moby
      - seal log
      - read store a.txt
      - connect db
      - write log - wa again
      - seal
      - store tray more
    grants: [store, books, log: {at-start: false}, db, http]
    restart: never
  owner: {command: [{{BUSYBOX}}, sleep, "1000"], grants: [other]}
`).Run()
	a.Expect(a.Out, "listening")
	if answer := talk(t, "tcp", "127.0.0.1:"+itoa(a.Port()), ""); answer != "served" {
		t.Errorf("http answers %q", answer)
	}
	a.Expect(a.Out, "store tray more: ")
	expectLines(t, a.Lines("web"),
		"ready: ok",
		"status all is well: ok",
		"write store a.txt wc first: ok",
		`read store a.txt: "first"`,
		`read books moby: "Call me Ishmael."`,
		"open books moby w: EACCES",
		"open books new wc: EACCES",
		"open books .. r: EXDEV",
		"open books ../other r: EXDEV",
		"open books . r: EISDIR",
		"open books nothing r: ENOENT",
		"open other - r: ENOENT", // granted to another, which looks like not existing
		"open log - r: EACCES",
		"open log - w: EACCES",
		"write log - wa line: ok",
		`connect db: "db heard hello"`,
		"connect books: EINVAL",
		"listening",
		"listen http: ok",
		"listen db: EINVAL",
		"store tray kept: ok",
		`fetch tray: 1 "kept"`,
		"fetch nothing: ENOENT",
		"drop books: ok",
		"read books moby: EPERM",
		"seal log: ok",
		"read store a.txt: EPERM",
		"connect db: EPERM",
		"write log - wa again: ok",
		"seal: EPERM",
		"store tray more: EPERM",
	)
	if b, _ := os.ReadFile(a.Dir + "/log"); string(b) != "lineagain" {
		t.Errorf("the log holds %q", b)
	}
	// A new file belongs to its directory's owner.
	if info, err := os.Stat(a.Dir + "/store/a.txt"); err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("a.txt: %v, %v", info, err)
	}
	end()
	a.Stop()
}

// The same by the Python client.
func TestDescriptorsOnRequestFromPython(t *testing.T) {
	const python = "/usr/bin/python3"
	if _, err := os.Stat(python); err != nil {
		t.Skipf("there is no %s here: the virtual machine brings only busybox", python)
	}
	client, err := filepath.Abs("../../broker/client/python")
	if err != nil {
		t.Fatal(err)
	}
	a := New(t, "python")
	end := requestingSite(t, a)
	defer end()
	module, err := os.ReadFile(client + "/bulkhead.py")
	if err != nil {
		t.Fatal(err)
	}
	a.File("lib/bulkhead.py", string(module))
	a.File("lib/main.py", `
import errno, os, sys
sys.path.insert(0, os.path.dirname(__file__))
import bulkhead
broker = bulkhead.Broker()
def say(what, f):
    try:
        print(what, f(), flush=True)
    except OSError as e:
        print(what, errno.errorcode[e.errno], flush=True)
say("listen", lambda: sorted(bulkhead.listen_sockets()))
say("read", lambda: open("moby", opener=broker.opener("books")).read())
say("escape", lambda: broker.open("books", "../other"))
say("write", lambda: os.write(broker.open("log", "", os.O_WRONLY | os.O_APPEND), b"snake"))
s = broker.connect("db")
s.send(b"python")
say("connect", lambda: s.recv(100).decode())
def start(text):
    r, w = os.pipe()
    sink, out = os.pipe()
    os.write(w, text); os.close(w)
    worker = broker.start("upper", {0: r, 1: out})
    os.close(r); os.close(out)
    with open(sink) as f:
        return worker.wait(timeout=10), f.read()
say("start", lambda: start(b"shout"))
say("other", lambda: broker.start("web"))
`)
	a.Write(requesting + `
  web:
    extends: python
    command: [/usr/bin/python3, "{{DIR}}/lib/main.py"]
    files: {read: ["{{DIR}}/lib"]}
    grants: [store, books, log: {at-start: false}, db, http]
    may-start: [upper]
    restart: never
  upper: {command: [{{BUSYBOX}}, tr, a-z, A-Z], start: per-request}
  owner: {command: [{{BUSYBOX}}, sleep, "1000"], grants: [other]}
`).Run()
	a.Expect(a.Out, "other ")
	expectLines(t, a.Lines("web"),
		"listen ['http']",
		"read Call me Ishmael.",
		"escape EXDEV",
		"write 5",
		"connect db heard python",
		"start (Result(how=1, code=0, reason=''), 'SHOUT')",
		"other EPERM",
	)
	end()
	a.Stop()
}

// A worker gets connections of a socket that it never has: those that wait and
// those that come; when it ends, the next is its successor's.
func TestAcceptedForIt(t *testing.T) {
	a := New(t, "accept").Write(`
application: {{NAME}}
grants:
  http: {listen: "tcp:127.0.0.1:{{PORT}}"}
  names: {listen: "udp:127.0.0.1:{{PORT}}"}
  other: {listen: "unix:{{DIR}}/other"}
components:
  web:
    command: [{{PROGRAM}}, program, ask, accept http, accept names, accept nothing, accept http]
    grants: [http: {at-start: false}, names: {at-start: false}]
    restart: never
  idle: {command: [{{PROGRAM}}, program, ask, accept other], grants: [other: {at-start: false}]}
`)
	a.Run().Ready()
	for range 2 {
		if got := talk(t, "tcp", "127.0.0.1:"+itoa(a.Port()), ""); got != "served" {
			t.Errorf("it answers %q", got)
		}
	}
	a.Expect(a.Out, "accept http: ok")
	a.eventually("web has ended", func() bool { return len(a.Lines("web")) == 4 })
	expectLines(t, a.Lines("web"), "accept http: ok", "accept names: EINVAL", "accept nothing: ENOENT", "accept http: ok")
	// Its worker ends in its wait; the one that follows gets the connection.
	first := a.Of(Program, "idle")
	if len(first) != 1 {
		t.Fatalf("idle is %v", first)
	}
	unix.Kill(first[0].Pid, unix.SIGKILL)
	a.eventually("another idle runs", func() bool {
		now := a.Of(Program, "idle")
		return len(now) == 1 && now[0].Pid != first[0].Pid
	})
	time.Sleep(200 * time.Millisecond)
	if got := talk(t, "unix", a.Dir+"/other", ""); got != "served" {
		t.Errorf("the next one answers %q", got)
	}
	a.Stop()
	a.ExpectNothingLeft(0)
}
