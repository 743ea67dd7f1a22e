package policy

import (
	"math/rand"
	"testing"

	"bulkhead/policy/calls"
	"bulkhead/policy/plan"
)

// TestEveryCallIsInAGroup: a call that no group has could be neither denied by
// a group nor explained.
func TestEveryCallIsInAGroup(t *testing.T) {
	groups := map[string]string{}
	for _, group := range callGroups {
		for _, call := range callsOf[group.name] {
			if _, known := calls.Number(call); !known {
				t.Errorf("@%s has %q, which is no call", group.name, call)
			}
			groups[call] = group.name
		}
	}
	for _, call := range calls.Names() {
		if groups[call] == "" {
			t.Errorf("%s is in no group", call)
		}
	}
}

func TestDefaultHasNothingOfThePrivilegedGroups(t *testing.T) {
	for _, group := range []string{"default", "file-system", "network-io", "threads", "process", "ipc", "resources", "terminal", "sandbox", "aio"} {
		for _, call := range callsOf[group] {
			for _, wide := range []string{"privileged", "debug", "absent", "identity"} {
				if contains(callsOf[wide], call) {
					t.Errorf("%s is in @%s and in @%s", call, group, wide)
				}
			}
		}
	}
}

func TestExceptIsTheRestOfAllNumbers(t *testing.T) {
	conditions := except(1, ioctlsNever)
	matches := func(value uint64) int {
		n := 0
		for _, c := range conditions {
			if value&c.Mask == c.Value {
				n++
			}
		}
		return n
	}
	for _, never := range ioctlsNever {
		for _, high := range []uint64{0, 1 << 32, 0xffffffff << 32} {
			if matches(never|high) != 0 {
				t.Errorf("%#x is allowed", never|high)
			}
		}
		for bit := range 32 {
			near, forbidden := never^1<<bit, 0
			for _, other := range ioctlsNever {
				if near == other {
					forbidden = 1
				}
			}
			if matches(near) != 1-forbidden {
				t.Errorf("%#x matches %d conditions", near, matches(near))
			}
		}
	}
	random := rand.New(rand.NewSource(1))
	for range 10_000 {
		if value := uint64(random.Uint32()); matches(value) != 1 && !contains64(ioctlsNever, value) {
			t.Fatalf("%#x matches %d conditions", value, matches(value))
		}
	}
}

func contains64(list []uint64, wanted uint64) bool {
	for _, element := range list {
		if element == wanted {
			return true
		}
	}
	return false
}

// decide evaluates rules as the kernel would.
func decide(s plan.Syscalls, call string, arguments ...uint64) plan.Action {
	decision := s.Default
	for _, r := range s.Rules {
		if r.Call != call {
			continue
		}
		holds := true
		for _, c := range r.Conditions {
			value := uint64(0)
			if int(c.Argument) < len(arguments) {
				value = arguments[c.Argument]
			}
			holds = holds && c.Holds(value)
		}
		if holds {
			decision = r.Action
		}
	}
	return decision
}

func filterOf(t *testing.T, component string) plan.Syscalls {
	t.Helper()
	text := "application: a\ngrants: {http: {listen: \"tcp:127.0.0.1:80\"}, store: {directory: /usr/share, access: read-write}, file: {file: /etc/passwd}, log: {file: /etc/hostname, access: append}}\ncomponents:\n  web: " + component + "\n"
	p, err := Parse("p.yaml", []byte(text), Options{})
	if err != nil {
		t.Fatal(err)
	}
	result, _, err := Compile(p, LocalHost())
	if err != nil {
		t.Fatal(err)
	}
	return result.Components[0].Syscalls
}

