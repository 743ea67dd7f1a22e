package policy

import (
	"net/netip"
	"time"

	"bulkhead/policy/plan"
)

const (
	defaultRefresh = 30 * time.Second
	maximumNames   = 64 // in one application
	maximumServers = 8
	portOfNames    = 53
)

// names compiles how the names of grants are looked up, where there are any.
func (c *compiler) names(p *plan.Plan) plan.Names {
	s := &c.file.Names
	different := map[string]bool{}
	for i := range p.Grants {
		if g := &p.Grants[i]; g.Host != "" {
			different[g.Host] = true
			if len(different) == maximumNames+1 {
				c.mistake(g.Position, "split the application", "there are more than %d different names to look up", maximumNames)
			}
		}
	}
	var n plan.Names
	for _, server := range s.Servers {
		address, err := netip.ParseAddrPort(server.Value)
		if ip, plain := netip.ParseAddr(server.Value); plain == nil {
			address, err = netip.AddrPortFrom(ip, portOfNames), nil
		}
		if err != nil || address.Port() == 0 || address.Addr().Zone() != "" {
			c.mistake(server.Position, "write 192.0.2.53, 127.0.0.1:5353 or [::1]:5353", "%q is not the address of a name server", brief(server.Value))
			continue
		}
		n.Servers = append(n.Servers, address.String())
	}
	if len(s.Servers) > maximumServers {
		c.mistake(s.Servers[maximumServers].Position, "remove some", "more than %d name servers", maximumServers)
	}
	if len(different) == 0 {
		if s.Position.Line > 0 {
			c.warn(s.Position, "remove it", "no connect grant has a name")
		}
		return plan.Names{}
	}
	n.Refresh = s.Refresh.Or(defaultRefresh)
	if n.Refresh < time.Second {
		c.mistake(s.Refresh.Position, "write 1s or more", "names cannot be looked up more often than once a second")
	}
	return n
}
