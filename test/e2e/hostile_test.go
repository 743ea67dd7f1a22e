package e2e

import (
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"bulkhead/test/e2e/hostile"
)

// Every malformed packet costs its sender its life and nobody else anything;
// what is only forbidden is refused.
func TestPackets(t *testing.T) {
	refused := []string{
		"an unknown operation", "operation zero", "the supervisor's start", "the supervisor's end",
		"the monitor's event", "the last operation", "descriptors for open",
	}
	var names []string
	for name := range hostile.Variants {
		names = append(names, name)
	}
	slices.Sort(names)
	a := New(t, "packets")
	end := requestingSite(t, a)
	var asked strings.Builder
	for _, name := range names {
		asked.WriteString("      - start villain " + name + "\n")
	}
	a.Write(`
application: {{NAME}}
grants:
  books: {directory: "{{DIR}}/books"}
components:
  web:
    command:
      - {{PROGRAM}}
      - program
      - ask
` + asked.String() + `      - sleep 1ms
    may-start: [villain]
    restart: never
  villain: {command: [{{PROGRAM}}, hostile, packet], start: per-request, grants: [books], limits: {wall-time: 10s}}
  other: {command: [{{BUSYBOX}}, sleep, "1000"]}
`).Run().Ready()
	before := len(held(a.Pid()))
	a.Expect(a.Out, "sleep 1ms: ")
	end()
	for i, line := range a.Lines("web") {
		if i == len(names) {
			break
		}
		want := "it sent the monitor a malformed message"
		if slices.Contains(refused, names[i]) {
			want = `exited with status 0; limit "", wrote "EPERM <nil>"`
		}
		if got, _ := strings.CutPrefix(line, "start villain "+names[i]+": "); !strings.HasPrefix(got, want) {
			t.Errorf("%s: %s, not %s", names[i], got, want)
		}
	}
	a.eventually("the monitor has as many descriptors as before", func() bool { return len(held(a.Pid())) <= before })
	if status := a.Stop(); status != 0 {
		t.Errorf("status %d", status)
	}
}

// While one component floods the monitor another one is served.
func TestFloods(t *testing.T) {
	for _, kind := range []string{"fair", "bad", "deaf"} {
		t.Run(kind, func(t *testing.T) {
			a := New(t, "flood")
			end := requestingSite(t, a)
			a.Write(`
application: {{NAME}}
grants:
  books: {directory: "{{DIR}}/books"}
components:
  villain: {command: [{{PROGRAM}}, hostile, flood, ` + kind + `], grants: [books], restart: never}
  calm: {command: [{{PROGRAM}}, hostile, calm, "300"], grants: [books], restart: never, after: villain}
`).Run()
			a.Expect(a.Out, "served 300")
			end()
			t.Log(a.Lines("calm"))
			if kind == "deaf" {
				a.Expect(a.Err, "it does not read the monitor's answers")
			}
			a.Signal(unix.SIGTERM)
			a.Wait()
			a.ExpectNothingLeft(0)
		})
	}
}

// Who asks more often than its policy says waits, and is refused nothing; who
// floods all the same is held to it, and another one is served.
func TestRequestsWait(t *testing.T) {
	a := New(t, "requests")
	end := requestingSite(t, a)
	a.Write(`
application: {{NAME}}
grants:
  books: {directory: "{{DIR}}/books"}
components:
  hasty: {command: [{{PROGRAM}}, program, ask, opens books moby 150, opens books nothing 3], grants: [books], restart: never, limits: {requests: 100}}
  wordy: {command: [{{PROGRAM}}, program, ask, opens books moby 150], grants: [books], restart: never, limits: {request-bytes: 4K}}
  villain: {command: [{{PROGRAM}}, hostile, flood, fair], grants: [books], restart: never, limits: {requests: 20}}
  calm: {command: [{{PROGRAM}}, hostile, calm, "300"], grants: [books], restart: never, after: villain}
`).Run()
	a.Expect(a.Out, "served 300")
	a.Expect(a.Out, "hasty      | opens books moby 150: 150 ok")
	a.Expect(a.Out, "wordy      | opens books moby 150: 150 ok")
	end()
	a.Stop()
	a.ExpectNothingLeft(0)
}

