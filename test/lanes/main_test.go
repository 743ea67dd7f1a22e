package main

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A lane that fails hides none that come after it, and the last lines are about
// all of them.
func TestAllLanesRun(t *testing.T) {
	dir := t.TempDir()
	report := filepath.Join(dir, "report")
	if out, err := exec.Command("go", "build", "-o", report, "../report").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	makefile := `good:
	@printf '{"Action":"pass","Package":"a","Test":"TestA"}\n{"Action":"skip","Package":"a","Test":"TestB"}\n{"Action":"pass","Package":"a"}\n' | ` + report + `
bad:
	@printf '{"Action":"fail","Package":"b","Test":"TestC"}\n{"Action":"fail","Package":"b"}\n' | ` + report + `
quiet:
	@true
slow:
	@{ printf '{"Action":"pass","Package":"c"}\n{"Action":"start","Package":"d"}\n'; exec sleep 1000; } | ` + report + ` >said
`
	t.Chdir(dir)
	if err := os.WriteFile("Makefile", []byte(makefile), 0o644); err != nil {
		t.Fatal(err)
	}
	until, over := context.WithCancelCause(t.Context())
	go func() {
		for {
			if said, _ := os.ReadFile("said"); len(said) > 0 {
				over(errors.New("the day is over"))
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
	}()
	var lanes []lane
	for _, target := range []string{"bad", "good", "quiet", "slow", "never"} {
		lanes = append(lanes, run(until, "make", target))
	}
	var out strings.Builder
	if write(&out, lanes) {
		t.Error("lanes of which some failed are good")
	}
	said := strings.Join(strings.Fields(out.String()), " ")
	for _, want := range []string{
		"good a TestB: it does not say why", "bad nothing",
		"FAILED bad 0s 0 passed, 1 failed, 0 skipped", "ok good 0s 1 passed, 0 failed, 1 skipped", "ok quiet 0s",
		"FAILED never 0s", "failed: make bad: exit status 2 failed: b TestC", "failed: did not end: the day is over failed: d failed: did not run: the day is over",
	} {
		if !strings.Contains(said, want) {
			t.Errorf("it does not say %q:\n%s", want, out.String())
		}
	}
}
