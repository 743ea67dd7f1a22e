package life

import (
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// policyOf is a policy that says text again and again.
func policyOf(name, text string) string {
	return `application: ` + name + `
components:
  one: {command: [/bin/busybox, sh, -c, "while true; do echo ` + text + `; sleep 0.1; done"], files: {execute: [/bin/busybox]}}
`
}

func (a *Application) runs(name string) bool {
	_, err := os.Stat(filepath.Join("/run/sandbox", name, "plan"))
	return err == nil
}

// broker is the pid of an application's broker.
func (a *Application) broker(name string) string {
	b, _ := os.ReadFile(filepath.Join("/run/sandbox", name, "pid"))
	return string(b)
}

// TestUp: files that come, change, are wrong, and go.
func TestUp(t *testing.T) {
	a := New(t, "up")
	first, second := a.Name+"-1", a.Name+"-2"
	if err := os.Mkdir(filepath.Join(a.Dir, "d"), 0o755); err != nil {
		t.Fatal(err)
	}
	a.File("d/first.yaml", policyOf(first, "eins"))
	a.Start(nil, "up", filepath.Join(a.Dir, "d"))
	a.Expect("application " + first + ": up after")
	a.Expect("| eins")

	a.File("d/second.yaml", policyOf(second, "zwei"))
	a.Expect("application " + second + ": up after")

	// A comment changes nothing; what else changes does.
	was, other := a.broker(first), a.broker(second)
	a.File("d/first.yaml", "# a comment\n"+policyOf(first, "eins"))
	time.Sleep(500 * time.Millisecond)
	if a.broker(first) != was {
		t.Error("a comment restarted the application")
	}
	a.File("d/first.yaml", policyOf(first, "drei"))
	a.Expect("| drei")
	a.Expect("application " + first + " runs its changed policy")
	if a.broker(first) != was || a.broker(second) != other {
		t.Error("a changed component restarted a whole application")
	}

	// A mistake is told, and what runs goes on.
	was = a.broker(first)
	a.File("d/first.yaml", policyOf(first, "vier")+"nonsense: 1\n")
	a.Expect(`unknown key "nonsense"`)
	a.Expect(first + "\" goes on as it was")
	if a.broker(first) != was || !a.runs(first) {
		t.Error("a mistake stopped the application")
	}

	// A second one is not needed, and says so.
	if text := a.Sandbox("up", "--idempotent", filepath.Join(a.Dir, "d")); !strings.Contains(text, "is up already") {
		t.Errorf("a second up says %q", text)
	}

	a.Remove("d/second.yaml")
	a.Until("the second application has gone", func() bool { return !a.runs(second) })
	a.Signal(unix.SIGTERM)
	if status := a.Wait(); status != 0 || a.runs(first) {
		t.Errorf("status %d, and it runs: %v", status, a.runs(first))
	}
}

// up follows a directory d with one policy, first.yaml, whose application it returns
// the name of when that is up. Its component says "eins".
func (a *Application) up() (name string) {
	a.t.Helper()
	if err := os.Mkdir(filepath.Join(a.Dir, "d"), 0o755); err != nil {
		a.t.Fatal(err)
	}
	name = a.Name + "-1"
	a.File("d/first.yaml", policyOf(name, "eins"))
	a.Start(nil, "up", filepath.Join(a.Dir, "d"))
	a.Expect("application " + name + ": up after")
	return name
}

// TestUpFlips: a file that changes a hundred times, to what is right, wrong, and
// right again while it is being applied, ends with what it says last, by one broker.
func TestUpFlips(t *testing.T) {
	a := New(t, "flips")
	name := a.up()
	texts := []string{policyOf(name, "eins"), policyOf(name, "zwei"), policyOf(name, "drei") + "nonsense: 1\n", ""}
	was := a.broker(name)
	r := rand.New(rand.NewPCG(1, 2))
	for range 100 {
		a.File("d/first.yaml", texts[r.IntN(len(texts))])
		time.Sleep(time.Duration(r.IntN(300)) * time.Millisecond)
	}
	a.File("d/first.yaml", policyOf(name, "fertig"))
	a.Until("what it says last runs", func() bool { return strings.Contains(a.Sandbox("logs", name), "fertig") })
	if a.broker(name) != was {
		t.Error("a change restarted the application")
	}
}

// TestUpRefused: what could not be applied is tried again when its file was
// changed since, also where it says the same again.
func TestUpRefused(t *testing.T) {
	a := New(t, "refused")
	name := a.up()
	taken, err := net.Listen("unix", filepath.Join(a.Dir, "door"))
	if err != nil {
		t.Fatal(err)
	}
	next := "grants: {door: {listen: \"unix:" + a.Dir + "/door\"}}\n" + strings.Replace(policyOf(name, "zwei"), "one: {", "one: {grants: [door], ", 1)
	a.File("d/first.yaml", next)
	a.Expect("it is tried again when the file changes")
	taken.Close()
	a.File("d/first.yaml", next)
	a.Until("the change is in force", func() bool { return strings.Contains(a.Sandbox("logs", name), "zwei") })
}

// TestUpAgain: one that fails is started again, one that is taken down is not,
// and one that an up left behind is taken over.
func TestUpAgain(t *testing.T) {
	a := New(t, "again")
	name := a.up()
	killed := strings.TrimSpace(a.broker(name))
	a.Kill(killed)
	a.Expect("is started again in 1s")
	a.Until("another broker runs", func() bool { return a.runs(name) && strings.TrimSpace(a.broker(name)) != killed })
	a.Until("it is up again", func() bool { return strings.Count(a.Said.String(), name+": up after") == 2 })

	// The up is killed; the application runs on, and the next up has it.
	a.Signal(unix.SIGKILL)
	a.Wait()
	// What was written in between is applied, and what is written then.
	was := a.broker(name)
	a.File("d/first.yaml", policyOf(name, "zwei"))
	a.Start(nil, "up", filepath.Join(a.Dir, "d"))
	says := func(text string) {
		t.Helper()
		a.Until("it says "+text, func() bool { return strings.Contains(a.Sandbox("logs", name), text) })
	}
	says("zwei")
	a.File("d/first.yaml", policyOf(name, "drei"))
	says("drei")
	if a.broker(name) != was {
		t.Error("the next up restarted the application")
	}

	if text := a.Sandbox("down", filepath.Join(a.Dir, "d")); text != "" || a.runs(name) {
		t.Errorf("down says %q, and it runs: %v", text, a.runs(name))
	}
	a.Expect("it is started again when")
	time.Sleep(1500 * time.Millisecond)
	if a.runs(name) {
		t.Error("what was taken down was started again")
	}
}
