package monitor

import (
	"path"

	"bulkhead/policy/plan"
)

// socketCalls are what a daemon does with the path of a unix socket beside
// bind(2), and which argument the path is: it removes what an earlier run
// left, and says whom the new one is for.
var socketCalls = map[string]int{
	"unlink": 0, "unlinkat": 1, "chmod": 0, "fchmodat": 1, "chown": 0, "lchown": 0, "fchownat": 1,
}

// namesSocket says whether a call is about the path of a granted listening
// socket. There is nothing to do then: the socket has been there since the
// application started, with the grant's mode, it outlives the worker, and who
// removed it would leave clients without a door that the policy promises.
func (m *Monitor) namesSocket(w *work, n *notification, at int) bool {
	name := ""
	for _, g := range m.kept(w, plan.GrantListen) {
		if g.Network != "unix" && g.Network != "unix-datagram" {
			continue
		}
		if name == "" {
			directory := atWorking
			if at > 0 {
				directory = n.arguments[at-1]
			}
			if name, n.lacking = absolute(n, directory, n.arguments[at]); name == "" {
				return false
			}
			name = path.Clean(name)
		}
		if g.Address == name {
			return m.valid(w, n)
		}
	}
	return false
}
