// Command scale starts applications of more and more idle components and prints for each how long it took until
// all were up, what memory Bulkhead's own processes take, and how long the monitor takes to start a worker.
//
//	go run ./test/bench/scale [-counts 1,10,100,300,1000] [-sandbox bin/sandbox] [-samples 200]
//
// Memory is the proportional set size (proc_pid_smaps(5)): what processes share is divided among them. The
// latency is measured beside that of an application of one idle component at the same time, so that what else
// the machine does falls on both.
package main

import (
	"bufio"
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

func main() {
	counts := flag.String("counts", "1,10,100,300,1000", "numbers of idle components")
	sandbox := flag.String("sandbox", "bin/sandbox", "bin/sandbox")
	samples := flag.Int("samples", 200, "workers to start for each latency")
	flag.Parse()
	if err := run(*counts, *sandbox, *samples); err != nil {
		fmt.Fprintln(os.Stderr, "scale:", err)
		os.Exit(1)
	}
}

// patience bounds each start, measurement and stop.
const patience = 3 * time.Minute

func run(counts, sandbox string, samples int) error {
	if os.Geteuid() != 0 {
		return errors.New("cgroups and namespaces take root")
	}
	dir, err := os.MkdirTemp("/var/tmp", "bench-scale-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o755); err != nil {
		return err
	}
	front := filepath.Join(dir, "front")
	compile := exec.Command("musl-gcc", "-O2", "-static", "-I", "broker/client/c", "-o", front, "test/bench/worker/front/front.c")
	if out, err := compile.CombinedOutput(); err != nil {
		return fmt.Errorf("compile the front: %w\n%s", err, out)
	}
	fmt.Printf("%6s %10s %10s %14s %14s %10s %10s %7s\n", "idle", "up", "down", "inits, each", "broker", "worker", "beside 1", "ratio")
	for text := range strings.SplitSeq(counts, ",") {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 {
			return fmt.Errorf("-counts: %q is no number of components", text)
		}
		if err := measure(dir, sandbox, front, n, samples); err != nil {
			return fmt.Errorf("%d components: %w", n, err)
		}
	}
	return nil
}

func measure(dir, sandbox, front string, n, samples int) error {
	many := &application{name: fmt.Sprintf("bench-scale-%d", n), sandbox: sandbox, front: front, idle: n, samples: samples}
	one := &application{name: "bench-scale-one", sandbox: sandbox, front: front, idle: 1, samples: samples}
	begun := time.Now()
	if err := many.start(dir); err != nil {
		return err
	}
	defer many.stop()
	up, err := many.up(begun)
	if err != nil {
		return err
	}
	if err := one.start(dir); err != nil {
		return err
	}
	defer one.stop()
	beside, err := one.latency()
	if err != nil {
		return err
	}
	latency, err := many.latency()
	if err != nil {
		return err
	}
	// Beside the idle ones there are the front, the program under test and the supervisor.
	inits, broker := many.memory()
	stopping := time.Now()
	if err := many.stop(); err != nil {
		return err
	}
	fmt.Printf("%6d %8.2f s %8.2f s %10d KiB %10d KiB %7.2f ms %7.2f ms %7.2f\n", n, up.Seconds(), time.Since(stopping).Seconds(),
		inits/(n+3), broker, latency.Seconds()*1e3, beside.Seconds()*1e3, latency.Seconds()/beside.Seconds())
	return nil
}

// application is a running one: idle components, and a front that starts workers.
type application struct {
	name, sandbox, front string
	idle, samples        int

	command *exec.Cmd
	stopped bool
	ended   chan error
	mutex   sync.Mutex
	log     bytes.Buffer // standard error, guarded by mutex
	printed bytes.Buffer // standard output, complete when the front has closed it
	output  chan error
}

func (a *application) start(dir string) error {
	var text strings.Builder
	fmt.Fprintf(&text, "application: %s\ncomponents:\n", a.name)
	var names []string
	for i := range a.idle {
		name := fmt.Sprintf("idle-%d", i)
		names = append(names, name)
		fmt.Fprintf(&text, "  %s: {command: [/bin/busybox, sleep, \"100000\"], files: {proc: none}}\n", name)
	}
	fmt.Fprintf(&text, "  front: {command: [%s, \"%d\", \"1\", \"20000\", \"0\", \"0\"], may-start: [under-test], after: [%s], limits: {memory: 256M}, output: inherit, restart: never}\n",
		a.front, a.samples, strings.Join(names, ", "))
	text.WriteString("  under-test: {command: [/bin/busybox, \"true\"], syscalls: [setuid, setgid], start: per-request, workers: {maximum: 2, queue: 1}, limits: {memory: 64M, processes: 15}}\n")
	policy := filepath.Join(dir, a.name+".yaml")
	if err := os.WriteFile(policy, []byte(text.String()), 0o644); err != nil {
		return err
	}
	a.command = exec.Command(a.sandbox, "run", policy)
	out, err := a.command.StdoutPipe()
	if err != nil {
		return err
	}
	a.command.Stderr = writer(func(b []byte) {
		a.mutex.Lock()
		defer a.mutex.Unlock()
		a.log.Write(b)
	})
	if err := a.command.Start(); err != nil {
		return err
	}
	a.output, a.ended = make(chan error, 1), make(chan error, 1)
	go func() {
		// The pipe stays open as long as the application runs: the samples are counted.
		lines := bufio.NewScanner(out)
		for n := 0; n < a.samples && lines.Scan(); n++ {
			a.printed.WriteString(lines.Text() + "\n")
		}
		a.output <- lines.Err()
		for lines.Scan() {
		}
		a.ended <- a.command.Wait()
	}()
	return nil
}

type writer func(b []byte)

func (w writer) Write(b []byte) (int, error) { w(b); return len(b), nil }

func (a *application) said() string {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	return a.log.String()
}

// up waits until the supervisor says that everything is.
func (a *application) up(begun time.Time) (time.Duration, error) {
	for time.Since(begun) < patience {
		if strings.Contains(a.said(), "up after") {
			return time.Since(begun), nil
		}
		time.Sleep(10 * time.Millisecond)
	}
	return 0, fmt.Errorf("not up after %v: %s", patience, a.said())
}

// latency is the median of the front's samples.
func (a *application) latency() (time.Duration, error) {
	select {
	case err := <-a.output:
		if err != nil {
			return 0, err
		}
	case <-time.After(patience):
		return 0, fmt.Errorf("the front did not finish in %v", patience)
	}
	var all []time.Duration
	for line := range strings.Lines(a.printed.String()) {
		ns, err := strconv.ParseInt(strings.TrimSpace(line), 10, 64)
		if err != nil {
			return 0, fmt.Errorf("the front printed %q", line)
		}
		all = append(all, time.Duration(ns))
	}
	if len(all) != a.samples {
		return 0, fmt.Errorf("the front printed %d samples, not %d: %s", len(all), a.samples, a.said())
	}
	slices.Sort(all)
	return all[len(all)/2], nil
}

// memory is the proportional set size, in KiB, of all inits and of the broker.
func (a *application) memory() (inits, broker int) {
	for _, pid := range descendants(a.command.Process.Pid) {
		target, _ := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
		switch filepath.Base(target) {
		case "init":
			inits += size(pid)
		case "monitor", "supervisor", "sweeper", "keeper":
			broker += size(pid)
		}
	}
	return inits, broker
}

func (a *application) stop() error {
	if a.stopped {
		return nil
	}
	a.stopped = true
	if err := a.command.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	select {
	case err := <-a.ended:
		return err
	case <-time.After(patience):
		a.command.Process.Kill() // the sweeper removes the rest
		return fmt.Errorf("not down after %v", patience)
	}
}

// descendants lists a process and all below it.
func descendants(root int) []int {
	children := map[int][]int{}
	entries, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range entries {
		b, err := os.ReadFile(path)
		if err != nil {
			continue // gone meanwhile
		}
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		fields := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
		parent, _ := strconv.Atoi(fields[1])
		children[parent] = append(children[parent], pid)
	}
	all := []int{root}
	for i := 0; i < len(all); i++ {
		all = append(all, children[all[i]]...)
	}
	return all
}

func size(pid int) int {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	for line := range strings.Lines(string(b)) {
		if after, ok := strings.CutPrefix(line, "Pss:"); ok {
			kib, _ := strconv.Atoi(strings.Fields(after)[0])
			return kib
		}
	}
	return 0
}
