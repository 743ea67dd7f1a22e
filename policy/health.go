package policy

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"bulkhead/policy/plan"
)

// health compiles health:, of which a component has one kind or none.
func (c *componentCompiler) health(component *plan.Component) plan.Health {
	s := &c.source.Health
	if s.Position.Line == 0 {
		return plan.Health{}
	}
	health := plan.Health{
		Interval: s.Interval.Or(defaultHealthInterval), Timeout: s.Timeout.Or(defaultHealthTimeout), Failures: s.Failures.Or(defaultHealthFailures),
	}
	kinds := 0
	if s.Connect.IsSet() {
		kinds++
		health.Kind, health.Grant = plan.HealthConnect, c.listening(component, s.Connect, "tcp", "unix")
	}
	if s.HTTP.IsSet() {
		kinds++
		health.Kind, health.Grant, health.Path = plan.HealthHTTP, c.listening(component, s.HTTP, "tcp", "unix"), s.Path.Or("/")
		if !strings.HasPrefix(health.Path, "/") || strings.ContainsFunc(health.Path, func(r rune) bool { return r <= ' ' || r > '~' }) {
			c.mistake(s.Path.Position, "write /PATH, with %XX for unusual characters", "%q cannot be the path of a request", brief(health.Path))
		}
	} else if s.Path.IsSet() {
		c.mistake(s.Path.Position, "remove it, or write http:", "path: is for http: checks")
	}
	if len(s.Command) > 0 {
		kinds++
		health.Kind, health.Command = plan.HealthCommand, texts(s.Command)
		if wrong, hint := checkPath(health.Command[0]); wrong != "" {
			c.mistake(s.Command[0].Position, hint, "%s", wrong)
		}
	}
	health.Memory = uint64(s.Memory.Value)
	if limit := component.Limits.Memory; health.Memory > 0 && limit > 0 && health.Memory >= limit {
		c.mistake(s.Memory.Position, "write less, or raise limits: memory", "a worker is killed at %s, before it has so much", sizeText(limit))
	}
	if kinds > 1 || kinds == 0 && health.Memory == 0 {
		c.mistake(s.Position, "write one of connect: GRANT, http: GRANT, command: […], memory: SIZE beside it or alone", "health is shown in one way")
	}
	if health.Interval <= 0 || health.Timeout <= 0 {
		c.mistake(s.Position, "write interval: 10s, timeout: 3s", "a check needs time")
	}
	return health
}

// finishTimeout is how long a finish command may take, as with s6.
const finishTimeout = 5 * time.Second

// finish compiles finish:, which is a command of its own.
func (c *componentCompiler) finish() plan.Finish {
	command := texts(c.source.Finish)
	if len(command) == 0 {
		return plan.Finish{}
	}
	if wrong, hint := checkPath(command[0]); wrong != "" {
		c.mistake(c.source.Finish[0].Position, hint, "%s", wrong)
	}
	return plan.Finish{Command: command, Timeout: finishTimeout}
}

// firstText is where a list begins.
func firstText(all []Text) plan.Position {
	if len(all) == 0 {
		return plan.Position{}
	}
	return all[0].Position
}

// onExit compiles on-exit:, whose keys are exit statuses and signals.
func (c *componentCompiler) onExit() []plan.Exit {
	actions := map[string]plan.ExitAction{"restart": plan.ExitRestart, "stop": plan.ExitStop, "fail": plan.ExitFail, "stop-application": plan.ExitStopApplication}
	var all []plan.Exit
	for i := range c.source.OnExit.Entries {
		entry := &c.source.OnExit.Entries[i]
		exit := plan.Exit{Action: actions[entry.Value.Value]}
		code, err := strconv.ParseUint(entry.Name, 10, 8)
		signal, known := signalNumber(entry.Name)
		switch {
		case err == nil:
			exit.Code = uint32(code)
		case known && strings.HasPrefix(entry.Name, "SIG"):
			exit.Signal, exit.Code = true, uint32(signal)
		default:
			c.mistake(entry.Position, "write a number from 0 to 255, or SIGNAME", "%q is no exit status and no signal", entry.Name)
			continue
		}
		all = append(all, exit)
	}
	return all
}

// health says what the component must show.
func (l *rightList) health(say func(text string, at plan.Position)) {
	health := &l.component.Life.Health
	if health.Memory > 0 {
		say(fmt.Sprintf("is restarted when, %d times in a row, it has more than %s of memory; checked every %s",
			health.Failures, sizeText(health.Memory), durationText(health.Interval)), l.source.Health.Memory.Position)
	}
	what := ""
	switch health.Kind {
	case plan.HealthConnect:
		what = l.plan.Grants[health.Grant].Socket() + " does not accept a connection"
	case plan.HealthHTTP:
		what = fmt.Sprintf("GET %s on %s is not answered with a status from 200 to 399", health.Path, l.plan.Grants[health.Grant].Socket())
	case plan.HealthCommand:
		what = "this does not end with 0: " + strings.Join(health.Command, " ")
	default:
		return
	}
	say(fmt.Sprintf("is restarted when, %d times in a row, %s within %s; checked every %s",
		health.Failures, what, durationText(health.Timeout), durationText(health.Interval)), l.source.Health.Position)
}

// onExit says what follows which end.
func (l *rightList) onExit(say func(text string, at plan.Position)) {
	if finish := l.component.Life.Finish; len(finish.Command) > 0 {
		say(fmt.Sprintf("after each end this runs, for %s at most: %s", durationText(finish.Timeout), strings.Join(finish.Command, " ")), firstText(l.source.Finish))
	}
	words := map[plan.ExitAction]string{plan.ExitRestart: "it is restarted", plan.ExitStop: "it is done",
		plan.ExitFail: "it has failed for good", plan.ExitStopApplication: "the whole application is stopped"}
	for i, exit := range l.component.Life.OnExit {
		how := "after exit status " + itoa(exit.Code)
		if exit.Signal {
			how = "killed by " + signalName(int32(exit.Code))
		}
		say(how+" "+words[exit.Action], l.source.OnExit.Entries[i].Position)
	}
}