// A file that may be appended to should keep what is in it.
func TestAppendOnly(t *testing.T) {
	a := New(t, "append").Write(`
application: {{NAME}}
grants:
  log: {file: "{{DIR}}/log", access: append}
components:
  villain:
    command: [{{PROGRAM}}, hostile, append]
    grants: [log: {at-start: false}]
    files: {temporary: [/tmp]}
    limits: {file-size: 1M}
    restart: never
`)
	a.File("log", "what was there\n")
	a.Run()
	a.Wait()
	b, _ := os.ReadFile(a.Dir + "/log")
	if !strings.HasPrefix(string(b), "what was there\npwrite.") {
		t.Errorf("the file is %.100q", b)
	}
	expectLines(t, a.Lines("villain"),
		"pwrite: ok",
		"pwritev2 without append: EPERM",
		"truncate: EPERM",
		"punch a hole: EPERM",
		"clear O_APPEND: EPERM",
		"pwrite again: ok",
		"set O_NONBLOCK: ok",
		"have the monitor set O_ASYNC: EPERM",
		"open a file of its own: ok",
		"truncate its own: ok",
		"allocate its own: ok",
		"truncate it beyond its limit: EFBIG",
		"clear O_APPEND of its own: ok",
		"dup: ok",
		"raced: cut some: true refused some: true appends still: true",
	)
	a.ExpectNothingLeft(0)
}

// A descriptor gives no more than it was given for, however it is opened again.
func TestReopen(t *testing.T) {
	a := New(t, "reopen")
	defer requestingSite(t, a)()
	a.Write(`
application: {{NAME}}
grants:
  books: {directory: "{{DIR}}/books"}
components:
  villain: {command: [{{PROGRAM}}, hostile, reopen], grants: [books], restart: never}
`)
	// Of the file's own permissions nothing stands in the way.
	if err := os.Chmod(a.Dir+"/books/moby", 0o666); err != nil {
		t.Fatal(err)
	}
	a.Run()
	a.Wait()
	lines := a.Lines("villain")
	if len(lines) != 5 {
		t.Errorf("it wrote %q", lines)
	}
	for _, line := range lines {
		if strings.HasSuffix(line, ": ok") {
			t.Errorf("%s", line)
		}
	}
	if b, _ := os.ReadFile(a.Dir + "/books/moby"); string(b) != "Call me Ishmael." {
		t.Errorf("the file holds %q", b)
	}
}

// Names that change under the monitor's hands lead nowhere but into the
// granted directory, and never to what is no plain file.
func TestNamesThatChange(t *testing.T) {
	a := New(t, "race")
	a.File("secret", "secret")
	store := a.Dir + "/store"
	if err := os.Mkdir(store, 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(store, 0o777); err != nil {
		t.Fatal(err)
	}
	a.Write(`
application: {{NAME}}
grants:
  store: {directory: "{{DIR}}/store", access: read-write}
components:
  swapper: {command: [{{PROGRAM}}, hostile, swap, "{{DIR}}/store", "{{DIR}}/secret"], files: {write: ["{{DIR}}/store"]}}
  villain: {command: [{{PROGRAM}}, hostile, race, 2s, "fine,EXDEV"], grants: [store], restart: never, after: swapper}
`).Run()
	expectLostRace(t, a, "fine", "EXDEV")
	if b, _ := os.ReadFile(a.Dir + "/secret"); string(b) != "secret" {
		t.Errorf("the secret is %q now", b)
	}
	a.Stop()
}

// What is no plain file is not handed out, and holds nobody up.
func TestSpecialFiles(t *testing.T) {
	a := New(t, "special")
	store := a.Dir + "/store"
	if err := os.MkdirAll(store+"/sub", 0o755); err != nil {
		t.Fatal(err)
	}
	socket, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{
		unix.Mkfifo(store+"/fifo", 0o666),
		unix.Mknod(store+"/null", unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))),
		unix.Mknod(store+"/disk", unix.S_IFBLK|0o666, int(unix.Mkdev(7, 0))),
		unix.Bind(socket, &unix.SockaddrUnix{Name: store + "/socket"}),
		os.Symlink("/proc/self/root/etc/passwd", store+"/magic"),
		os.Symlink("/etc/passwd", store+"/absolute"),
		os.Symlink("../secret", store+"/up"),
		os.Symlink("loop", store+"/loop"),
		os.WriteFile(a.Dir+"/secret", []byte("secret"), 0o666),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	a.Write(`
application: {{NAME}}
grants:
  store: {directory: "{{DIR}}/store", access: read-write}
components:
  villain:
    command:
      - {{PROGRAM}}
      - program
      - ask
      - open store fifo r
      - open store fifo w
      - open store fifo rwn
      - open store null r
      - open store disk rw
      - open store socket rw
      - open store sub r
      - open store sub rd
      - open store sub rp
      - open store magic r
      - open store absolute r
      - open store up r
      - open store up rwc
      - open store loop r
      - open store /etc/passwd r
      - open store sub/../../secret r
    grants: [store]
    restart: never
`).Run()
	a.Wait()
	unix.Close(socket)
	os.Remove(store + "/socket")
	expectLines(t, a.Lines("villain"),
		"open store fifo r: EACCES",
		"open store fifo w: EACCES",
		"open store fifo rwn: EACCES",
		"open store null r: EACCES",
		"open store disk rw: EACCES",
		"open store socket rw: EACCES",
		"open store sub r: EISDIR",
		"open store sub rd: EINVAL",
		"open store sub rp: EINVAL",
		"open store magic r: EXDEV",
		"open store absolute r: EXDEV",
		"open store up r: EXDEV",
		"open store up rwc: EXDEV",
		"open store loop r: ELOOP",
		"open store /etc/passwd r: EXDEV",
		"open store sub/../../secret r: EXDEV")
}

