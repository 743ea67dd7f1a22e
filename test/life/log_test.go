package life

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// TestLogFiles: a component that writes much, one that crashes in the middle
// of a line, when its word cannot be rotated away any more, and one with a file
// of its own.
func TestLogFiles(t *testing.T) {
	a := New(t, "logs").Run(`application: {{NAME}}
logs: {file: "{{DIR}}/all.log", rotate: 64K, keep: 2}
components:
  much: { {{SH}} "i=0; while [ $i -lt 8000 ]; do echo line $i; i=$((i+1)); done; echo >{{DIR}}/written; exec sleep 1000"] }
  crash: { restart: never, {{SH}} "until test -e {{DIR}}/written; do sleep 0.1; done; printf crashing; kill -SEGV $$"] }
  own: { logs: {file: "{{DIR}}/own.log"}, {{SH}} "echo mine; exec sleep 1000"] }
`)
	a.Expect("up after")
	a.Until("the last line is written", func() bool { return strings.Contains(a.Read("all.log"), " much: line 7999\n") })
	a.Until("the last word of the crash", func() bool {
		return strings.Contains(a.Read("all.log.2")+a.Read("all.log.1")+a.Read("all.log"), " crash: crashing\n")
	})
	a.Until("own.log is written", func() bool { return strings.HasSuffix(a.Read("own.log"), "\n") })
	stamp, text, _ := strings.Cut(a.Read("own.log"), " ")
	if _, err := time.Parse(time.RFC3339Nano, stamp); err != nil || text != "mine\n" {
		t.Errorf("own.log holds %q", a.Read("own.log"))
	}
	next := -1
	for _, file := range []string{"all.log.2", "all.log.1", "all.log"} {
		text := a.Read(file)
		if len(text) == 0 || len(text) > 64<<10 {
			t.Errorf("%s has %d bytes", file, len(text))
		}
		for line := range strings.Lines(text) {
			_, number, ok := strings.Cut(line, " much: line ")
			n := 0
			if !ok {
				continue
			}
			if fmt.Sscan(number, &n); next >= 0 && n != next {
				t.Fatalf("line %d follows line %d", n, next-1)
			}
			next = n + 1
		}
	}
	if text := a.Sandbox("inspect", "--verify", a.Name); !strings.Contains(text, "the kernel has what the policy asks for") {
		t.Errorf("inspect --verify says\n%s", text)
	}
	if a.Read("all.log.3") != "" {
		t.Error("more files are kept than the policy says")
	}
	if strings.Contains(a.Said.String(), "line 1") {
		t.Error("lines went to the terminal too")
	}
}

// TestLogCannotBeOpened: the mistake is said before anything starts.
func TestLogCannotBeOpened(t *testing.T) {
	a := New(t, "nolog")
	text := a.Sandbox("check", a.Policy(`application: {{NAME}}
logs: {file: "{{DIR}}/missing/all.log"}
components: { one: { {{SH}} "true"] } }
`))
	if !strings.Contains(text, "make the directory") {
		t.Errorf("check says\n%s", text)
	}
}
