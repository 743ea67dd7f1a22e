package plan

import (
	"strconv"
	"strings"
)

// Compartment is the name of the component's compartment: of its cgroup and of
// its root's directory. A reload builds the changed one beside the old one, so
// it is the component's name with a number behind it from the second on.
func (c *Component) Compartment() string {
	if c.Generation == 0 {
		return c.Name
	}
	return c.Name + "." + strconv.Itoa(c.Generation+1)
}

// ComponentOf is the name of the component that a compartment is of. Names of
// components have no full stop in them.
func ComponentOf(compartment string) string {
	name, _, _ := strings.Cut(compartment, ".")
	return name
}
