// Package confine says which walls stand round the monitor itself: the
// capabilities, the system calls and the places of the host's files that a plan makes it need, each with its
// reason. The launcher builds them, the monitor makes sure of them, and
// sandbox inspect compares them with what the kernel says.
//
//	capability.go  the table of capabilities
//	call.go        the table of system calls
//	reach.go       the places
//
// A monitor that makes a call which is not in the table is killed by the
// keeper, who says which call it was. To let it make one more is one line here.
package confine

import (
	"os"
	"slices"
	"strconv"
	"strings"

	"bulkhead/policy/plan"
)

// Asker is the line of a policy that makes the monitor need something.
type Asker struct {
	What     string // `grant "store"`
	Position plan.Position
}

// condition says who in a plan asks for a line of a table, nil when nobody
// does. A nil condition always holds.
type condition func(*plan.Plan) *Asker

func (c condition) holds(p *plan.Plan) bool { return c == nil || c(p) != nil }

// granted is the first grant that f says yes to.
func granted(f func(*plan.Grant) bool) condition {
	return func(p *plan.Plan) *Asker {
		for i := range p.Grants {
			if g := &p.Grants[i]; f(g) {
				return &Asker{"grant " + strconv.Quote(g.Name), g.Position}
			}
		}
		return nil
	}
}

// component is the first component that f says yes to.
func component(f func(*plan.Component) bool) condition {
	return func(p *plan.Plan) *Asker {
		for i := range p.Components {
			if c := &p.Components[i]; f(c) {
				return &Asker{"component " + strconv.Quote(c.Name), c.Position}
			}
		}
		return nil
	}
}

func either(all ...condition) condition {
	return func(p *plan.Plan) *Asker {
		for _, c := range all {
			if asker := c(p); asker != nil {
				return asker
			}
		}
		return nil
	}
}

// The conditions of both tables.
var (
	opensFiles = granted(func(g *plan.Grant) bool {
		return g.Kind == plan.GrantFile || g.Kind == plan.GrantDirectory || g.Kind == plan.GrantDevice
	})
	writesFiles = granted(func(g *plan.Grant) bool {
		return g.Kind != plan.GrantListen && g.Kind != plan.GrantConnect && (g.Create || g.Access&^plan.Read != 0)
	})
	appends    = granted(func(g *plan.Grant) bool { return g.Access&plan.Append != 0 })
	names      = granted(func(g *plan.Grant) bool { return g.Host != "" })
	makesFiles = granted(func(g *plan.Grant) bool {
		return g.Create || g.Kind == plan.GrantDirectory && g.Access&plan.Write != 0
	})
	connectsUnix = granted(func(g *plan.Grant) bool {
		return g.Kind == plan.GrantConnect && strings.HasPrefix(g.Network, "unix")
	})
	logs condition = func(p *plan.Plan) *Asker {
		i := slices.IndexFunc(p.Logs, func(l plan.Log) bool { return l.Kind == plan.LogFile })
		if i < 0 {
			return nil
		}
		return &Asker{"log " + p.Logs[i].Name, p.Logs[i].Position}
	}
	notifies      = component(func(c *plan.Component) bool { return c.Life.Ready.Kind == plan.ReadyNotify || c.Life.Watchdog > 0 })
	files         = component(func(c *plan.Component) bool { return c.TransparentFiles })
	splits        = component(func(c *plan.Component) bool { return len(c.Splits) > 0 || len(c.Replaces) > 0 })
	becomes       = either(connectsUnix, files)
	secretProgram = component(func(c *plan.Component) bool {
		// The kernel lets nobody look at a process whose program its user
		// may execute but not read, save with CAP_SYS_PTRACE (execve(2)).
		st, err := os.Stat(c.Program)
		return err == nil && st.Mode()&0o004 == 0
	})
)
