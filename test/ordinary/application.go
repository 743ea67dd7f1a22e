package ordinary

import (
	"context"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"

	"bulkhead/test/transcript"

	"golang.org/x/sys/unix"
)

// Application is one that runs.
type Application struct {
	*User
	Name    string
	command *exec.Cmd
	ended   chan struct{}
	said    transcript.Transcript
}

// Said is its output, and what Bulkhead says about it.
func (a *Application) Said() string {
	return a.said.String()
}

// Start starts the application "a" of a policy. When the test ends it is stopped, and nothing may be left.
func (u *User) Start(policy string) *Application {
	u.t.Helper()
	a := &Application{User: u, Name: "a", ended: make(chan struct{})}
	a.command = u.Command(context.Background(), "run", u.File("policy.yaml", policy))
	a.command.Stdout, a.command.Stderr = &a.said, &a.said
	if err := a.command.Start(); err != nil {
		u.t.Fatal(err)
	}
	go func() {
		a.command.Wait()
		close(a.ended)
	}()
	u.t.Cleanup(func() {
		a.command.Process.Signal(unix.SIGTERM)
		a.Wait()
		u.nothingLeft(a.Name)
		if u.t.Failed() {
			u.t.Logf("it said:\n%s", a.Said())
		}
	})
	return a
}

// Expect waits until the application has said something.
func (a *Application) Expect(text ...string) {
	a.t.Helper()
	for _, text := range text {
		await(a.t, "it says "+text, func() bool { return strings.Contains(a.Said(), text) })
	}
}

// Wait waits for its end and returns its status.
func (a *Application) Wait() int {
	<-a.ended
	return a.command.ProcessState.ExitCode()
}

// ask runs a command about the application that has to succeed.
func (a *Application) ask(arguments ...string) string {
	a.t.Helper()
	status, said := a.Run(arguments...)
	if status != 0 {
		a.t.Errorf("sandbox %s: status %d:\n%s", strings.Join(arguments, " "), status, said)
	}
	return said
}

// talk sends text to a port and returns the first bytes of the answer.
func talk(t *testing.T, port, text string) string {
	t.Helper()
	c, err := net.Dial("tcp", "127.0.0.1:"+port)
	if err != nil {
		t.Error(err)
		return ""
	}
	defer c.Close()
	if _, err := c.Write([]byte(text)); err != nil {
		t.Error(err)
	}
	answer := make([]byte, 4096)
	n, err := c.Read(answer)
	if err != nil {
		t.Errorf("%q: %v", text, err)
	}
	return string(answer[:n])
}

// mkdir makes a directory of the user's.
func (u *User) mkdir(name string) {
	u.t.Helper()
	if err := os.MkdirAll(u.Dir+"/"+name, 0o755); err != nil {
		u.t.Fatal(err)
	}
	u.own(u.Dir + "/" + name)
}
