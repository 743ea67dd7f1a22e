package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

const usage = `usage: test/vm/run [FLAGS] -- COMMAND [ARGUMENTS]
Boots a virtual machine, runs COMMAND in it and ends with its exit status.

  --kernel NAME            6.1 (default) or 6.12
  --memory SIZE            e.g. 512M, 1G (default)
  --cpus N                 default 2
  --timeout DURATION       boot and command together, e.g. 90 or 2m (default 120 s)
  --user                   run as uid 1000 with a delegated cgroup instead of as root
  --systemd                boot the host's systemd as pid 1 and run as a service of it
  --file HOST=VM           put a file in the machine (repeatable, as the next four)
  --elf HOST=VM            the same with its interpreter and libraries
  --tree HOST=VM           put a directory in the machine
  --package NAME           put a Debian package that is installed here in the machine
  --env NAME=VALUE         set an environment variable of COMMAND
  --dir DIR                start COMMAND there instead of in its home directory
  --modules A,B            load kernel modules before COMMAND starts
  --log FILE               where the kernel log goes (default .cache/vm/kernel.log)
Exit status: COMMAND's own; 128+n killed by signal n; 124 time-out; 125 the lane itself
failed; 126 COMMAND cannot be executed; 127 COMMAND not found.`

type options struct {
	cache   string // directory that outlives runs: kernels, lock, kernel log
	kernel  string
	memory  int // MiB
	cpus    int
	timeout time.Duration
	log     string
	files   []handIn
	job     job
	modules []string
}

// A handIn is one file, directory or package that is put in the machine.
type handIn struct {
	kind     string // file, elf, tree or package, which has only a host
	host, vm string
}

func parseOptions(args []string) (*options, error) {
	o := &options{cache: os.Getenv("BULKHEAD_VM_CACHE"), kernel: "6.1", memory: 1024, cpus: 2, timeout: 2 * time.Minute}
	if o.cache == "" {
		return nil, errors.New("BULKHEAD_VM_CACHE is not set: start the lane with test/vm/run")
	}
	o.log = filepath.Join(o.cache, "kernel.log")

	flags := flag.NewFlagSet("vm", flag.ContinueOnError)
	flags.Usage = func() { fmt.Fprintln(os.Stderr, usage) }
	flags.StringVar(&o.kernel, "kernel", o.kernel, "")
	flags.IntVar(&o.cpus, "cpus", o.cpus, "")
	flags.StringVar(&o.log, "log", o.log, "")
	flags.StringVar(&o.job.Dir, "dir", "", "")
	flags.BoolVar(&o.job.User, "user", false, "")
	flags.BoolVar(&o.job.Systemd, "systemd", false, "")
	flags.Func("memory", "", func(v string) (err error) { o.memory, err = parseMemory(v); return })
	flags.Func("timeout", "", func(v string) (err error) { o.timeout, err = parseTimeout(v); return })
	for _, kind := range []string{"file", "elf", "tree"} {
		flags.Func(kind, "", func(v string) error {
			host, vm, ok := strings.Cut(v, "=")
			if !ok || host == "" || !path.IsAbs(vm) {
				return errors.New("want HOSTPATH=VMPATH with an absolute VMPATH")
			}
			o.files = append(o.files, handIn{kind, host, vm})
			return nil
		})
	}
	flags.Func("package", "", func(v string) error {
		o.files = append(o.files, handIn{"package", v, ""})
		return nil
	})
	flags.Func("env", "", func(v string) error {
		if !strings.Contains(v, "=") {
			return errors.New("want NAME=VALUE")
		}
		o.job.Env = append(o.job.Env, v)
		return nil
	})
	flags.Func("modules", "", func(v string) error {
		o.modules = append(o.modules, strings.Split(v, ",")...)
		return nil
	})
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			os.Exit(0)
		}
		return nil, errors.New("wrong command line, see above")
	}
	if o.job.User && o.job.Systemd {
		return nil, errors.New("--systemd is for root: there is no user's systemd in the machine")
	}
	o.job.Command = flags.Args()
	// Without the -- a misspelt flag after the command's name would silently become its argument.
	if len(o.job.Command) == 0 || !slices.Contains(args, "--") {
		return nil, errors.New("no command: it stands after --\n" + usage)
	}
	return o, nil
}

func parseMemory(v string) (int, error) {
	var n int
	var unit string
	if _, err := fmt.Sscanf(v, "%d%s", &n, &unit); err != nil || n <= 0 {
		return 0, errors.New("want a size such as 512M or 1G")
	}
	switch unit {
	case "M":
		return n, nil
	case "G":
		return n * 1024, nil
	}
	return 0, errors.New("want a size such as 512M or 1G")
}

func parseTimeout(v string) (time.Duration, error) {
	if _, err := strconv.Atoi(v); err == nil {
		v += "s"
	}
	d, err := time.ParseDuration(v)
	if err != nil || d <= 0 {
		return 0, errors.New("want seconds or a duration such as 90 or 2m")
	}
	return d, nil
}
