package main

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"bulkhead/broker/control"
	"bulkhead/broker/inspect"
	"bulkhead/broker/launch"
)

// controlCommands are the commands that speak with a running application.
func controlCommands() []*cobra.Command {
	return []*cobra.Command{
		psCommand(), statusCommand(), logsCommand(), eventsCommand(), denialsCommand(), ctlCommand(), downCommand(), topCommand(),
	}
}

// dial connects to a running application: to the control socket, or, when
// looking is enough, to the status socket.
func dial(application string, looking bool) (*control.Client, error) {
	base := baseOf(application)
	name := "control"
	if looking {
		name = "status"
	}
	socket := filepath.Join(base, application, name)
	client, err := control.Dial(socket)
	switch {
	case err == nil:
		return client, nil
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENOTDIR):
		return nil, notRunning(application)
	case errors.Is(err, unix.ECONNREFUSED):
		return nil, fmt.Errorf("application %q has just ended, or its supervisor has: %w", application, err)
	case errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM):
		return nil, fmt.Errorf("application %q: %s: %w", application, whoMay(socket, looking), err)
	}
	return nil, fmt.Errorf("application %q: %w", application, err)
}

// rootBase is where root's applications are; a policy may let a group look.
const rootBase = "/run/sandbox"

// bases are where applications may be that the caller may look at: its own
// first.
func bases() []string {
	own, err := launch.StateDirectory()
	if err != nil || own == rootBase {
		return []string{rootBase}
	}
	return []string{own, rootBase}
}

// baseOf is where an application is, or where it would be.
func baseOf(application string) string {
	all := bases()
	for _, base := range all {
		if _, err := os.Stat(filepath.Join(base, application, "pid")); err == nil {
			return base
		}
	}
	return all[0]
}

// errNotRunning is of an application that is not there, or not any more.
var errNotRunning = errors.New("does not run")

func notRunning(application string) error {
	if info, err := os.Stat(application); err == nil && !info.IsDir() {
		return fmt.Errorf("application %q %w; that is a file: an application has the name that stands behind application: in its policy", application, errNotRunning)
	}
	names, err := running(nil)
	if err != nil || len(names) == 0 {
		return fmt.Errorf("application %q %w; no application does", application, errNotRunning)
	}
	return fmt.Errorf("application %q %w; running: %s", application, errNotRunning, joined(names))
}

func joined(names []string) string {
	text := ""
	for i, name := range names {
		if i > 0 {
			text += ", "
		}
		text += name
	}
	return text
}

// whoMay says who may use a socket, read off the socket itself.
func whoMay(socket string, looking bool) string {
	var st unix.Stat_t
	if unix.Stat(socket, &st) != nil {
		return "you may not use it"
	}
	owner := userName(st.Uid)
	if !looking {
		return fmt.Sprintf("only %s may control it", owner)
	}
	if st.Gid == 0 {
		return fmt.Sprintf("only %s may ask for its status; control.read-group in its policy names a group that may too", owner)
	}
	return fmt.Sprintf("only %s and the group %s may ask for its status", owner, groupName(st.Gid))
}

func userName(uid uint32) string {
	if u, err := user.LookupId(strconv.Itoa(int(uid))); err == nil {
		return u.Username
	}
	return "user " + strconv.Itoa(int(uid))
}

func groupName(gid uint32) string {
	if g, err := user.LookupGroupId(strconv.Itoa(int(gid))); err == nil {
		return g.Name
	}
	return strconv.Itoa(int(gid))
}

// answerPatience bounds the wait for an answer that takes no work: a supervisor
// that is out of descriptors, or stopped, gives none.
var answerPatience = 15 * time.Second

// ask makes one request of an application. each gets the replies before the
// last, which is returned.
func ask(application string, r control.Request, each func(control.Reply) error) (control.Reply, error) {
	client, err := dial(application, control.Verbs[r.Verb].Reads)
	if err != nil {
		return control.Reply{}, err
	}
	defer client.Close()
	if control.Verbs[r.Verb].Reads && !r.Follow && !r.Wait {
		client.SetDeadline(time.Now().Add(answerPatience))
	}
	reply, err := client.Do(r, each)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return reply, fmt.Errorf("application %q: its supervisor has not answered for %s; sandbox inspect looks without it", application, answerPatience)
	}
	var refused control.Refused
	if errors.As(err, &refused) {
		return reply, fmt.Errorf("application %q: %s", application, refused)
	}
	if err != nil {
		return reply, fmt.Errorf("application %q: %w", application, err)
	}
	return reply, nil
}

// follow asks for what is past and what is to come, until the application
// ends. With it goes the supervisor, whether it still says so or only closes
// the connection; neither is a failure of who followed.
func follow(application string, r control.Request, show func(control.Reply) error) error {
	client, err := dial(application, true)
	if err != nil {
		return err
	}
	defer client.Close()
	var shown error
	_, err = client.Do(r, func(reply control.Reply) error {
		shown = show(reply)
		return shown
	})
	var refused control.Refused
	switch {
	case shown != nil:
		return shown
	case errors.As(err, &refused):
		return fmt.Errorf("application %q: %s", application, refused)
	case err != nil && !r.Follow:
		return fmt.Errorf("application %q: %w", application, err)
	}
	return nil
}

// running are the applications that a command is about: the named one, or all.
func running(arguments []string) ([]string, error) {
	if len(arguments) > 0 {
		return arguments[:1], nil
	}
	var names []string
	for _, base := range bases() {
		more, err := inspect.Running(base)
		if err != nil {
			return nil, err
		}
		names = append(names, more...)
	}
	return names, nil
}

func status(application string) (*control.Status, error) {
	reply, err := ask(application, control.Request{Verb: control.AskStatus}, nil)
	if err != nil {
		return nil, err
	}
	if reply.Status == nil {
		return nil, fmt.Errorf("application %q: its supervisor sent no status", application)
	}
	return reply.Status, nil
}

func outPaint() inspect.Paint { return inspect.Paint(colors(os.Stdout)) }
