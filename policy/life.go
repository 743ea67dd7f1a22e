package policy

import (
	"slices"

	"bulkhead/policy/plan"
)

// life says when the component's worker is ready, ends and starts again.
func (c *componentCompiler) life(component *plan.Component) plan.Life {
	s := c.source
	restart := "never"
	if keptUp(component.Start) {
		restart = "on-failure"
	} else {
		for _, key := range []struct {
			name string
			at   plan.Position
		}{{"restart", s.Restart.Position}, {"essential", s.Essential.Position}, {"watchdog", s.Watchdog.Position}, {"ready", s.Ready.Position}, {"health", s.Health.Position}, {"on-exit", s.OnExit.Position}, {"background", s.Background.Position}, {"killable", s.Killable.Position}, {"finish", firstText(s.Finish)}} {
			if key.at.Line > 0 {
				c.mistake(key.at, "remove it, or write start: with-application", "%s: is for components that start with the application", key.name)
			}
		}
		if len(s.After) > 0 {
			c.mistake(s.After[0].Name.Position, "remove it", "after: is for components that start with the application")
		}
	}
	c.demand(component)
	stop, _ := signalNumber(s.StopSignal.Or(defaultStopSignal))
	life := plan.Life{
		Restart:      map[string]plan.Restart{"always": plan.RestartAlways, "on-failure": plan.RestartOnFailure, "never": plan.RestartNever}[s.Restart.Or(restart)],
		Delay:        s.RestartDelay.Or(defaultDelay),
		DelayMaximum: s.DelayMaximum.Or(defaultDelayMaximum),
		Ready:        c.ready(component),
		StopSignal:   stop,
		StopTimeout:  s.StopTimeout.Or(defaultStopTimeout),
		Background:   s.Background.Value,
		Killable:     s.Killable.Value,
		Watchdog:     s.Watchdog.Value,
		Essential:    s.Essential.Value,
		Idle:         s.Idle.Value,
	}
	for _, use := range s.After {
		if use.Tried() {
			life.AfterTried = append(life.AfterTried, use.Name.Value)
		} else {
			life.After = append(life.After, use.Name.Value)
		}
	}
	life.Health, life.Finish, life.OnExit = c.health(component), c.finish(), c.onExit()
	if s.ReloadSignal.IsSet() {
		life.ReloadSignal, _ = signalNumber(s.ReloadSignal.Value)
	}
	if life.DelayMaximum < life.Delay {
		at, hint := s.DelayMaximum.Position, "make restart-delay-maximum longer"
		if !s.DelayMaximum.IsSet() {
			at = s.RestartDelay.Position
		}
		c.mistake(at, hint, "the longest delay, %s, is shorter than the first, %s", life.DelayMaximum, life.Delay)
	}
	return life
}

func (c *componentCompiler) ready(component *plan.Component) plan.Ready {
	s := c.source
	ready := plan.Ready{Kind: plan.ReadyAtOnce, Timeout: s.ReadyTimeout.Or(defaultReadyTimeout)}
	switch how := s.Ready.How; {
	case s.Ready.Word.Value == "notify":
		ready.Kind = plan.ReadyNotify
	case how.FD.IsSet():
		ready.Kind, ready.Number = plan.ReadyFD, how.FD.Value
		for _, binding := range component.Grants {
			if binding.Number == ready.Number {
				c.mistake(how.FD.Position, "choose another number", "descriptor %d is the grant %q", ready.Number, c.grants[binding.Grant].Name)
			}
		}
	case how.Connect.IsSet():
		ready.Kind, ready.Grant = plan.ReadyConnect, c.listening(component, how.Connect, "tcp", "unix")
	case len(how.Command) > 0:
		ready.Kind, ready.Command = plan.ReadyCommand, texts(how.Command)
		if wrong, hint := checkPath(ready.Command[0]); wrong != "" {
			c.mistake(how.Command[0].Position, hint, "%s", wrong)
		}
	}
	return ready
}

// listening finds a listening grant that the component has.
func (c *componentCompiler) listening(component *plan.Component, name Text, networks ...string) int {
	for _, binding := range component.Grants {
		if g := &c.grants[binding.Grant]; g.Name == name.Value && g.Kind == plan.GrantListen {
			if !slices.Contains(networks, g.Network) {
				c.mistake(name.Position, "name a tcp: or unix: grant", "%q has no connections", name.Value)
			}
			return binding.Grant
		}
	}
	c.mistake(name.Position, "name a listening grant of this component", "the component has no listening grant %q", name.Value)
	return 0
}

// essential: an application of one component is over when that one is.
func (c *compiler) essential(p *plan.Plan) {
	only := -1
	for i := range p.Components {
		if p.Components[i].Start == plan.WithApplication {
			if only >= 0 {
				return
			}
			only = i
		}
	}
	if only >= 0 {
		p.Components[only].Life.Essential = c.file.Components.Entries[only].Value.Essential.Or(true)
	}
}
