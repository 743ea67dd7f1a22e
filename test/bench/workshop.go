package main

import (
	"context"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"time"
)

//go:embed raw
var rawSources embed.FS

// A workshop is the temporary directory with everything that the cases run: the raw programs, a tiny root
// with the programs under test, OCI bundles. It goes away with the suite.
type workshop struct {
	dir     string
	root    string // root directory of isolated programs
	filter  string // the 60-rule filter as the kernel takes it
	module  string // where Bulkhead's go.mod is, or ""
	cgroups *cgroups
	ctx     context.Context // of the whole run: building our own driver is part of it

	drivers map[string]bool // our own, that are built
}

// Programs are compiled from these sources; those of the second list run inside the compartments.
var (
	rawPrograms   = []string{"start", "cold", "worker", "handout", "notify", "filter", "serve", "connect"}
	underTest     = []string{"stamp", "echo", "http"}
	rootDirectory = []string{"bin", "dev", "etc", "home", "lib", "proc", "run", "tmp", "usr", "var"}
)

func openWorkshop(ctx context.Context) (*workshop, error) {
	// Not in /tmp: the compartments of sandbox wrap have a /tmp of their own, and firejail runs nothing from there.
	dir, err := os.MkdirTemp("/srv", "bench-")
	if err != nil {
		return nil, err
	}
	w := &workshop{dir: dir, root: filepath.Join(dir, "root"), filter: filepath.Join(dir, "filter.bpf"), module: moduleRoot(), ctx: ctx, drivers: map[string]bool{}}
	if err := w.furnish(ctx); err != nil {
		return nil, errors.Join(err, w.close())
	}
	return w, nil
}

func (w *workshop) furnish(ctx context.Context) error {
	// The compartments' users are others than root, and their way leads through this directory.
	if err := os.Chmod(w.dir, 0o755); err != nil {
		return err
	}
	for _, name := range rootDirectory {
		if err := os.MkdirAll(filepath.Join(w.root, name), 0o755); err != nil {
			return err
		}
	}
	if err := w.compile(ctx); err != nil {
		return err
	}
	if found := busybox.path(); found != "" {
		program, err := os.ReadFile(found)
		if err != nil {
			return err
		}
		if err := os.WriteFile(w.outside("true"), program, 0o755); err != nil {
			return err
		}
	}
	filter, err := exec.CommandContext(ctx, w.raw("filter")).Output()
	if err != nil {
		return fmt.Errorf("write the filter: %w", err)
	}
	if err := os.WriteFile(w.filter, filter, 0o644); err != nil {
		return err
	}
	w.cgroups, err = makeCgroups()
	return err
}

func (w *workshop) compile(ctx context.Context) error {
	for _, n := range []need{gcc, musl} {
		if n.path() == "" {
			return fmt.Errorf("%s is not installed: the raw programs cannot be compiled (-install brings package %s)", n.program, n.pkg)
		}
	}
	sources := w.path("raw")
	if err := os.CopyFS(w.dir, rawSources); err != nil {
		return err
	}
	source := func(name string) string { return filepath.Join(sources, name+".c") }
	run := func(compiler need, arguments ...string) error {
		arguments = append([]string{"-O2", "-static", "-Wall", "-Wextra", "-Werror", "-o"}, arguments...)
		if out, err := exec.CommandContext(ctx, compiler.path(), arguments...).CombinedOutput(); err != nil {
			return fmt.Errorf("%s %v: %w\n%s", compiler.program, arguments, err, out)
		}
		return nil
	}
	for _, name := range rawPrograms {
		if err := run(gcc, w.raw(name), source(name), source("measure"), source("walls")); err != nil {
			return err
		}
	}
	for _, name := range underTest {
		if err := run(musl, w.outside(name), source(name)); err != nil {
			return err
		}
	}
	return nil
}

func (w *workshop) close() error {
	var err error
	if w.cgroups != nil {
		err = w.cgroups.remove()
	}
	return errors.Join(err, os.RemoveAll(w.dir))
}

