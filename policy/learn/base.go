package learn

import (
	"net/netip"
	"strings"

	"bulkhead/policy/plan"
)

// planned is the component as the last compilation has it.
func (c *component) planned() *plan.Component {
	for i := range c.plan.Components {
		if c.plan.Components[i].Name == c.name {
			return &c.plan.Components[i]
		}
	}
	return &plan.Component{}
}

// baseGrants says whether the base grants an address to the component. A
// connection that the base grants by a host's name is not recognised: which
// name an address was resolved from is not seen.
func (c *component) baseGrants(verb, address string) bool {
	if c.options.Base == "" || c.plan == nil {
		return false
	}
	kind := map[string]plan.GrantKind{"listen": plan.GrantListen, "connect": plan.GrantConnect}[verb]
	for _, b := range c.planned().Grants {
		g := &c.plan.Grants[b.Grant]
		if g.Kind == kind && sameAddress(g, address) {
			return true
		}
	}
	return false
}

func sameAddress(g *plan.Grant, text string) bool {
	network, rest, _ := strings.Cut(text, ":")
	if network != g.Network {
		return false
	}
	if strings.HasPrefix(network, "unix") {
		return rest == g.Address
	}
	seen, err := netip.ParseAddrPort(rest)
	if err != nil || seen.Port() != g.Port {
		return false
	}
	granted, err := netip.ParseAddr(g.Address)
	return err == nil && granted == seen.Addr()
}
