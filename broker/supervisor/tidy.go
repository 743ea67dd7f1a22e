package supervisor

import (
	"strings"

	"golang.org/x/sys/unix"

	"bulkhead/broker/control"
	"bulkhead/broker/wire"
)

// tidy runs a component's finish command after the end of its worker, and calls
// then when that has ended too. A worker that never ran leaves nothing to tidy
// up, and a compartment that was lost has no place to do it in.
func (s *Supervisor) tidy(c *component, e end, then func(end)) {
	finish := &c.plan.Life.Finish
	if len(finish.Command) == 0 || e.how == wire.NotRun || c.lost || c.destroyed || s.forced {
		then(e)
		return
	}
	s.move(c, control.Stopping, e.String()+"; its finish command runs")
	s.arm(c, finish.Timeout+killPatience)
	var over func(end)
	over = func(e end) {
		c.tidying = nil
		then(e)
	}
	c.tidying = over
	attempt := c.attempt
	s.call(wire.Tidy, func(r reply) {
		if c.tidying == nil || c.attempt != attempt {
			return // it was given up before
		}
		switch {
		case r.status == unix.ECANCELED:
			e.reason, e.never, e.final = e.String()+"; "+strings.TrimSuffix(r.reason, ": "+r.status.Error()), true, true
		case r.status != 0 && !c.destroyed:
			s.tell(c, r.reason)
		}
		c.tidying(e)
	}, uint32(c.index), e.how, e.code)
}