func (w *workshop) path(name string) string { return filepath.Join(w.dir, name) }

// raw is the path of a compiled raw program.
func (w *workshop) raw(program string) string { return w.path("run-" + program) }

// outside and inside are the paths of a program under test as the host and as its compartment see it.
func (w *workshop) outside(program string) string { return filepath.Join(w.root, inside(program)) }
func inside(program string) string                { return "/bin/" + program }

// measureStart is the command that measures the start of any program.
func (w *workshop) measureStart(flags []string, program ...string) []string {
	return join([]string{w.raw("start")}, flags, []string{"--"}, program)
}

// sandbox is Bulkhead's own binary, when it is there.
func (w *workshop) sandbox() (string, error) {
	if w.module == "" {
		return "", notBuilt("the suite runs outside Bulkhead's source tree and cannot find bin/sandbox")
	}
	path := filepath.Join(w.module, "bin", "sandbox")
	if _, err := os.Stat(path); err != nil {
		return "", notBuilt("bin/sandbox does not exist yet")
	}
	return path, nil
}

// workerDriver is test/bench/worker, which runs an application that asks for workers and prints samples as the raw
// programs do, and how it is called.
func (w *workshop) workerDriver() ([]string, error) {
	return w.driver("worker", "front")
}

// grantDriver is test/bench/grant, which does the same for an application that asks for a file.
func (w *workshop) grantDriver() ([]string, error) {
	driver, err := w.driver("grant", "asker")
	if err != nil {
		return nil, err
	}
	return append([]string{driver[0], w.outside("stamp")}, driver[1:]...), nil
}

// driver builds test/bench/NAME and the component in C that it runs, once.
func (w *workshop) driver(name, component string) ([]string, error) {
	sandbox, err := w.sandbox()
	if err != nil {
		return nil, err
	}
	driver, program := w.path("run-our-"+name), w.path("our-"+component)
	command := []string{driver, "-sandbox", sandbox, "-" + component, program}
	if w.drivers[name] {
		return command, nil
	}
	client := filepath.Join(w.module, "broker", "client", "c")
	source := filepath.Join(w.module, "test", "bench", name, component, component+".c")
	compile := exec.CommandContext(w.ctx, musl.path(), "-O2", "-static", "-Wall", "-Wextra", "-I", client, "-o", program, source)
	if out, err := compile.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("compile %s: %w\n%s", source, err, out)
	}
	build := exec.CommandContext(w.ctx, "go", "build", "-o", driver, "./test/bench/"+name)
	build.Dir = w.module
	if out, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build test/bench/%s: %w\n%s", name, err, out)
	}
	w.drivers[name] = true
	return command, nil
}

// unable is why a case cannot run on this machine, through no fault of its own.
type unable string

func (why unable) Error() string { return string(why) }

func notBuilt(why string) error { return unable("not built: skipped, because " + why) }

// moduleRoot looks upwards from the working directory for Bulkhead's go.mod.
func moduleRoot() string {
	dir, err := os.Getwd()
	if err != nil {
		return ""
	}
	for {
		text, err := os.ReadFile(filepath.Join(dir, "go.mod"))
		if err == nil && moduleLine.Match(text) {
			return dir
		}
		if dir == filepath.Dir(dir) {
			return ""
		}
		dir = filepath.Dir(dir)
	}
}

var moduleLine = regexp.MustCompile(`(?m)^module bulkhead$`)

