package inspect

import "fmt"

// Wall is one wall round a process.
type Wall struct {
	Name   string `json:"name"`
	Up     bool   `json:"up"`
	Detail string `json:"detail"`
}

// walls are what the kernel says, in the order of the list that people read.
func walls(p *Process) []Wall {
	var all []Wall
	for _, kind := range []string{"user", "mnt", "pid", "net", "ipc", "uts", "cgroup"} {
		w := Wall{Name: kind + " namespace", Detail: "the inspector's own"}
		for _, n := range p.Namespaces {
			if n.Kind == kind && !n.Host {
				w.Up, w.Detail = true, fmt.Sprintf("%s of its own (%d)", namespaceWords[kind], n.ID)
			}
		}
		all = append(all, w)
	}
	identity := Wall{Name: "identity", Up: !p.Identity.hostRoot(), Detail: fmt.Sprintf("user %d, group %d", p.Identity.UIDs[1], p.Identity.GIDs[1])}
	if !identity.Up {
		identity.Detail = "the host's root"
	}
	capabilities := Wall{Name: "capabilities", Up: len(p.Capabilities.Permitted) == 0 && len(p.Capabilities.Ambient) == 0, Detail: "none"}
	if !capabilities.Up {
		capabilities.Detail = capabilityWords(p.Capabilities.Permitted)
	}
	privileges := Wall{Name: "no-new-privileges", Up: p.NoNewPrivileges, Detail: "set-user-ID programs give nothing"}
	if !privileges.Up {
		privileges.Detail = "set-user-ID programs give their owner's rights"
	}
	calls := Wall{Name: "system calls", Up: p.Seccomp.Mode != "off", Detail: p.Seccomp.words()}
	all = append(all, identity, capabilities, privileges, calls)
	if p.Cgroup != nil {
		all = append(all, limitWall("memory limit", p.Cgroup.Memory, bytesWords), limitWall("process limit", p.Cgroup.Tasks, decimal))
	}
	if p.programs > 0 {
		all = append(all, Wall{Name: "addresses", Up: true, Detail: "programs in the kernel look at bind, connect and every datagram"})
	}
	return all
}

func limitWall(name string, u Usage, words func(uint64) string) Wall {
	if u.Limit == Unlimited {
		return Wall{Name: name, Detail: "none; " + words(u.Use) + " in use"}
	}
	return Wall{Name: name, Up: true, Detail: words(u.Use) + " of " + u.Limit.words(words) + " in use"}
}

func capabilityWords(names []string) string {
	if len(names) > 4 {
		return fmt.Sprintf("%d, among them %s", len(names), names[0])
	}
	text := ""
	for i, name := range names {
		if i > 0 {
			text += ", "
		}
		text += name
	}
	return text
}

// missing are the walls that are not up.
func missing(all []Wall) []string {
	var names []string
	for _, w := range all {
		if !w.Up {
			names = append(names, w.Name)
		}
	}
	return names
}