// Nothing that leads into the giver's root can be given away, and what is
// smuggled past the monitor in a socket leads nowhere.
func TestLadders(t *testing.T) {
	a := New(t, "ladder")
	secret := a.File("giver/secret", "the giver's")
	a.Write(`
application: {{NAME}}
components:
  villain:
    command: [{{PROGRAM}}, hostile, ladder]
    files: {read: ["{{DIR}}/giver"]}
    may-start: [climber]
    restart: never
  climber: {command: [{{PROGRAM}}, hostile, climb, "` + secret + `"], start: per-request}
`).Run()
	a.ExpectStatus(0)
	expectLines(t, a.Lines("villain"),
		"pass a directory: EPERM", "store a directory: EPERM",
		"pass O_PATH: EPERM", "store O_PATH: EPERM",
		"pass the broker socket: EPERM", "store the broker socket: EPERM",
		"climb to a file of the giver: EACCES", "climb to its root: EACCES")
}

// bystander is a server that no grant names; it counts who comes.
func bystander(t *testing.T, network string) (port int, came func() int, end func()) {
	t.Helper()
	var mutex sync.Mutex
	n := 0
	count := func() { mutex.Lock(); n++; mutex.Unlock() }
	came = func() int { mutex.Lock(); defer mutex.Unlock(); return n }
	if network == "udp" {
		c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			for b := make([]byte, 64); ; count() {
				if _, _, err := c.ReadFrom(b); err != nil {
					return
				}
			}
		}()
		return c.LocalAddr().(*net.UDPAddr).Port, came, func() { c.Close() }
	}
	l, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			count()
			go func() { io.Copy(io.Discard, c); c.Close() }()
		}
	}()
	return l.Addr().(*net.TCPAddr).Port, came, func() { l.Close() }
}

// onNetwork runs a hostile verb with a grant to one port; another one is open
// beside it, and nobody may come there.
func onNetwork(t *testing.T, name, network, extra string) (*Application, []string) {
	t.Helper()
	a := New(t, name)
	granted, cameGranted, endGranted := bystander(t, network)
	other, came, endOther := bystander(t, network)
	a.Write(`
application: {{NAME}}
grants:
  out: {connect: "` + network + `:127.0.0.1:` + itoa(granted) + `"}
components:
  villain: {command: [{{PROGRAM}}, hostile, ` + name + `, "` + itoa(granted) + `", "` + itoa(other) + `"` + extra + `], grants: [out], restart: never}
`).Run()
	a.Wait()
	if name != "uncovered" {
		a.eventually("somebody came to the granted port", func() bool { return cameGranted() > 0 })
	}
	time.Sleep(100 * time.Millisecond)
	if n := came(); n != 0 {
		t.Errorf("%d came to the port that no grant names; it says %q", n, a.Lines("villain"))
	}
	endGranted()
	endOther()
	a.ExpectNothingLeft(0)
	return a, a.Lines("villain")
}

func TestBrokeredCalls(t *testing.T) {
	_, lines := onNetwork(t, "network", "tcp", "")
	expectLines(t, lines,
		"connect to the granted port: ok",
		"connect to another port: EACCES",
		"connect to the granted port, mapped: ok",
		"connect to another port, mapped: EACCES",
		"connect to a long address: ok",
		"connect to a longer one: EINVAL",
		"connect to a negative length: EINVAL",
		"connect to no length: EINVAL",
		"connect to half an address: EAFNOSUPPORT",
		"connect to nowhere in memory: EFAULT",
		"connect a pipe: ENOTSOCK",
		"connect nothing: EBADF",
		"take a connection apart: EACCES",
		"bind another port: EACCES",
		"listen on a port of the kernel's choice: EACCES",
		"socket MPTCP: true", "socket SCTP: true", "socket UDP: true", "socket raw: true", "socket ping: true",
		"socket unix: true", "socket netlink: true", "socket packet: true", "socket vsock: true", "socket alg: true")
}

// Calls that carry an address and are not brokered.
func TestAddressesThatNobodyReads(t *testing.T) {
	_, lines := onNetwork(t, "uncovered", "tcp", "")
	if len(lines) != 5 {
		t.Fatalf("it says %q", lines)
	}
	// EOPNOTSUPP, as where fast open is off: honest programs then connect as ever.
	expectLines(t, lines[:2], "sendto with MSG_FASTOPEN: ENOTSUP", "sendmsg with MSG_FASTOPEN: ENOTSUP")
}

