package plan

// Action is what a filter does with a call.
type Action uint8

// The actions.
const (
	Allow  Action = iota + 1
	Errno         // fails with Rule.Errno, unseen by anybody
	Refuse        // the monitor is told, answers EPERM and reports a denial
	Broker        // the monitor performs the call in the worker's place
	Kill          // the process dies by SIGSYS
)

// Syscalls is the filter before it is compiled. Calls that no rule matches
// get Default.
type Syscalls struct {
	Default Action `json:"default"`
	Rules   []Rule `json:"rules"`
	// Program is the compiled filter, an array of struct sock_filter in host
	// byte order, filled in once by sandbox.CompileFilters.
	Program []byte `json:"program,omitempty"`
}

// Rule applies Action to one system call when all Conditions hold. With Broker,
// Errno is what a call on files gets that no grant answers; 0 leaves it to the
// kernel and the compartment's other walls.
type Rule struct {
	Call       string      `json:"call"`
	Action     Action      `json:"action"`
	Errno      int32       `json:"errno,omitempty"`
	Conditions []Condition `json:"conditions,omitempty"`
}

// Comparison compares an argument with a value.
type Comparison uint8

// The comparisons, as in seccomp_rule_add(3).
const (
	Equal Comparison = iota + 1
	NotEqual
	Less
	LessOrEqual
	Greater
	GreaterOrEqual
	MaskedEqual // argument & Mask == Value
)

// Condition is one condition on a call's argument.
type Condition struct {
	Argument   uint       `json:"argument"` // from 0
	Comparison Comparison `json:"comparison"`
	Value      uint64     `json:"value"`
	Mask       uint64     `json:"mask,omitempty"`
}

// Holds says whether the condition holds for a value of its argument, as
// seccomp_rule_add(3) has it.
func (c Condition) Holds(value uint64) bool {
	switch c.Comparison {
	case Equal:
		return value == c.Value
	case NotEqual:
		return value != c.Value
	case Less:
		return value < c.Value
	case LessOrEqual:
		return value <= c.Value
	case Greater:
		return value > c.Value
	case GreaterOrEqual:
		return value >= c.Value
	case MaskedEqual:
		return value&c.Mask == c.Value
	}
	return false
}
