package monitor

import (
	"bytes"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"bulkhead/policy/plan"
	"bulkhead/sandbox/worker"
)

// caller is a process that executed what another component replaces, as the
// kernel knows it. The process can say nothing of it itself, so nothing has to
// be believed: what it could lie about is its own memory, which is where its
// arguments and its environment come from anyway.
type caller struct {
	host    int   // its pid on the host
	pidfd   int   // -1 when it is not needed any more
	numbers []int // of its descriptors, before it had the monitor's socket
	process worker.Process
}

func (c *caller) close() {
	if c != nil && c.pidfd >= 0 {
		unix.Close(c.pidfd)
		c.pidfd = -1
	}
}

func (c *caller) signal(s unix.Signal) {
	if c.pidfd >= 0 {
		unix.PidfdSendSignal(c.pidfd, s, nil, 0)
	}
}

// stopped says whether the process stands still by a signal (proc(5), stat).
func (c *caller) stopped() bool {
	b, err := worker.ReadBounded("/proc/"+itoa(c.host)+"/stat", 1<<12)
	at := bytes.LastIndexByte(b, ')') // behind the name, which may hold any
	return err == nil && at >= 0 && len(b) > at+2 && b[at+2] == 'T' && unix.PidfdSendSignal(c.pidfd, 0, nil, 0) == nil
}

// inspectCaller reads what execve(2) keeps of a process. It looks at nothing
// that could make the monitor wait. The caller stands still in its call; the
// pid is its own if the call is still there afterwards.
func inspectCaller(tid int) (*caller, error) {
	host := threadGroup(tid)
	c := &caller{host: host, pidfd: -1}
	var err error
	if c.pidfd, err = unix.PidfdOpen(host, 0); err != nil {
		return c, err
	}
	status, err := worker.ReadBounded("/proc/"+itoa(host)+"/status", 1<<16)
	if err != nil {
		return c, err
	}
	for line := range strings.Lines(string(status)) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		value = strings.TrimSpace(value)
		switch key {
		case "Umask":
			umask, _ := strconv.ParseUint(value, 8, 16)
			c.process.Umask = uint32(umask) & 0o777
		case "NSpid":
			pid, _ := strconv.ParseUint(value[strings.LastIndexAny(value, "\t ")+1:], 10, 31)
			c.process.Pid = uint32(pid)
		}
	}
	for i := range c.process.Limits {
		if err := unix.Prlimit(host, i, nil, &c.process.Limits[i]); err != nil {
			return c, err
		}
	}
	// 20 to -19: 1 to 40 (getpriority(2)).
	if priority, err := unix.Getpriority(unix.PRIO_PROCESS, host); err == nil {
		c.process.Nice = int32(20 - priority)
	}
	// Not its fd: with an id of its own it is an ordinary user's monitor's to look
	// into by ptrace(2) only, and that opens this directory (proc_pid_fdinfo(5)).
	c.numbers, err = descriptorNumbers("/proc/" + itoa(host) + "/fdinfo")
	return c, err
}

// descriptorNumbers lists a directory of descriptors, up to mostPassed.
func descriptorNumbers(directory string) ([]int, error) {
	fd, err := unix.Open(directory, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	var numbers []int
	buffer := make([]byte, 8192)
	for {
		n, err := unix.ReadDirent(fd, buffer)
		if err != nil || n == 0 {
			return numbers, err
		}
		_, _, names := unix.ParseDirent(buffer[:n], -1, nil)
		for _, name := range names {
			if number, err := strconv.Atoi(name); err == nil {
				numbers = append(numbers, number)
			}
		}
		if len(numbers) > mostPassed {
			return nil, errTooMany
		}
	}
}

// given is what a caller brought to its exec.
type given struct {
	arguments, environment []string
	directory              string
	descriptors            []descriptor
}

type descriptor struct {
	fd, number int
	inode      uint64
	kind       plan.Descriptors // 0: of none that may pass
	named      bool             // a directory that the plan names
	what       string           // for people: the kind
	path       string           // of a directory
}

func (g *given) close() {
	if g == nil {
		return
	}
	for _, d := range g.descriptors {
		unix.Close(d.fd)
	}
	g.descriptors = nil
}

// mostText bounds arguments and environment, each. The kernel's own bound is
// a quarter of the limit on the stack, 2 MiB for both by default.
const mostText = 1 << 20

// read fetches the arguments, the environment, the working directory and the
// descriptors of a caller that waits on its socket.
func (c *caller) read(directories []string) (*given, error) {
	g := &given{}
	memory, err := memoryDevice()
	if err != nil {
		return g, err
	}
	of := "/proc/" + itoa(c.host) + "/"
	arguments, err := worker.ReadBounded(of+"cmdline", mostText)
	if err != nil {
		return g, err
	}
	environment, err := worker.Environment(c.host, mostText)
	if err != nil {
		return g, err
	}
	g.arguments, g.environment = texts(arguments), texts(environment)
	if g.directory, err = unixReadlink(of + "cwd"); err != nil {
		return g, err
	}
	for _, number := range c.numbers {
		fd, err := unix.PidfdGetfd(c.pidfd, number, 0)
		if err == unix.EBADF {
			continue // closed meanwhile, by somebody who shares the table
		}
		if err != nil {
			return g, err
		}
		g.descriptors = append(g.descriptors, examine(fd, number, directories, memory))
	}
	// All of it was the caller's if the caller still lives: its pid is then
	// nobody else's yet.
	if unix.PidfdSendSignal(c.pidfd, 0, nil, 0) != nil {
		return g, unix.ESRCH
	}
	return g, nil
}

// texts splits strings that each end with a zero byte.
func texts(b []byte) []string {
	var all []string
	for len(b) > 0 {
		text, rest, _ := bytes.Cut(b, []byte{0})
		all = append(all, string(text))
		b = rest
	}
	return all
}

func unixReadlink(name string) (string, error) {
	var b [unix.PathMax]byte
	n, err := unix.Readlink(name, b[:])
	if err != nil {
		return "", err
	}
	return string(b[:n]), nil
}