func TestDatagramsToOthers(t *testing.T) {
	a, lines := onNetwork(t, "datagrams", "udp", "")
	expectLines(t, lines,
		"socket: ok",
		"send to the granted port: ok",
		"send to another: EPERM",
		"connect to the granted port: ok",
		"send to another when connected: EPERM",
	)
	// The kernel refused them, and the monitor was told.
	if !strings.Contains(a.Err.String(), "denied: sendto") {
		t.Error("no denial was reported")
	}
}

// The address and the number are changed by another thread while the monitor
// looks: the worker may harm itself, and nothing else.
func TestRewrittenWhileStopped(t *testing.T) {
	_, lines := onNetwork(t, "rewrite", "tcp", ", 2s")
	expectLines(t, lines, "connected some: true refused some: true wrong: 0")
}

// A hundred thousand requests leave the monitor as it was.
func TestNothingLeaks(t *testing.T) {
	opens, starts := 100_000, 2000
	if testing.Short() {
		opens, starts = 1800, 200
	}
	// In steps, each of which has some time: all of it takes as long as the machine is busy.
	const steps = 10
	lines := []string{"opens books moby 200", "many work 100", "sleep 1s"}
	for range steps {
		lines = append(lines, fmt.Sprintf("opens books moby %d", opens/steps))
	}
	lines = append(lines, "opens books nothing 200")
	for range steps {
		lines = append(lines, fmt.Sprintf("many work %d", starts/steps))
	}
	a := New(t, "leak")
	requestingSite(t, a)() // the books, without the server
	a.Write(`
application: {{NAME}}
grants:
  books: {directory: "{{DIR}}/books"}
components:
  web:
    command: [{{PROGRAM}}, program, ask, ` + strings.Join(lines, ", ") + `, sleep 1000s]
    grants: [books]
    may-start: [work]
  work: {command: [{{BUSYBOX}}, "true"], start: per-request, workers: {maximum: 4, queue: 10000}}
`).Run().Ready()
	a.Expect(a.Out, "many work 100: ")
	time.Sleep(500 * time.Millisecond)
	fds, memory := len(held(a.Pid())), residentMemory(t, a.Pid())
	// Leaves of workers are kept, some that were needed at once: eight at most.
	leaves := func() int {
		names := map[string]bool{}
		for _, group := range a.Groups() {
			if filepath.Base(filepath.Dir(group)) == "work" && filepath.Base(group) != "init" {
				names[filepath.Base(group)] = true
			}
		}
		return len(names)
	}
	for i := range lines {
		a.eventually(lines[i], func() bool { return len(a.Lines("web")) > i })
	}
	if last := a.Lines("web")[len(lines)-1]; !strings.HasSuffix(last, ": "+itoa(starts/steps)+" exited with status 0; limit \"\"") {
		t.Errorf("it says %q", last)
	}
	a.eventually("the last worker is gone", func() bool { return len(a.Of(WorkerInit, "work")) == 0 })
	time.Sleep(500 * time.Millisecond)
	if now := held(a.Pid()); len(now) > fds+4 {
		t.Errorf("the monitor held %d descriptors and holds %d: %v", fds, len(now), now)
	}
	if now := leaves(); now < 1 || now > 8 {
		t.Errorf("%d leaves are kept", now)
	}
	if now := residentMemory(t, a.Pid()); now > memory+4<<10 {
		t.Errorf("the monitor had %d KiB and has %d", memory, now)
	} else {
		t.Logf("descriptors %d to %d, %d leaves, memory %d to %d KiB", fds, len(held(a.Pid())), leaves(), memory, now)
	}
	a.Stop()
}

// residentMemory is in KiB.
func residentMemory(t *testing.T, pid int) int {
	t.Helper()
	fields := strings.Fields(statusLine("/proc/"+itoa(pid), "VmRSS:"))
	if len(fields) == 0 {
		t.Fatal("the monitor has no memory")
	}
	n := 0
	for _, c := range fields[0] {
		n = 10*n + int(c-'0')
	}
	return n
}

// expectLostRace checks what the villain of a race got: nothing that it should
// not have, and each of the answers that show that there was a race.
func expectLostRace(t *testing.T, a *Application, shown ...string) {
	t.Helper()
	a.Expect(a.Out, "got: ")
	got := strings.Join(a.Lines("villain"), "\n")
	for _, bad := range []string{"THE SECRET", "SOMETHING ELSE"} {
		if strings.Contains(got, bad) {
			t.Errorf("it %s", got)
		}
	}
	for _, must := range shown { // or nothing was raced for
		if !strings.Contains(got, must) {
			t.Errorf("it %s, without %s", got, must)
		}
	}
}
