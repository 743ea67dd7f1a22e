package main

import (
	"bufio"
	"fmt"
	"net/netip"
	"os"
	"strings"

	"bulkhead/broker/launch"
	"bulkhead/policy"
	"bulkhead/policy/plan"
)

// resolverName is the component that looks names up.
const resolverName = "name-resolver"

// addResolver appends the resolver to a plan where a grant has a name, and
// returns its index or -1. It is a component like the others; its grants are
// the name servers.
func addResolver(p *plan.Plan, programs launch.Programs) (int, error) {
	names, seen := "", map[string]bool{}
	for i := range p.Grants {
		if g := &p.Grants[i]; g.Kind == plan.GrantConnect && g.Host != "" && !seen[g.Host] {
			seen[g.Host] = true
			names += fmt.Sprintf(", %q", g.Host)
		}
	}
	if names == "" {
		return -1, nil
	}
	servers := p.Names.Servers
	if len(servers) == 0 {
		servers = machineServers()
	}
	grants, uses, arguments, file := "", "", "", ""
	for k, server := range servers {
		for _, network := range []string{"udp", "tcp"} {
			grants += fmt.Sprintf("  name-server-%s-%d: {connect: %q}\n", network, k, network+":"+server)
			uses += fmt.Sprintf("name-server-%s-%d, ", network, k)
		}
		arguments += fmt.Sprintf(", %q", server)
		file += "nameserver " + netip.MustParseAddrPort(server).Addr().String() + "\n"
	}
	text := fmt.Sprintf(resolverPolicy, grants, programs.Supervisor, int(p.Names.Refresh.Seconds()), arguments, names, uses,
		file+"options timeout:2 attempts:2\n")
	loaded, err := policy.Parse("the resolver's own policy", []byte(text), policy.Options{Set: []string{"application=" + p.Application}})
	if err != nil {
		return -1, err
	}
	own, _, err := policy.Compile(loaded, policy.LocalHost())
	if err != nil {
		return -1, err
	}
	component := own.Components[0]
	for k := range component.Grants {
		component.Grants[k].Grant += len(p.Grants)
	}
	p.Grants = append(p.Grants, own.Grants...)
	p.Components = append(p.Components, component)
	return len(p.Components) - 1, nil
}

// The monitor starts it itself: nobody may ask for a worker of it. Where
// datagrams cannot be limited, it could send them anywhere.
const resolverPolicy = `
application: resolver
grants:
%s
components:
  ` + resolverName + `:
    command: [%q, resolve, "%d"%s, "--"%s]
    grants: [%s]
    files:
      read: [{path: /etc/hosts, optional: true}]
      content: {/etc/resolv.conf: %q}
    syscalls: ["@threads"]
    limits: {memory: 64M, processes: 32, open-files: 64}
    environment: {GOMAXPROCS: "1", GOMEMLIMIT: "32MiB"}
    output: inherit
    optional: [addresses]
    start: per-request
`

// machineServers are the name servers of resolv.conf(5), which says too what holds
// where it names none.
func machineServers() []string {
	none := []string{"127.0.0.1:53"}
	file, err := os.Open("/etc/resolv.conf")
	if err != nil {
		return none
	}
	defer file.Close()
	var servers []string
	lines := bufio.NewScanner(file)
	for lines.Scan() && len(servers) < 3 { // MAXNS
		fields := strings.Fields(lines.Text())
		if len(fields) < 2 || fields[0] != "nameserver" {
			continue
		}
		if ip, err := netip.ParseAddr(fields[1]); err == nil && ip.Zone() == "" {
			servers = append(servers, netip.AddrPortFrom(ip, 53).String())
		}
	}
	if len(servers) == 0 {
		return none
	}
	return servers
}
