// Command grant measures how long a worker waits for a descriptor that it asks the monitor for. It runs an application
// whose components ask, in C, for one granted file.
//
//	grant N FILE -sandbox FILE -asker FILE [-clients K] [-transparent] [-one-core]
//
// It prints N samples in nanoseconds, one a line, each from the request until the descriptor is there and closed. With
// -clients K, as many components ask at once, N times together, and a sample is the whole time divided by N. With
// -transparent they open the file by its path instead of asking for it. With -one-core everything stays on one core.
package main

import (
	"bufio"
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
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
	Samples        int
	File           string
	Sandbox, Asker string
	Clients        int
	Transparent    bool
	OneCore        bool
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "grant:", err)
		os.Exit(1)
	}
}

func run() error {
	s, err := parse(os.Args)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("/var/tmp", "bench-grant-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "policy.yaml")
	if err := s.writePolicy(path); err != nil {
		return err
	}
	var stamps bytes.Buffer
	command := exec.Command(s.Sandbox, "run", path)
	command.Stdout, command.Stderr = os.Stdout, os.Stderr
	if s.Clients > 1 {
		command.Stdout = &stamps
	}
	// Whoever ends this program must not leave an application behind. The signal comes when the thread ends, not
	// the process.
	runtime.LockOSThread()
	if s.OneCore {
		if err := core.Stay(); err != nil {
			return err
		}
	}
	command.SysProcAttr = &unix.SysProcAttr{Pdeathsig: unix.SIGTERM}
	if err := command.Run(); err != nil || s.Clients == 1 {
		return err
	}
	return s.together(&stamps)
}

func parse(arguments []string) (*settings, error) {
	if len(arguments) < 3 {
		return nil, errors.New("the first two arguments are the number of samples and the file")
	}
	n, err := strconv.Atoi(arguments[1])
	if err != nil || n < 1 {
		return nil, fmt.Errorf("the first argument is the number of samples, not %q", arguments[1])
	}
	s := &settings{Samples: n, File: arguments[2]}
	f := flag.NewFlagSet("grant", flag.ContinueOnError)
	f.StringVar(&s.Sandbox, "sandbox", "", "bin/sandbox")
	f.StringVar(&s.Asker, "asker", "", "the compiled asker/asker.c")
	f.IntVar(&s.Clients, "clients", 1, "components that ask at once")
	f.BoolVar(&s.Transparent, "transparent", false, "open the file by its path")
	f.BoolVar(&s.OneCore, "one-core", false, "everything on one core")
	if err := f.Parse(arguments[3:]); err != nil {
		return nil, err
	}
	if s.Sandbox == "" || s.Asker == "" || s.Clients < 1 {
		return nil, errors.New("-sandbox and -asker are needed, and -clients is at least 1")
	}
	return s, nil
}

// startUp is how long all components may take until all of them wait for the common start.
const startUp = 1500 * time.Millisecond

// The application ends with its last component.
var policy = template.Must(template.New("policy").Funcs(template.FuncMap{"quote": strconv.Quote}).Parse(`
application: bench-grant-{{.Pid}}
grants:
  file: {file: {{quote .File}}}
components:
{{- range .Names}}
  {{.}}:
    command: [{{quote $.Asker}}, "{{$.Each}}", "{{$.Start}}"{{if $.Transparent}}, {{quote $.File}}{{end}}]
    grants: [file: {at-start: false}]
    transparent: {{$.Transparent}}
    output: inherit
    restart: never
{{- end}}
`))

// each is how often one client asks.
func (s *settings) each() int { return max(s.Samples/s.Clients, 1) }

func (s *settings) writePolicy(path string) error {
	values := struct {
		*settings
		Pid, Each int
		Start     int64
		Names     []string
	}{settings: s, Pid: os.Getpid(), Each: s.each()}
	if s.Clients > 1 {
		var t unix.Timespec
		if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &t); err != nil {
			return err
		}
		values.Start = t.Nano() + int64(startUp)
	}
	for i := range s.Clients {
		values.Names = append(values.Names, fmt.Sprintf("asker-%d", i+1))
	}
	var text strings.Builder
	if err := policy.Execute(&text, values); err != nil {
		return err
	}
	return os.WriteFile(path, []byte(text.String()), 0o644)
}

// together prints what each descriptor took when all clients asked: from the first one's begin to the last one's end.
func (s *settings) together(stamps io.Reader) error {
	first, last, lines := int64(math.MaxInt64), int64(0), 0
	for scan := bufio.NewScanner(stamps); scan.Scan(); lines++ {
		var begun, ended int64
		if _, err := fmt.Sscanf(scan.Text(), "%d %d", &begun, &ended); err != nil {
			return fmt.Errorf("an asker printed %q where its begin and its end were due", scan.Text())
		}
		first, last = min(first, begun), max(last, ended)
	}
	if lines != s.Clients {
		return fmt.Errorf("%d of %d askers came to their end", lines, s.Clients)
	}
	for range s.Samples {
		fmt.Println((last - first) / int64(s.each()*s.Clients))
	}
	return nil
}
