package page

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"bulkhead/policy/plan"
)

// built is the launcher.
func built(t *testing.T) string {
	t.Helper()
	path, err := filepath.Abs("../../bin/sandbox")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("the launcher is not built (run make build): %v", err)
	}
	return path
}

// openDirectory is a directory that every user may enter, unlike the test's own.
func openDirectory(t *testing.T) string {
	t.Helper()
	directory := t.TempDir()
	for _, place := range []string{directory, filepath.Dir(directory)} {
		if err := os.Chmod(place, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return directory
}

// run starts an application, which ends with the test.
func run(t *testing.T, sandbox, name, policy string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "policy.yaml")
	if err := os.WriteFile(file, []byte("application: "+name+policy), 0o600); err != nil {
		t.Fatal(err)
	}
	output, err := os.Create(filepath.Join(t.TempDir(), "output"))
	if err != nil {
		t.Fatal(err)
	}
	defer output.Close()
	c := exec.Command(sandbox, "run", file)
	c.Stdout, c.Stderr = output, output
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { c.Wait(); close(ended) }()
	t.Cleanup(func() {
		exec.Command(sandbox, "down", name).Run()
		select {
		case <-ended:
		case <-time.After(patience):
			c.Process.Kill()
			t.Errorf("%s did not end", name)
		}
	})
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		said, err := os.ReadFile(output.Name())
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(said), ": up after") {
			return
		}
		select {
		case <-ended:
			t.Fatalf("the application ended:\n%s", said)
		default:
		}
		if time.Now().After(deadline) {
			t.Fatalf("the application does not come up:\n%s", said)
		}
	}
}

// lie changes the plan that inspect reads.
func lie(t *testing.T, name string, change func(*plan.Plan)) {
	t.Helper()
	path := "/run/sandbox/" + name + "/plan"
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	p, err := plan.Decode[plan.Plan](b)
	if err != nil {
		t.Fatal(err)
	}
	change(p)
	if b, err = plan.Encode(p); err == nil {
		err = os.WriteFile(path, b, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}