func TestDecisions(t *testing.T) {
	const program = "command: [/usr/bin/env]"
	parser := filterOf(t, "{extends: parser, "+program+"}")
	plain := filterOf(t, "{"+program+"}")
	server := filterOf(t, "{"+program+", grants: [http]}")
	own := filterOf(t, "{"+program+", grants: [http], transparent: false}")
	routes := filterOf(t, "{"+program+", syscalls: [\"@netlink-route\"]}")
	both := filterOf(t, "{"+program+", grants: [http], syscalls: [\"@netlink-route\"]}")
	taken := filterOf(t, "{"+program+", syscalls: [\"@netlink-route\", {deny: [socket]}]}")
	wide := filterOf(t, "{"+program+", syscalls: [ioctl, clone, {call: setpriority, argument: 2, greater-or-equal: 5}, {deny: [\"@ipc\", execve]}]}")
	files := filterOf(t, "{"+program+", grants: [store], transparent: true}")
	file := filterOf(t, "{"+program+", grants: [file], transparent: true, files: {temporary: /tmp}}")
	asks := filterOf(t, "{"+program+", grants: [store]}")
	fewer := filterOf(t, "{"+program+", grants: [store], transparent: true, syscalls: [{deny: [unlink]}]}")
	logs := filterOf(t, "{"+program+", grants: [log], syscalls: [ioctl]}")
	renames := filterOf(t, "{"+program+", syscalls: [renameat2]}")
	fileAndOwn := filterOf(t, "{"+program+", grants: [store], transparent: true, files: {temporary: /tmp}}")
	leases := filterOf(t, "{"+program+", syscalls: [{call: fcntl, argument: 1, equal: 1024}]}")
	named := filterOf(t, "{"+program+", syscalls: [fcntl]}")
	logsLeases := filterOf(t, "{"+program+", grants: [log], syscalls: [{call: fcntl, argument: 1, equal: 1024}, {call: fcntl, argument: 1, less: 9}]}")
	writes := filterOf(t, "{"+program+", grants: [store], syscalls: [\"@file-system\"]}")
	makes := filterOf(t, "{"+program+", syscalls: [\"@file-system\"]}")
	written := filterOf(t, "{"+program+", syscalls: [{deny: [truncate, openat2]}]}")
	openat2 := filterOf(t, "{"+program+", syscalls: [{deny: [truncate]}]}")
	opens := filterOf(t, "{"+program+", syscalls: [openat, {deny: [truncate, openat2]}]}")
	someOpens := filterOf(t, "{"+program+", syscalls: [{deny: [truncate, openat2]}, {call: openat, argument: 2, equal: 0x200}]}")
	grantAndNo := filterOf(t, "{"+program+", grants: [store], transparent: true, syscalls: [{deny: [truncate, openat2]}]}")
	const thread = 0x3d0f00 // what pthread_create(3) passes
	for _, test := range []struct {
		name      string
		filter    plan.Syscalls
		call      string
		arguments []uint64
		want      plan.Action
	}{
		{"reading", parser, "read", nil, plan.Allow},
		{"a socket in a parser", parser, "socket", []uint64{2, 1, 0}, plan.Refuse},
		{"fork in a parser", parser, "fork", nil, plan.Refuse},
		{"clone as fork in a parser", parser, "clone", []uint64{17}, plan.Refuse},
		{"a thread in a parser", parser, "clone", []uint64{thread}, plan.Refuse},
		{"making files in a parser", parser, "mkdirat", nil, plan.Refuse},
		{"clone3", plain, "clone3", nil, plan.Errno},
		{"io_uring", plain, "io_uring_setup", nil, plan.Errno},
		{"a thread", plain, "clone", []uint64{thread}, plan.Allow},
		{"fork", plain, "clone", []uint64{17}, plan.Allow},
		{"a user namespace", plain, "clone", []uint64{0x10000000 | 17}, plan.Refuse},
		{"a mount namespace in a thread", plain, "clone", []uint64{thread | 0x20000}, plan.Refuse},
		{"unshare", plain, "unshare", []uint64{0x10000000}, plan.Refuse},
		{"ptrace", plain, "ptrace", nil, plan.Refuse},
		{"isatty", plain, "ioctl", []uint64{1, 0x5401}, plan.Allow},
		{"TIOCSTI", plain, "ioctl", []uint64{1, 0x5412}, plan.Refuse},
		{"TIOCSTI with bits above", wide, "ioctl", []uint64{1, 1<<32 | 0x5412}, plan.Refuse},
		{"TIOCLINUX where ioctl is named", wide, "ioctl", []uint64{1, 0x541c}, plan.Refuse},
		{"another where ioctl is named", wide, "ioctl", []uint64{1, 0xae01}, plan.Allow},
		{"a range of zeros where ioctl is named", wide, "ioctl", []uint64{1, 0x40305839}, plan.Allow},
		{"a range of zeros beside a file to append to", logs, "ioctl", []uint64{1, 0x40305839}, plan.Refuse},
		{"a hole beside a file to append to", logs, "ioctl", []uint64{1, 1<<32 | 0x40305829}, plan.Refuse},
		{"another beside a file to append to", logs, "ioctl", []uint64{1, 0xae01}, plan.Allow},
		{"keepalive", server, "setsockopt", []uint64{3, 1, 9}, plan.Allow},
		{"linger", server, "setsockopt", []uint64{3, 1, 13}, plan.Broker},
		{"linger with bits above", server, "setsockopt", []uint64{3, 1<<32 | 1, 1<<32 | 13}, plan.Broker},
		{"type of service", server, "setsockopt", []uint64{3, 0, 1}, plan.Broker},
		{"no delay", server, "setsockopt", []uint64{3, 6, 1}, plan.Allow},
		{"another elsewhere", plain, "ioctl", []uint64{1, 0xae01}, plan.Refuse},
		{"namespaces where clone is named", wide, "clone", []uint64{0x10000000}, plan.Refuse},
		{"a condition that holds", wide, "setpriority", []uint64{0, 0, 5}, plan.Allow},
		{"a condition that does not", wide, "setpriority", []uint64{0, 0, 4}, plan.Refuse},
		{"what is denied", wide, "execve", nil, plan.Refuse},
		{"a server's socket", server, "socket", []uint64{2, 1, 0}, plan.Broker},
		{"a server's unix socket", server, "socket", []uint64{1, 1, 0}, plan.Broker},
		{"netlink", server, "socket", []uint64{16, 3, 0}, plan.Errno},
		{"a raw packet socket", server, "socket", []uint64{17, 3, 0}, plan.Refuse},
		{"bind", server, "bind", nil, plan.Broker},
		{"connect", server, "connect", nil, plan.Broker},
		{"accept", server, "accept4", nil, plan.Allow},
		{"sending", server, "sendto", []uint64{3, 0, 0, 0x4000, 0, 0}, plan.Allow},
		{"connecting by sending", server, "sendto", []uint64{3, 0, 0, 0x20000000, 0, 0}, plan.Errno},
		{"connecting by sendmsg", server, "sendmsg", []uint64{3, 0, 0x20004000}, plan.Errno},
		{"connecting by sendmmsg", server, "sendmmsg", []uint64{3, 0, 1, 0x20004000}, plan.Errno},
		{"the kernel's routes", routes, "socket", []uint64{16, 0x80003, 0}, plan.Allow},
		{"the bits above", routes, "socket", []uint64{1<<32 | 16, 3, 1<<32 | 0}, plan.Allow},
		{"another netlink", routes, "socket", []uint64{16, 3, 9}, plan.Refuse},
		{"a socket beside netlink", routes, "socket", []uint64{2, 1, 0}, plan.Refuse},
		{"binding netlink", routes, "bind", nil, plan.Allow},
		{"connecting beside netlink", routes, "connect", nil, plan.Refuse},
		{"the kernel's routes of a server", both, "socket", []uint64{16, 3, 0}, plan.Allow},
		{"another netlink of a server", both, "socket", []uint64{16, 3, 9}, plan.Refuse},
		{"a socket of a server with netlink", both, "socket", []uint64{2, 1, 0}, plan.Broker},
		{"binding netlink of a server", both, "bind", nil, plan.Broker},
		{"netlink that is denied again", taken, "socket", []uint64{16, 3, 0}, plan.Refuse},
		{"sockets of its own", own, "socket", []uint64{2, 1, 0}, plan.Allow},
		{"opening beside a grant", files, "openat", nil, plan.Broker},
		{"opening that is on request only", asks, "openat", nil, plan.Allow},
		{"removing beside a grant", files, "unlinkat", nil, plan.Broker},
		{"removing that is denied", fewer, "unlink", nil, plan.Refuse},
		{"removing beside a file", file, "unlinkat", nil, plan.Allow},
		{"opening beside a file", file, "openat", nil, plan.Broker},
		{"looking at a path", files, "newfstatat", []uint64{3, 1, 1, 0x100}, plan.Broker},
		{"looking at a descriptor", files, "newfstatat", []uint64{3, 1, 1, 0x1000}, plan.Allow},
		{"looking at a descriptor by statx", files, "statx", []uint64{3, 1, 0x1000}, plan.Allow},
		{"looking at a path by statx", files, "statx", []uint64{3, 1, 0}, plan.Broker},
		{"the times of a path", files, "utimensat", []uint64{3, 1}, plan.Broker},
		{"the times of a descriptor", files, "utimensat", []uint64{3, 0}, plan.Allow},
		{"the mode of a descriptor", files, "fchmod", []uint64{3, 0o755}, plan.Broker},
		{"set-user-ID", files, "fchmod", []uint64{3, 0o4755}, plan.Broker},
		{"a mode beside a grant", writes, "fchmod", []uint64{3, 0o755}, plan.Allow},
		{"set-user-ID beside a grant", writes, "fchmod", []uint64{3, 0o4755}, plan.Refuse},
		{"set-group-ID by a path beside a grant", writes, "fchmodat2", []uint64{3, 0, 0o2755, 0x1000}, plan.Refuse},
		{"set-user-ID without a grant", makes, "fchmod", []uint64{3, 0o4755}, plan.Allow},
		{"a rename", makes, "renameat2", []uint64{3, 1, 3, 1, 0}, plan.Allow},
		{"a rename that replaces nothing", makes, "renameat2", []uint64{3, 1, 3, 1, 1}, plan.Allow},
		{"a rename that makes a device", makes, "renameat2", []uint64{3, 1, 3, 1, 4}, plan.Errno},
		{"a rename that makes a device with bits above", renames, "renameat2", []uint64{3, 1, 3, 1, 1<<32 | 5}, plan.Errno},
		{"a rename beside a grant and files of its own", fileAndOwn, "renameat2", []uint64{3, 1, 3, 1, 4}, plan.Broker},
		{"a lock", plain, "fcntl", []uint64{3, 6}, plan.Allow},
		{"the size of a pipe", plain, "fcntl", []uint64{3, 1031}, plan.Allow},
		{"a descriptor that is closed at an exec", plain, "fcntl", []uint64{3, 1030}, plan.Allow},
		{"what a lease is", plain, "fcntl", []uint64{3, 1025}, plan.Allow},
		{"a lease", plain, "fcntl", []uint64{3, 1024}, plan.Refuse},
		{"a lease with bits above", plain, "fcntl", []uint64{3, 1<<32 | 1024}, plan.Refuse},
		{"a delegation", plain, "fcntl", []uint64{3, 1040}, plan.Refuse},
		{"a watch by signals", plain, "fcntl", []uint64{3, 1026}, plan.Refuse},
		{"a lease that is allowed", leases, "fcntl", []uint64{3, 1024}, plan.Allow},
		{"a watch where fcntl is named", named, "fcntl", []uint64{3, 1026}, plan.Allow},
		{"flags of a file to append to", logs, "fcntl", []uint64{3, 4, 0}, plan.Broker},
		{"a lock beside a file to append to", logs, "fcntl", []uint64{3, 6}, plan.Allow},
		{"a lease beside a file to append to", logs, "fcntl", []uint64{3, 1024}, plan.Refuse},
		{"the size of a pipe beside a file to append to", logs, "fcntl", []uint64{3, 1031}, plan.Allow},
		{"a lease that is allowed beside a file to append to", logsLeases, "fcntl", []uint64{3, 1024}, plan.Allow},
		{"flags where more is allowed beside a file to append to", logsLeases, "fcntl", []uint64{3, 4, 0}, plan.Broker},
		{"opening to read", written, "openat", []uint64{3, 1, 0x80000}, plan.Allow},
		{"opening to write and truncate", written, "openat", []uint64{3, 1, 0x80241}, plan.Allow},
		{"opening to read, write and truncate", written, "open", []uint64{1, 0x202}, plan.Allow},
		{"opening to read and truncate", written, "openat", []uint64{3, 1, 0x80200}, plan.Refuse},
		{"opening to read and truncate with bits above", written, "open", []uint64{1, 1<<32 | 0x200}, plan.Refuse},
		{"opening to truncate alone", written, "openat", []uint64{3, 1, 0x203}, plan.Refuse},
		{"opening for neither", written, "openat", []uint64{3, 1, 3}, plan.Allow},
		{"creat", written, "creat", nil, plan.Allow},
		{"opening to truncate where openat2 does, too", openat2, "openat", []uint64{3, 1, 0x200}, plan.Allow},
		{"opening to truncate where openat is named", opens, "openat", []uint64{3, 1, 0x200}, plan.Allow},
		{"opening to truncate where a condition allows it", someOpens, "openat", []uint64{3, 1, 0x200}, plan.Allow},
		{"opening to truncate beside a grant", grantAndNo, "openat", []uint64{3, 1, 0x200}, plan.Broker},
		{"limits of its own", plain, "prlimit64", []uint64{0, 7}, plan.Allow},
		{"limits of another", plain, "prlimit64", []uint64{1, 7}, plan.Refuse},
		{"ADDR_NO_RANDOMIZE", plain, "personality", []uint64{0x40000}, plan.Refuse},
	} {
		if got := decide(test.filter, test.call, test.arguments...); got != test.want {
			t.Errorf("%s: %s%#x: %s, want %s", test.name, test.call, test.arguments, actionText(got, 0), actionText(test.want, 0))
		}
	}
}

