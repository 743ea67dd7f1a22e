package supervisor

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"bulkhead/broker/control"
	"bulkhead/policy/plan"
)

func tidied(c *plan.Component) {
	c.Life.Finish = plan.Finish{Command: []string{"/bin/finish"}, Timeout: 5 * time.Second}
}

// TestFinish: after each end, and before whatever follows, the finish command
// runs and hears how it was.
func TestFinish(t *testing.T) {
	play(t, application(with("web", tidied), with("db", nil)), func(m *script) {
		m.did()
		m.crash("web")
		m.expect("tidy web 2 11")
		m.pass(time.Second)
		m.expect("start web")
		m.ask(on(control.Restart, "web"))
		m.expect("SIGTERM web", "tidy web 2 15", "start web")
		m.ask(on(control.Stop, "web"))
		m.expect("SIGTERM web", "tidy web 2 15")
		m.state("web", control.Stopped)
	})
}

// TestFinishForGood: its status 125 is a permanent failure, whatever restart
// says; a start by hand is another beginning.
func TestFinishForGood(t *testing.T) {
	p := application(with("web", func(c *plan.Component) {
		tidied(c)
		c.Life.Restart = plan.RestartAlways
		c.Life.OnExit = []plan.Exit{{Code: 3, Action: plan.ExitRestart}}
	}), with("db", nil))
	play(t, p, func(m *script) {
		m.did()
		m.change(func() { m.tidied["web"] = unix.ECANCELED })
		m.exit("web", 3)
		m.pass(time.Hour)
		m.expect("tidy web 1 3")
		m.state("web", control.Failed)
		m.ask(on(control.Start, "web"))
		m.expect("start web")
	})
}

// TestFinishFails: any other failure of the command is told and changes
// nothing.
func TestFinishFails(t *testing.T) {
	play(t, application(with("web", tidied)), func(m *script) {
		m.did()
		m.change(func() { m.tidied["web"] = unix.ETIMEDOUT })
		m.crash("web")
		m.pass(time.Second)
		m.expect("tidy web 2 11", "start web")
	})
}

// TestDestroyDuringFinish: a finish command is ended with its component, and none
// runs after a destruction.
func TestDestroyDuringFinish(t *testing.T) {
	play(t, application(with("web", tidied), with("db", nil)), func(m *script) {
		m.did()
		m.change(func() { m.hung["web"] = true })
		m.crash("web")
		m.expect("tidy web 2 11")
		m.state("web", control.Stopping)
		m.ask(on(control.Destroy, "web"))
		m.expect("end tidy web")
		m.state("web", control.Stopped)
		m.change(func() { m.hung["web"] = false })
		m.ask(on(control.Start, "web"))
		m.ask(on(control.Destroy, "web"))
		m.expect("start web", "SIGKILL web")
		m.state("web", control.Stopped)
		m.ask(on(control.Start, "web"))
		m.crash("web")
		m.pass(time.Second)
		m.expect("start web", "tidy web 2 11", "start web")
	})
}

// TestFinishUnheard: a monitor that never answers holds nothing up for ever.
func TestFinishUnheard(t *testing.T) {
	play(t, application(with("web", tidied), with("db", nil)), func(m *script) {
		m.did()
		m.change(func() { m.hung["web"] = true })
		m.crash("web")
		m.expect("tidy web 2 11")
		m.state("web", control.Stopping)
		m.pass(5*time.Second + killPatience - time.Millisecond)
		m.state("web", control.Stopping)
		m.change(func() { m.hung["web"] = false })
		m.pass(time.Minute)
		m.expect("start web")
	})
}