// bundle writes an OCI bundle with the suite's root, limits and filter.
func (w *workshop) bundle(runtime, program string) (string, error) {
	dir := w.path("bundle-" + runtime + "-" + filepath.Base(program))
	if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return "", err
	}
	names, err := filterNames()
	if err != nil {
		return "", err
	}
	type object map[string]any
	nothing := []string{}
	config := object{
		"ociVersion": "1.0.2",
		"process": object{
			"args": []string{program}, "cwd": "/", "env": []string{"PATH=/bin"},
			"user":            object{"uid": 0, "gid": 0},
			"noNewPrivileges": true,
			"capabilities": object{
				"bounding": nothing, "effective": nothing, "permitted": nothing, "inheritable": nothing, "ambient": nothing,
			},
		},
		"root":     object{"path": w.root, "readonly": true},
		"hostname": "bench",
		"mounts": []object{
			{"destination": "/proc", "type": "proc", "source": "proc"},
			{"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": []string{"nosuid", "nodev", "size=16m"}},
			// Both runtimes make device nodes, which must not land in the root that all cases share.
			{"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": []string{"nosuid", "mode=755", "size=64k"}},
		},
		"linux": object{
			"cgroupsPath": "/" + w.cgroups.name + "/" + runtime,
			"resources": object{
				"devices": []object{{"allow": false, "access": "rwm"}},
				"memory":  object{"limit": memoryLimit},
				"pids":    object{"limit": pidsLimit},
				"cpu":     object{"shares": cpuShares},
			},
			"namespaces": []object{
				{"type": "pid"}, {"type": "mount"}, {"type": "ipc"}, {"type": "uts"}, {"type": "network"}, {"type": "cgroup"},
			},
			"seccomp": object{
				"defaultAction": "SCMP_ACT_ERRNO",
				"architectures": []string{"SCMP_ARCH_X86_64"},
				"syscalls":      []object{{"names": names, "action": "SCMP_ACT_ALLOW"}},
			},
		},
	}
	text, err := json.Marshal(config)
	if err != nil {
		return "", err
	}
	return dir, os.WriteFile(filepath.Join(dir, "config.json"), text, 0o644)
}

// filterNames are the system calls of the filter that the raw programs compile in.
func filterNames() ([]string, error) {
	text, err := rawSources.ReadFile("raw/calls.def")
	if err != nil {
		return nil, err
	}
	var names []string
	for _, call := range regexp.MustCompile(`CALL\((\w+)\)`).FindAllSubmatch(text, -1) {
		names = append(names, string(call[1]))
	}
	return names, nil
}

// xinetdSettings writes a configuration that starts the echo program for each connection, without the limits
// that would refuse a benchmark.
func (w *workshop) xinetdSettings(port, program string) (string, error) {
	settings := fmt.Sprintf(`service bench
{
	type         = UNLISTED
	port         = %s
	bind         = 127.0.0.1
	socket_type  = stream
	protocol     = tcp
	wait         = no
	user         = root
	server       = %s
	instances    = UNLIMITED
	per_source   = UNLIMITED
	cps          = 100000 1
}
`, port, w.outside(program))
	path := w.path("xinetd-" + port + ".conf")
	return path, os.WriteFile(path, []byte(settings), 0o644)
}

// connectionPolicy writes a policy for a program with a compartment for each connection.
func (w *workshop) connectionPolicy(port, program string, ahead int) (string, error) {
	policy := fmt.Sprintf(`application: bench-%d-%s-%s
grants:
  echo: {listen: "tcp:127.0.0.1:%s"}
components:
  echo:
    command: [%s]
    start: per-connection
    grants: [echo: {number: 0}]
    files: {proc: none}
    limits: {memory: 64M, processes: 1}
    workers: {maximum: 16, ready-ahead: %d}
`, os.Getpid(), program, port, port, w.outside(program), ahead)
	path := w.path(fmt.Sprintf("connections-%s-%s.yaml", program, port))
	return path, os.WriteFile(path, []byte(policy), 0o644)
}

// freePort is a port of loopback that nobody uses at the moment. It is none that the kernel gives to clients
// (32768 and above): one that an earlier connection has left could not be bound for a minute.
func freePort() (string, error) {
	var failed error
	for range 100 {
		port := strconv.Itoa(20000 + rand.IntN(12000))
		listener, err := net.Listen("tcp4", "127.0.0.1:"+port)
		if err == nil {
			return port, listener.Close()
		}
		failed = err
	}
	return "", failed
}

// patience bounds each batch: a program that hangs must not hold the suite.
const (
	patience       = 30 * time.Second
	seldomPatience = 2 * time.Minute // of what takes seconds on a machine that has nothing else to do
)
