package main

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// What a run of go test -json -cover says, in the lines that a person reads.
func TestReport(t *testing.T) {
	in := strings.Join([]string{
		`{"Action":"output","Package":"bulkhead/a","Test":"TestGood","Output":"=== RUN   TestGood\n"}`,
		`{"Action":"pass","Package":"bulkhead/a","Test":"TestGood","Elapsed":0.1}`,
		`{"Action":"output","Package":"bulkhead/a","Test":"TestLater","Output":"    a_test.go:7: needs a moon\n"}`,
		`{"Action":"output","Package":"bulkhead/a","Test":"TestLater","Output":"--- SKIP: TestLater (0.00s)\n"}`,
		`{"Action":"skip","Package":"bulkhead/a","Test":"TestLater"}`,
		`{"Action":"output","Package":"bulkhead/a","Output":"coverage: 87.5% of statements\n"}`,
		`{"Action":"output","Package":"bulkhead/a","Output":"ok  \tbulkhead/a\t0.2s\tcoverage: 87.5% of statements\n"}`,
		`{"Action":"pass","Package":"bulkhead/a","Elapsed":0.2}`,
		`{"Action":"output","Package":"bulkhead/b","Test":"TestBad","Output":"    b_test.go:3: it is wrong\n"}`,
		`{"Action":"fail","Package":"bulkhead/b","Test":"TestBad"}`,
		`{"Action":"output","Package":"bulkhead/b","Output":"coverage: [no statements]\n"}`,
		`{"Action":"fail","Package":"bulkhead/b","Elapsed":0.2}`,
		`{"Action":"output","Package":"bulkhead/c","Output":"panic: oh\n"}`,
		`{"Action":"fail","Package":"bulkhead/c","Elapsed":0.2}`,
		`not an event`,
	}, "\n")
	var out strings.Builder
	r := newReport(&out)
	if err := r.read(strings.NewReader(in), nil); err != nil {
		t.Fatal(err)
	}
	if r.finish(3 * time.Second) {
		t.Error("a run with failures is good")
	}
	for _, want := range []string{
		"ok       bulkhead/a", "  a                                         87.5%\n", "  a TestLater: needs a moon\n",
		"FAILED bulkhead/b TestBad\n    b_test.go:3: it is wrong\n", "failed: bulkhead/b TestBad\n", "panic: oh\n", "not an event\n",
		"in 3s\n1 passed, 2 failed, 1 skipped\n",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("it does not say %q:\n%s", want, out.String())
		}
	}
	if strings.Contains(out.String(), "no statements") {
		t.Errorf("a package without statements has a coverage:\n%s", out.String())
	}
}

// What go test itself says of tests that do not end well, and of what is cut off.
func TestReportOfRealRuns(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"go.mod":             "module m\ngo 1.26\n",
		"hangs/a_test.go":    "package a\nimport \"testing\"\nfunc TestGood(*testing.T) {}\nfunc TestHangs(t *testing.T) { t.Run(\"inside\", func(t *testing.T) { t.Log(\"on its way\"); select {} }) }\nfunc TestAfter(*testing.T) {}\n",
		"panics/a_test.go":   "package a\nimport \"testing\"\nfunc TestBad(t *testing.T) { t.Error(\"wrong\") }\nfunc TestPanics(*testing.T) { panic(\"oh\") }\n",
		"compiles/a_test.go": "package a\nfunc missing() { nothing() }\n",
		"quits/a_test.go":    "package a\nimport (\"os\"; \"testing\")\nfunc TestMain(*testing.M) { println(\"no machine\"); os.Exit(3) }\nfunc TestNever(*testing.T) {}\n",
	} {
		file := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	command := exec.Command("go", "test", "-json", "-count=1", "-timeout=2s", "./...")
	command.Dir = dir
	events, _ := command.Output()
	for _, want := range []string{
		"FAILED m/hangs TestHangs/inside, which did not end\n", "a_test.go:4: on its way", "panic: test timed out after 2s", "failed: m/hangs TestHangs/inside\n",
		"FAILED m/panics TestBad\n", "FAILED m/panics TestPanics\n", "panic: oh",
		"undefined: nothing", "failed: m/compiles\n",
		"FAILED m/quits\n", "no machine", "failed: m/quits\n",
		"\n1 passed, 6 failed, 0 skipped\n", // TestHangs and its inside are two
	} {
		if out, good := reported(t, string(events)); good || !strings.Contains(out, want) {
			t.Fatalf("good is %v; it does not say %q:\n%s", good, want, out)
		}
	}
	for _, c := range []struct{ events, want string }{
		{"go: cannot find main module\n", "failed: everything\n"},
		{string(events[:bytes.Index(events, []byte("on its way"))]), "FAILED m/hangs, which did not end\n"},
	} {
		if out, good := reported(t, c.events); good || !strings.Contains(out, c.want) {
			t.Errorf("good is %v; it does not say %q:\n%s", good, c.want, out)
		}
	}
}

func reported(t *testing.T, events string) (out string, good bool) {
	t.Helper()
	var b strings.Builder
	r := newReport(&b)
	if err := r.read(strings.NewReader(events), nil); err != nil {
		t.Fatal(err)
	}
	good = r.finish(time.Second)
	return b.String(), good
}
