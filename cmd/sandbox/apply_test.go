package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// curious tries two things once, says how they went, and stays.
const curious = `import ctypes, socket, sys, time
libc = ctypes.CDLL(None, use_errno=True)
print("ptrace", libc.ptrace(0, 0, 0, 0), flush=True)
try:
    socket.create_connection(("127.0.0.1", int(sys.argv[1])))
    print("connect 0", flush=True)
except OSError as e:
    print("connect", e.errno, flush=True)
time.sleep(1000)
`

// TestApply: what was refused, is allowed by what --apply wrote, and nothing
// else has changed.
func TestApply(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("starts an application: needs root")
	}
	if _, err := os.Stat("/usr/bin/python3"); err != nil {
		t.Skip("the program of this test is in Python, which is not here")
	}
	server, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	port := server.Addr().(*net.TCPAddr).Port
	directory := t.TempDir()
	for _, place := range []string{directory, filepath.Dir(directory)} {
		if err := os.Chmod(place, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(directory+"/curious.py", []byte(curious), 0o644); err != nil {
		t.Fatal(err)
	}
	name := fmt.Sprintf("apply-test-%d", os.Getpid())
	file, dropIn := directory+"/app.yaml", directory+"/policy.d/90-denials-"+name+".yaml"
	policy := fmt.Sprintf(`application: %s
grants:
  elsewhere: {connect: "tcp:127.0.0.1:9"} # so that it may ask for sockets at all
components:
  curious:
    extends: python
    command: [/usr/bin/python3, %s/curious.py, "%d"]
    files: {read: [%s/curious.py]}
    grants: [{elsewhere: {at-start: false}}]
    limits: {memory: 64M}
`, name, directory, port, directory)
	if err := os.WriteFile(file, []byte(policy), 0o644); err != nil {
		t.Fatal(err)
	}
	a := &controlled{t: t, name: name}
	if a.sandbox, err = filepath.Abs("../../bin/sandbox"); err != nil {
		t.Fatal(err)
	}

	defer a.start(directory, "app.yaml")() // a relative name, as a person types it
	a.eventually("both refusals", func() bool {
		out := a.do(0, "logs", name)
		return strings.Contains(out, "ptrace -1") && strings.Contains(out, "connect 13")
	})
	// What it says of them and that the supervisor hears of them are two ways.
	a.eventually("both denials", func() bool {
		out := a.do(0, "denials", name)
		return strings.Contains(out, "ptrace") && strings.Contains(out, "connect")
	})
	// Without a terminal it shows what it would do, and does not.
	out := a.do(125, "denials", name, "--apply")
	for _, want := range []string{"adds components.curious.syscalls: [ptrace]", "+      - ptrace", "what that gives", "nothing is written"} {
		if !strings.Contains(out, want) {
			t.Errorf("--apply without a terminal does not say %q:\n%s", want, out)
		}
	}
	if _, err := os.Stat(dropIn); err == nil {
		t.Fatal("it is written all the same")
	}
	// At a terminal: no to the first line, and no to the whole.
	if out, status := a.answer("n\ny\nn\n", "denials", name, "--apply"); status != 1 || !strings.Contains(out, "nothing is written") {
		t.Errorf("no at a terminal: status %d\n%s", status, out)
	}
	if _, err := os.Stat(dropIn); err == nil {
		t.Fatal("it is written after a no")
	}
	// Yes to one line.
	if out, status := a.answer("y\nq\ny\n", "denials", name, "--apply"); status != 0 || !strings.Contains(out, "wrote "+dropIn) {
		t.Errorf("yes at a terminal: status %d\n%s", status, out)
	}
	text := a.read(dropIn)
	if strings.Contains(text, "ptrace") == strings.Contains(text, "connect-tcp") {
		t.Errorf("one of two lines is expected in\n%s", text)
	}
	// And to all the rest.
	a.do(0, "denials", name, "--apply", "--yes")
	text = a.read(dropIn)
	if !strings.Contains(text, "ptrace") || !strings.Contains(text, fmt.Sprintf("connect: \"tcp:127.0.0.1:%d\"", port)) {
		t.Errorf("the drop-in is\n%s", text)
	}
	if out := a.do(0, "denials", name, "--apply", "--yes"); !strings.Contains(out, "there is nothing to write") || a.read(dropIn) != text {
		t.Errorf("once more:\n%s", out)
	}
	if a.read(file) != policy {
		t.Error("the policy file was changed")
	}
	if left, err := filepath.Glob(directory + "/policy.d/.*"); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}

	a.do(0, "check", file)
	a.do(0, "reload", name)
	a.eventually("both work", func() bool {
		out := a.do(0, "logs", name)
		return strings.Contains(out, "ptrace 0") && strings.Contains(out, "connect 0")
	})
}

// A file that a person wrote is not replaced.
func TestApplyToSomebodyElsesFile(t *testing.T) {
	a := runApplication(t, `
components:
  curious:
    command: [/usr/bin/python3, -c, "import ctypes, time; ctypes.CDLL(None).ptrace(0, 0, 0, 0); time.sleep(1000)"]
    extends: python
    limits: {memory: 64M}
`)
	s, err := status(a.name)
	if err != nil {
		t.Fatal(err)
	}
	a.eventually("a denial", func() bool { return strings.Contains(a.do(0, "denials", a.name), "ptrace") })
	directory := filepath.Join(filepath.Dir(s.Policy), "policy.d")
	if err := os.Mkdir(directory, 0o755); err != nil {
		t.Fatal(err)
	}
	mine := filepath.Join(directory, "90-denials-"+a.name+".yaml")
	if err := os.WriteFile(mine, []byte("application: "+a.name+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if out := a.do(125, "denials", a.name, "--apply", "--yes"); !strings.Contains(out, "was not written by sandbox denials") {
		t.Errorf("a file of somebody else's: %s", out)
	}
	if got := a.read(mine); got != "application: "+a.name+"\n" {
		t.Errorf("it is now %q", got)
	}
}

// start runs a policy of a directory until the function that it returns.
func (a *controlled) start(directory, file string) (stop func()) {
	a.t.Helper()
	c := exec.Command(a.sandbox, "run", file)
	c.Dir = directory
	if err := c.Start(); err != nil {
		a.t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { c.Wait(); close(ended) }()
	a.eventually("the application is up", func() bool {
		_, err := status(a.name)
		return err == nil
	})
	return func() {
		a.t.Helper()
		exec.Command(a.sandbox, "down", a.name).Run()
		select {
		case <-ended:
		case <-time.After(patience):
			c.Process.Kill()
			a.t.Error("the application does not end")
		}
	}
}

// answer runs a command at a terminal of its own and types.
func (a *controlled) answer(typed string, arguments ...string) (said string, status int) {
	a.t.Helper()
	if _, err := exec.LookPath("script"); err != nil {
		a.t.Skip("script, which makes a terminal, is not installed; test/packages.txt names its package")
	}
	c := exec.Command("script", "--quiet", "--return", "--command", a.sandbox+" "+strings.Join(arguments, " "), "/dev/null")
	c.Stdin = strings.NewReader(typed)
	out, _ := c.CombinedOutput()
	return string(out), c.ProcessState.ExitCode()
}

func (a *controlled) read(file string) string {
	a.t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		a.t.Fatal(err)
	}
	return string(text)
}
