package policy

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"bulkhead/policy/plan"
)

// The words in which explain and diff speak of a plan.

func accessWords(a plan.Access) string {
	var words []string
	for _, bit := range []struct {
		access plan.Access
		word   string
	}{{plan.Read, "read"}, {plan.Write, "write"}, {plan.Append, "append to"}, {plan.Execute, "execute"}} {
		if a&bit.access != 0 {
			words = append(words, bit.word)
		}
	}
	return list(words, "and")
}

// list writes "a, b and c".
func list(words []string, conjunction string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	return strings.Join(words[:len(words)-1], ", ") + " " + conjunction + " " + words[len(words)-1]
}

// durationText writes a time as a policy would: 1h30m, not 1h30m0s.
func durationText(d time.Duration) string {
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}

// GrantText says in words what a grant allows.
func GrantText(g *plan.Grant) string {
	switch g.Kind {
	case plan.GrantListen:
		return "listen on " + g.Socket()
	case plan.GrantConnect:
		return "connect to " + g.Socket()
	case plan.GrantDirectory:
		return accessWords(g.Access) + " the files in " + g.Path
	case plan.GrantDevice:
		return accessWords(g.Access) + " the device " + g.Path
	}
	text := accessWords(g.Access) + " " + g.Path
	if g.Create {
		text += ", which is made when it is not there"
	}
	return text
}

func startText(s plan.Start) string {
	switch s {
	case plan.OnDemand:
		return "at the first connection"
	case plan.PerConnection:
		return "one worker for each connection"
	case plan.PerRequest:
		return "one worker for each request"
	case plan.OnExec:
		return "one worker for each exec of what it replaces"
	}
	return "with the application"
}

func conditionText(c plan.Condition) string {
	value := "0x" + strconv.FormatUint(c.Value, 16)
	switch c.Comparison {
	case plan.Equal:
		return fmt.Sprintf("argument %d is %s", c.Argument, value)
	case plan.NotEqual:
		return fmt.Sprintf("argument %d is not %s", c.Argument, value)
	case plan.Less:
		return fmt.Sprintf("argument %d is less than %s", c.Argument, value)
	case plan.LessOrEqual:
		return fmt.Sprintf("argument %d is at most %s", c.Argument, value)
	case plan.Greater:
		return fmt.Sprintf("argument %d is more than %s", c.Argument, value)
	case plan.GreaterOrEqual:
		return fmt.Sprintf("argument %d is at least %s", c.Argument, value)
	}
	if c.Mask == allBits32 {
		return fmt.Sprintf("argument %d is %s", c.Argument, value)
	}
	return fmt.Sprintf("argument %d masked with 0x%x is %s", c.Argument, c.Mask, value)
}

func ruleConditions(r plan.Rule) string {
	var words []string
	for _, condition := range r.Conditions {
		words = append(words, conditionText(condition))
	}
	return list(words, "and")
}

func actionText(a plan.Action, errno int32) string {
	switch a {
	case plan.Allow:
		return "allow"
	case plan.Errno:
		if errno == errnoNoCall {
			return "does not exist (ENOSYS)"
		}
		return "fails with errno " + itoa(int(errno))
	case plan.Broker:
		return "the monitor performs it"
	case plan.Kill:
		return "kills the process"
	}
	return "refuse and report"
}
