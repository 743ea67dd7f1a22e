package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"bulkhead/broker/control"
	"bulkhead/policy/plan"
)

// The delay before an application that failed is started again: it doubles,
// and is forgotten when the application ran for upStable.
const (
	upDelayFirst = time.Second
	upDelayLast  = time.Minute
	upStable     = time.Minute
)

// startPatience is how long a change waits for the start before it.
const startPatience = 10 * time.Second

// upkeep is one policy file of `sandbox up` and the application that runs for it.
type upkeep struct {
	file string
	want string // fingerprint of what the file says, "" when it is gone
	name string // of the application that the file describes
	mark string // of the file as it was when it was read

	running string // fingerprint of what runs, "" when nothing does, or unknown
	runName string
	child   *exec.Cmd // nil: it ran before
	since   time.Time
	ending  bool    // it was asked to end
	changes bool    // a reload is under way
	refused reading // that a reload refused: nobody tries it again
	done    string  // fingerprint of what ended with status 0: nobody starts it again
	wrong   string  // the mistakes of the file that were told
	delay   time.Duration
	waiting bool // until delay is over
}

// start runs the application, or takes over one that runs already as the file
// says: an earlier `sandbox up` that was killed leaves its applications up.
func (u *upkeep) start(program string, ended func(status int)) error {
	u.since, u.runName = time.Now(), u.name
	was, err := runs(u.name)
	if err != nil {
		return err
	}
	if was != "" {
		u.child, u.running = nil, was
		go func() {
			ended(waitGone(u.runName))
		}()
		return nil
	}
	u.child = exec.Command(program, "run", u.file)
	u.child.Stdout, u.child.Stderr = os.Stdout, os.Stderr
	// The terminal's signals are for us, who pass them on once.
	u.child.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := u.child.Start(); err != nil {
		return fmt.Errorf("run %s: %w", u.file, err)
	}
	u.running = u.want
	child := u.child
	go func() {
		child.Wait()
		ended(child.ProcessState.ExitCode())
	}()
	return nil
}

// unknown is the fingerprint of what runs when the file was changed while it was
// applied: one that no plan has.
const unknown = "unknown"

// reading is one state of a file and what it says. The next may say the same
// again, behind one that said something else.
type reading struct{ mark, says string }

func (u *upkeep) last() reading { return reading{u.mark, u.want} }

// markOf is what changes with every write to a file, "" when it is not there.
func markOf(file string) string {
	var st unix.Stat_t
	if unix.Stat(file, &st) != nil {
		return ""
	}
	return fmt.Sprint(st.Dev, st.Ino, st.Size, st.Mtim, st.Ctim)
}

// reload applies the changed file to the application that runs.
func (u *upkeep) reload(program string, done func(was reading, ok bool)) {
	u.changes = true
	command, was := exec.Command(program, "reload", u.file), u.last()
	command.Stdout, command.Stderr = os.Stdout, os.Stderr
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	name := u.runName
	go func() {
		// It may only just have been started.
		for end := time.Now().Add(startPatience); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
			if client, err := dial(name, false); err == nil {
				client.Close()
				break
			}
		}
		done(was, command.Run() == nil)
	}()
}

// stop asks the application to end; ended of start tells when it has.
func (u *upkeep) stop() {
	u.ending = true
	if u.child != nil {
		u.child.Process.Signal(unix.SIGTERM)
		return
	}
	go func(name string) {
		if err := down(name); err != nil {
			complain(err)
		}
	}(u.runName)
}

// runs returns the fingerprint of a running application, "" when it does not run.
func runs(application string) (string, error) {
	client, err := dial(application, true)
	if err != nil {
		return "", nil
	}
	client.Close()
	b, err := os.ReadFile(filepath.Join(baseOf(application), application, "plan"))
	if errors.Is(err, os.ErrNotExist) {
		return "", nil // it has just ended
	}
	if err != nil {
		return "", fmt.Errorf("application %q runs already: %w", application, err)
	}
	p, err := plan.Decode[plan.Plan](b)
	if err != nil {
		return "", fmt.Errorf("application %q runs already: %w", application, err)
	}
	// The last component is the supervisor, which no policy names.
	p.Components = p.Components[:len(p.Components)-1]
	return fingerprint(p)
}

// waitGone returns when nothing of an application is left. The status of what
// nobody here started is not known; but one that was asked to stop has not
// failed.
func waitGone(application string) (status int) {
	status = exitFailed
	directory, err := os.Open(filepath.Join(baseOf(application), application))
	if err != nil {
		return status
	}
	defer directory.Close()
	follow(application, control.Request{Verb: control.AskEvents, Follow: true}, func(r control.Reply) error {
		if e := r.Event; e != nil && e.Kind == control.EventApplication && e.To == control.Stopping && strings.HasPrefix(e.Text, "stops: ") {
			status = 0
		}
		return nil
	})
	unix.Flock(int(directory.Fd()), unix.LOCK_SH)
	return status
}
