package supervisor

import (
	"testing"

	"bulkhead/policy/plan"
)

func TestDenials(t *testing.T) {
	p := application(with("web", func(c *plan.Component) { c.Grants = []plan.Binding{{Grant: 0, Number: -1}} }))
	p.Grants = []plan.Grant{{Name: "store", Kind: plan.GrantDirectory, Path: "/srv/store"}}
	play(t, p, func(m *script) {
		for _, c := range []struct {
			event        denied
			tried, allow string
		}{
			{denied{call: 41, errno: 1, arguments: [3]uint64{16, 3, 0}}, "socket(AF_NETLINK, SOCK_RAW, ...)", `components.web.syscalls: ["@netlink-route"]`},
			{denied{call: 41, errno: 1, arguments: [3]uint64{16, 3, 9}}, "socket(AF_NETLINK, SOCK_RAW, ...)", "nothing in a policy allows it"},
			{denied{call: 41, errno: 97, arguments: [3]uint64{1, 0x80002, 0}}, "socket(AF_UNIX, SOCK_DGRAM, ...)", `a grant of an address: grants.NAME: {connect: "unix-datagram:/PATH"} and components.web.grants: [NAME]`},
			{denied{call: 41, errno: 97, arguments: [3]uint64{1, 5, 0}}, "socket(AF_UNIX, SOCK_SEQPACKET, ...)", `a grant of an address: grants.NAME: {connect: "unix:/PATH"} and components.web.grants: [NAME]`},
			{denied{call: 41, errno: 97, arguments: [3]uint64{17, 3, 0}}, "socket(AF_PACKET, SOCK_RAW, ...)", "components.web.syscalls: [{call: socket, argument: 0, equal: 17}]"},
			{denied{call: 41, errno: 97, arguments: [3]uint64{2, 1, 0}}, "socket(AF_INET, SOCK_STREAM, ...)", "a grant of an address: grants.NAME: {connect: ADDRESS} and components.web.grants: [NAME]"},
			{denied{call: 101, errno: 1, arguments: [3]uint64{16, 3, 0}}, "ptrace(0x10, ...)", "components.web.syscalls: [ptrace]"},
			{denied{call: 16, errno: 1, arguments: [3]uint64{16, 0x5401, 0}}, "ioctl(..., 0x5401, ...)", "components.web.syscalls: [ioctl]"},
			{denied{call: 49, errno: 13, object: "listen tcp:0.0.0.0:80"}, "bind(...) listen tcp:0.0.0.0:80", `grants.NAME: {listen: "tcp:0.0.0.0:80"} and components.web.grants: [NAME]`},
			{denied{call: 42, errno: 13, object: "connect unix:/run/x"}, "connect(...) connect unix:/run/x", `grants.NAME: {connect: "unix:/run/x"} and components.web.grants: [NAME]`},
			{denied{call: 257, errno: 13, object: "open /etc/shadow"}, "openat(...) open /etc/shadow", "components.web.files: {read: [/etc/shadow]}"},
			{denied{call: 257, errno: 13, arguments: [3]uint64{0, 0, 1}, object: "open /etc/x"}, "openat(...) open /etc/x", "components.web.files: {write: [/etc/x]}"},
			{denied{call: 257, errno: 13, object: "write /srv/store/x"}, "openat(...) write /srv/store/x", "grants.store.access: read-write"},
			{denied{call: 257, errno: 13, object: "leave /srv/store/link"}, "openat(...) leave /srv/store/link", "a grant for what the link or mount there leads to"},
			{denied{call: 88, errno: 1, object: "special /srv/store/link"}, "symlink(...) special /srv/store/link", "nothing in a policy allows it"},
			{denied{call: ^uint32(0), errno: 1, object: "start decode"}, "start decode", "components.web.may-start: [decode]"},
			{denied{call: ^uint32(0), errno: 1, object: "open mail/x"}, "open mail/x", "components.web.grants: [mail]"},
			{denied{call: ^uint32(0), errno: 1, object: "start a], b: [c"}, "start a], b: [c", `components.web.may-start: ["a], b: [c"]`},
			{denied{call: 257, errno: 13, object: "open /x], write: [/etc"}, "openat(...) open /x], write: [/etc", `components.web.files: {read: ["/x], write: [/etc"]}`},
			{denied{call: ^uint32(0), errno: 13, object: "open store/x"}, "open store/x", "grants.store.access: read-write"},
			{denied{call: ^uint32(0), errno: 18, object: "open store/../x"}, "open store/../x", "nothing in a policy allows it"},
			{denied{call: 9999, errno: 38}, "system call 9999", "nothing in a policy allows it"},
		} {
			c.event.times = 2
			before := len(m.app.denials.order)
			m.tell(c.event)
			m.tell(c.event)
			if len(m.app.denials.order) != before+1 {
				t.Fatalf("%s: not one kind", c.tried)
			}
			d := m.app.denials.order[before]
			if d.Tried != c.tried || d.Allow != c.allow || d.Count != 4 {
				t.Errorf("got  %+v\nwant %s, %s", d, c.tried, c.allow)
			}
		}
		m.noted("component web: denied: socket(AF_NETLINK, SOCK_RAW, ...): EPERM; to allow it: components.web.syscalls: [\"@netlink-route\"]")
		for i := range uint64(3 * deniedKinds) {
			m.app.denied(denied{call: 101, arguments: [3]uint64{i}, times: 1})
		}
		if len(m.app.denials.order) != deniedKinds || m.app.denials.more == 0 {
			t.Errorf("%d kinds, %d more", len(m.app.denials.order), m.app.denials.more)
		}
	})
}

func TestGrantsAreCounted(t *testing.T) {
	p := application(with("web", nil))
	p.Grants = []plan.Grant{{Name: "store", Kind: plan.GrantDirectory}}
	play(t, p, func(m *script) {
		m.tell(granted{object: "a.jpg", times: 3})
		m.tell(granted{object: "b.jpg", times: 1})
		got := m.component("web").Grants
		if len(got) != 1 || got[0].Name != "store" || got[0].Count != 4 || got[0].Last != "b.jpg" {
			t.Errorf("grants %+v", got)
		}
	})
}