// What no grant answers is for the kernel only where the policy allows the
// call by itself.
func TestWhatNoGrantAnswers(t *testing.T) {
	const program = "command: [/usr/bin/env], grants: [store], transparent: true"
	for _, test := range []struct {
		component, call string
		want            int32
	}{
		{"{" + program + "}", "openat", 0},
		{"{" + program + "}", "unlinkat", errnoNoRight},
		{"{" + program + ", files: {temporary: /tmp}}", "unlinkat", 0},
		{"{" + program + "}", "renameat2", errnoNoRight},
		{"{" + program + ", files: {temporary: /tmp}}", "renameat2", 0},
		{"{" + program + ", syscalls: [{call: unlinkat, argument: 2, equal: 0}]}", "unlinkat", errnoNoRight},
	} {
		found := false
		for _, r := range filterOf(t, test.component).Rules {
			if r.Call == test.call && r.Action == plan.Broker {
				found = true
				if r.Errno != test.want {
					t.Errorf("%s: %s: errno %d, want %d", test.component, test.call, r.Errno, test.want)
				}
			}
		}
		if !found {
			t.Errorf("%s: %s is not performed by the monitor", test.component, test.call)
		}
	}
}

func TestConditionsThatReachOutAreForbidden(t *testing.T) {
	for _, test := range []struct {
		call string
		c    plan.Condition
		want bool
	}{
		{"ioctl", plan.Condition{Argument: 1, Comparison: plan.Equal, Value: 0x5401}, false},
		{"ioctl", plan.Condition{Argument: 1, Comparison: plan.Equal, Value: 1<<32 | 0x5412}, true},
		{"ioctl", plan.Condition{Argument: 1, Comparison: plan.NotEqual, Value: 0x5412}, true},
		{"ioctl", plan.Condition{Argument: 1, Comparison: plan.MaskedEqual, Value: 0x5400, Mask: 0xff00}, true},
		{"ioctl", plan.Condition{Argument: 0, Comparison: plan.Equal, Value: 5}, true},
		{"socket", plan.Condition{Argument: 0, Comparison: plan.Equal, Value: 16}, true},
		{"socket", plan.Condition{Argument: 1, Comparison: plan.Equal, Value: 3}, true},
		{"setpriority", plan.Condition{Argument: 0, Comparison: plan.Less, Value: 3}, false},
	} {
		if got := new(filter).forbids(test.call, test.c); got != test.want {
			t.Errorf("%s %+v: %v", test.call, test.c, got)
		}
	}
}
