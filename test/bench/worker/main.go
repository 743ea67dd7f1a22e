// Command worker measures how long Bulkhead takes to start a worker of a component that is up. It runs an
// application of two components: a front that asks, again and again, and the program under test.
//
//	worker N -sandbox FILE -front FILE [-first] [-ready-ahead] [-flight K] [-one-core] [-processor] [-default-limits] -- PROGRAM ARGUMENT...
//
// It prints N samples in nanoseconds, one a line. They end when the front was told of the worker's end, or with
// -first at the program's first instruction, which PROGRAM (ending in "stamp") prints. With -ready-ahead workers wait
// in a pool, and the front pauses between two requests so that there is always one. With -flight K workers run
// at once and a sample is the whole time divided by N. With -one-core everything stays on one core. With -processor every
// sample is the processor time of everybody who takes part, broker and front too, divided by N.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"text/template"
	"time"

	"golang.org/x/sys/unix"

	"bulkhead/test/bench/core"
)

type settings struct {
	Samples               int
	Sandbox, Front        string
	First, Ready, OneCore bool
	Default, Processor    bool
	Flight                int
	Program               []string
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "worker:", err)
		os.Exit(1)
	}
}

func run() error {
	s, err := parse(os.Args)
	if err != nil {
		return err
	}
	if s.OneCore {
		if err := core.Stay(); err != nil {
			return err
		}
	}
	dir, err := os.MkdirTemp("/var/tmp", "bench-worker-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	policy := filepath.Join(dir, "policy.yaml")
	if err := s.writePolicy(policy); err != nil {
		return err
	}
	if s.Processor {
		return s.account(policy)
	}
	command := exec.Command(s.Sandbox, "run", policy)
	command.Stdout, command.Stderr = os.Stdout, os.Stderr
	// Whoever ends this program must not leave an application behind. The signal comes when the thread ends, not
	// the process.
	runtime.LockOSThread()
	command.SysProcAttr = &unix.SysProcAttr{Pdeathsig: unix.SIGTERM}
	return command.Run()
}

func parse(arguments []string) (*settings, error) {
	if len(arguments) < 2 {
		return nil, errors.New("the first argument is the number of samples")
	}
	n, err := strconv.Atoi(arguments[1])
	if err != nil || n < 1 {
		return nil, fmt.Errorf("the first argument is the number of samples, not %q", arguments[1])
	}
	s := &settings{Samples: n}
	f := flag.NewFlagSet("worker", flag.ContinueOnError)
	f.StringVar(&s.Sandbox, "sandbox", "", "bin/sandbox")
	f.StringVar(&s.Front, "front", "", "the compiled front/front.c")
	f.BoolVar(&s.First, "first", false, "until the program's first instruction")
	f.BoolVar(&s.Ready, "ready-ahead", false, "from a pool")
	f.BoolVar(&s.OneCore, "one-core", false, "everything on one core")
	f.BoolVar(&s.Processor, "processor", false, "processor time instead of time")
	f.BoolVar(&s.Default, "default-limits", false, "limits in the controllers that every policy has, memory and pids, and not in cpu")
	f.IntVar(&s.Flight, "flight", 1, "workers at once")
	if err := f.Parse(arguments[2:]); err != nil {
		return nil, err
	}
	s.Program = f.Args()
	if s.Sandbox == "" || s.Front == "" || len(s.Program) == 0 {
		return nil, errors.New("-sandbox, -front and the program are needed")
	}
	return s, nil
}

// The walls are those of the raw limit, raw/worker.c, and the cgroup leaf has limits in the same three
// controllers unless -default-limits is given. The temporary directory is not /tmp, because the program lies there.
var policy = template.Must(template.New("policy").Funcs(template.FuncMap{"quote": strconv.Quote}).Parse(`
application: bench-{{.Pid}}
components:
  front:
    command: [{{quote .Front}}, "{{.Starts}}", "{{.Flight}}", "{{.Pause}}", "{{.Stamp}}", "{{.Rest}}"]
    may-start: [under-test]
    limits: {memory: 256M}
    output: inherit
    restart: never
    essential: true
  under-test:
    command: [{{range $i, $word := .Program}}{{if $i}}, {{end}}{{quote $word}}{{end}}]
    start: per-request
    syscalls: [setuid, setgid] # busybox gives up rights that it does not have
    files: {proc: own, temporary: [{path: /scratch, size: 16M}]}
    limits: {memory: 64M, processes: 15{{if not .Default}}, cpu-share: 50{{end}}}
    workers: {maximum: {{.Maximum}}, queue: 1, ready-ahead: {{.Ahead}}}
`))

func (s *settings) writePolicy(path string) error {
	var text strings.Builder
	values := struct {
		*settings
		Pid, Starts, Pause, Stamp, Rest, Ahead, Maximum int
	}{settings: s, Pid: os.Getpid(), Starts: s.starts(), Maximum: 2 * s.Flight}
	if s.First {
		values.Stamp = 1
	}
	if s.Processor {
		values.Rest = int(2 * rest / time.Microsecond)
	}
	if s.Ready {
		values.Ahead, values.Pause = 1, 5000
	}
	if err := policy.Execute(&text, values); err != nil {
		return err
	}
	return os.WriteFile(path, []byte(text.String()), 0o644)
}
