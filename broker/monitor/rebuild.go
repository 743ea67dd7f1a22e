package monitor

import (
	"fmt"

	"golang.org/x/sys/unix"

	"bulkhead/broker/handover"
	"bulkhead/broker/wire"
)

// commandRebuild builds the compartment of a component again after its init
// died.
func (m *Monitor) commandRebuild(h wire.Header, b *wire.Body) (uint32, error) {
	c, err := m.asked(b.U32())
	if end := b.End(); end != nil {
		return 0, end
	}
	if err != nil || c.index == m.handover.Supervisor {
		return 0, unix.EINVAL
	}
	if c.control >= 0 {
		return 0, nil // it is there: the news of it and the request have crossed
	}
	// One builder, however often it is asked for; all are answered.
	if len(c.builds) > 0 {
		c.builds = append(c.builds, h)
		return 0, errLater
	}
	err = m.build(handover.OrderBuild, []int{c.index}, nil, func(made *handover.Built, err error) {
		asked := c.builds
		c.builds = nil
		if err == nil {
			err = m.rebuilt(c, made)
		}
		for _, h := range asked {
			m.replySupervisor(h, 0, err)
		}
	})
	if err != nil {
		return 0, err
	}
	c.builds = append(c.builds, h)
	return 0, errLater
}

func (m *Monitor) rebuilt(c *component, made *handover.Built) error {
	if c.index < 0 {
		made.Close()
		return fmt.Errorf("take over the compartment: the policy has changed meanwhile: %w", unix.ECANCELED)
	}
	if err := m.adopt(c, made.Compartments[0]); err != nil {
		m.forsake(c)
		return fmt.Errorf("take over the compartment: %w", err)
	}
	if err := m.makeNotify(c); err != nil {
		return err
	}
	m.writeHostsOf(c)
	m.fillAhead(c)
	m.tendDoors(c)
	return nil
}
