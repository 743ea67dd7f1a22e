package supervisor

import (
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"time"

	"golang.org/x/sys/unix"

	"bulkhead/policy/plan"
)

// What the monitor leaves open for the supervisor.
const (
	fdLines   = 1
	fdNotes   = 2
	fdMonitor = 3 // SOCK_SEQPACKET
	fdControl = 4 // a listening socket for those who may do everything
	fdPlan    = 5 // a sealed memfd
	fdStatus  = 6 // a listening socket for those who may only look
	fdMetrics = 7 // a granted listening socket, where the plan has one for metrics
)

// upAndQuiet is when an application is up and its supervisor has little to do.
const upAndQuiet = 5 * time.Second

// Run is the whole process: it supervises the application whose plan and
// sockets it has inherited, and returns its own exit status.
func Run() int { return process(run) }

// process is what supervisor and successor have in common as processes.
func process(run func() (int, error)) int {
	// The monitor hears the terminal's signals and passes on what they mean.
	// A reader of the output that goes away must not end the application.
	signal.Ignore(unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGPIPE)
	// The heap is a few hundred kilobytes: without a smaller step the
	// collector would let it grow to 4 MiB before it runs for the first time.
	debug.SetGCPercent(50)
	// What it has in memory, output and environments, is in no core dump, and
	// no other process of its user's looks at it.
	err := os.NewSyscallError("become undumpable", unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0))
	status := 125
	if err == nil {
		status, err = run()
	}
	if err != nil {
		file(fdNotes).Write([]byte("sandbox: supervisor: " + err.Error() + "\n"))
	}
	return status
}

// inherit makes a supervisor of what the monitor left open.
func inherit() (*Supervisor, *link, error) {
	p, err := plan.Load(fdPlan, forgetWalls)
	if err != nil {
		return nil, nil, err
	}
	l, err := newLink(fdMonitor, len(p.Components))
	if err != nil {
		return nil, nil, err
	}
	names := make([]string, len(p.Components))
	for i := range p.Components {
		names[i] = p.Components[i].Name
	}
	o := newOutput(file(fdLines), file(fdNotes), names)
	_, err = unix.IoctlGetTermios(fdLines, unix.TCGETS)
	o.terminal = err == nil
	o.colour = o.terminal && os.Getenv("NO_COLOR") == ""
	s := newSupervisor(p, l, o)
	s.planFD = fdPlan
	return s, l, nil
}

func run() (int, error) {
	s, l, err := inherit()
	if err != nil {
		return statusBroken, err
	}
	// Reading the plan took several times what is left of it.
	time.AfterFunc(upAndQuiet, debug.FreeOSMemory)
	control, err := newServer(fdControl, true, s)
	if err != nil {
		return statusBroken, err
	}
	look, err := newServer(fdStatus, false, s)
	if err != nil {
		return statusBroken, err
	}
	servers := []*server{control, look}
	if s.plan.Control.Metrics != "" {
		metrics, err := newServer(fdMetrics, false, s)
		if err != nil {
			return statusBroken, err
		}
		metrics.metrics = true
		servers = append(servers, metrics)
	}
	if err := l.begin(); err == io.EOF {
		return statusBroken, nil
	} else if err != nil {
		return statusBroken, err
	}
	return s.serve(l, servers...)
}

// serve runs everything round loop.
func (s *Supervisor) serve(l *link, servers ...*server) (int, error) {
	s.speak(l)
	for _, v := range servers {
		go v.serve()
	}
	status, err := s.loop()
	l.close()
	for _, v := range servers {
		v.file.Close()
	}
	return status, err
}

// speak starts whoever speaks with the monitor.
func (s *Supervisor) speak(l *link) {
	go func() { s.post(monitorGone{s.receive(l)}) }()
	go func() {
		if err := l.send(); err != nil {
			s.post(monitorGone{err})
		}
	}()
}

func (s *Supervisor) receive(l *link) error {
	return fmt.Errorf("the monitor is gone: %w", l.receive(s.post))
}

// forgetWalls takes from a component what only its walls are made of: of the memory
// that a component costs the supervisor it would be nine tenths.
func forgetWalls(c *plan.Component) {
	c.Root, c.Syscalls = nil, plan.Syscalls{}
	c.Arguments, c.Environment, c.Optional, c.Capabilities = nil, nil, nil, nil
	c.Hosts, c.User = plan.HostIDs{}, plan.User{}
}

// file is an inherited descriptor that is shared with other processes. It is
// written with plain write(2): making it nonblocking would make it so for
// the launcher's shell too.
type file int

// Write writes all of b. An error, such as that of a reader that has gone
// away, is the last that is heard of it.
func (f file) Write(b []byte) (int, error) {
	written := 0
	for written < len(b) {
		n, err := unix.Write(int(f), b[written:])
		switch err {
		case nil:
			written += n
		case unix.EINTR:
		case unix.EAGAIN: // somebody else made it nonblocking
			p := []unix.PollFd{{Fd: int32(f), Events: unix.POLLOUT}}
			if _, err := unix.Poll(p, -1); err != nil && err != unix.EINTR {
				return written, err
			}
		default:
			return written, err
		}
	}
	return written, nil
}
