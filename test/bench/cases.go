package main

import (
	"fmt"
	"io"
)

// A benchCase is one line of the report.
type benchCase struct {
	group     *group
	name      string
	isolation string // what stands between the program and the machine, and what does not
	needs     []need // Debian packages
	ours      bool   // measures Bulkhead: -check guards these
	network   bool   // makes network namespaces, which the kernel takes apart late
	seldom    bool   // takes seconds: one sample in a few rounds
	// command returns a program and its arguments. The runner puts the number of samples before the
	// arguments, and the program prints that many, in nanoseconds, one a line. An unable error skips the case.
	command func(*workshop) ([]string, error)
}

func (c *benchCase) String() string { return c.group.title + ": " + c.name }

func (c *benchCase) baseline() *benchCase {
	for _, b := range table {
		if b.group == c.group && b.name == c.group.baseline {
			return b
		}
	}
	panic("the table has no case " + c.group.baseline)
}

// What the isolation column says, in parts that several lines share.
const (
	coldWalls       = "fresh pid, mount, ipc, uts namespaces; own root and /proc; 60-rule filter"
	coldLacks       = "no user namespace, no cgroup, no Landlock, capabilities kept"
	bwrapWalls      = "all namespaces; own root, /proc, /tmp"
	workerWalls     = "fresh pid, mount, ipc namespaces, /proc, /tmp; 60-rule filter; 10 Landlock rules; no capabilities; the rest is its compartment's"
	noLeaf          = "; no cgroup leaf"
	leafWalls       = workerWalls + "; cgroup leaf (memory, pids, cpu) made and removed in the time"
	ociWalls        = "all namespaces but user; own root; 60-rule filter; no capabilities; cgroup (memory, pids, cpu, devices); no Landlock"
	connectionWalls = "fresh pid, mount, ipc namespaces, no /proc; filter; Landlock; no capabilities; cgroup leaf (memory, pids); the rest is its compartment's"
	oursCold        = "full compartment of the plan: all namespaces, own root, cgroup, filter, Landlock"
)

// table is every case of the suite, in the order of the report.
var table = []*benchCase{
	{
		group: coldEnd, name: "raw: clone3 and exec",
		isolation: "none", needs: []need{busybox},
		command: start("true"),
	},
	{
		group: coldEnd, name: "raw: namespaces, filter",
		isolation: coldWalls + "; network of the host; " + coldLacks, needs: []need{busybox},
		command: cold("true"),
	},
	{
		group: coldEnd, name: "raw: namespaces, network, filter", network: true,
		isolation: coldWalls + "; own network namespace; " + coldLacks, needs: []need{busybox},
		command: cold("true", "-net"),
	},
	{
		group: coldEnd, name: "unshare", network: true,
		isolation: "all namespaces; own /proc; root of the host, no filter, no cgroup, no Landlock, capabilities kept within the user namespace", needs: []need{busybox, unshare},
		command: unshareAll("true"),
	},
	{
		group: coldEnd, name: "bwrap --unshare-all", network: true,
		isolation: bwrapWalls + "; no filter, no cgroup, no Landlock, capabilities kept within the user namespace", needs: []need{busybox, bubblewrap},
		command: bwrap("true"),
	},
	{
		group: coldEnd, name: "bwrap, filter, no capabilities", network: true,
		isolation: bwrapWalls + "; 60-rule filter, compiled before; no capabilities; no cgroup, no Landlock",
		needs:     []need{busybox, bubblewrap},
		command:   bwrapFilter("true"),
	},
	{
		group: coldEnd, name: "crun run", network: true,
		isolation: ociWalls, needs: []need{busybox, crun},
		command: crunRun("true"),
	},
	{
		group: coldEnd, name: "runc run", network: true,
		isolation: ociWalls, needs: []need{busybox, runc},
		command: oci("runc", "true"),
	},
	{
		group: coldEnd, name: "firejail --net=none --noprofile", network: true,
		isolation: "pid, mount, ipc, uts, network namespaces; root of the host, some of it masked; no user namespace, no filter, no cgroup, no Landlock, capabilities kept",
		needs:     []need{busybox, firejail},
		command:   firejailAlone("true"),
	},
	{
		group: coldEnd, name: "sandbox wrap", ours: true, network: true,
		isolation: oursCold, needs: []need{busybox},
		command: sandboxWrap("true"),
	},

	{
		group: coldRested, name: "bwrap --unshare-all", network: true,
		isolation: bwrapWalls + "; no filter, no cgroup, no Landlock, capabilities kept within the user namespace", needs: []need{busybox, bubblewrap},
		command: bwrap("true", "-rest", "100"),
	},
	{
		group: coldRested, name: "runc run", network: true,
		isolation: ociWalls, needs: []need{busybox, runc},
		command: oci("runc", "true", "-rest", "100"),
	},
	{
		group: coldRested, name: "sandbox wrap", ours: true, network: true,
		isolation: oursCold, needs: []need{busybox},
		command: sandboxWrap("true", "-rest", "100"),
	},

	{
		group: coldFirst, name: "raw: clone3 and exec",
		isolation: "none",
		command:   start("stamp", "-first"),
	},
	{
		group: coldFirst, name: "raw: namespaces, network, filter", network: true,
		isolation: coldWalls + "; own network namespace; " + coldLacks,
		command:   cold("stamp", "-net", "-first"),
	},
	{
		group: coldFirst, name: "bwrap --unshare-all", network: true,
		isolation: bwrapWalls + "; no filter, no cgroup, no Landlock, capabilities kept within the user namespace", needs: []need{bubblewrap},
		command: bwrap("stamp", "-first"),
	},
	{
		group: coldFirst, name: "crun run", network: true,
		isolation: ociWalls, needs: []need{crun},
		command: crunRun("stamp", "-first"),
	},
	{
		group: coldFirst, name: "runc run", network: true,
		isolation: ociWalls, needs: []need{runc},
		command: oci("runc", "stamp", "-first"),
	},
	{
		group: coldFirst, name: "sandbox wrap", ours: true, network: true,
		isolation: oursCold,
		command:   sandboxWrap("stamp", "-first"),
	},

	{
		group: workerEnd, name: "raw: worker",
		isolation: workerWalls + noLeaf + "; asked for by the compartment's init", needs: []need{busybox},
		command: worker("true"),
	},
	{
		group: workerEnd, name: "raw: worker, filter as a tree",
		isolation: workerWalls + noLeaf + "; the same rules arranged for binary search; asked for by the compartment's init", needs: []need{busybox},
		command: worker("true", "-tree"),
	},
	{
		group: workerEnd, name: "raw: worker, own network", network: true,
		isolation: workerWalls + ", but for a fresh network namespace" + noLeaf + "; asked for by the compartment's init", needs: []need{busybox},
		command: worker("true", "-net"),
	},
	{
		group: workerEnd, name: "raw: worker, asked",
		isolation: workerWalls + noLeaf + "; asked for over a socket from outside", needs: []need{busybox},
		command: worker("true", "-asked"),
	},
	{
		group: workerEnd, name: "raw: worker with cgroup leaf, asked",
		isolation: leafWalls + "; asked for over a socket from outside", needs: []need{busybox},
		command: workerLeaf("true"),
	},
	{
		group: workerEnd, name: "worker start", ours: true,
		isolation: leafWalls, needs: []need{busybox},
		command: oursWorker("true"),
	},

	{
		group: throughput, name: "raw: clone3 and exec",
		isolation: "none", needs: []need{busybox},
		command: start("true", "-flight", "4"),
	},
	{
		group: throughput, name: "bwrap --unshare-all", network: true,
		isolation: bwrapWalls + "; no filter, no cgroup, no Landlock, capabilities kept within the user namespace", needs: []need{busybox, bubblewrap},
		command: bwrap("true", "-flight", "4"),
	},
	{
		group: throughput, name: "worker start", ours: true,
		isolation: workerWalls + "; cgroup leaf (memory, pids), which is what a policy has that says nothing of it", needs: []need{busybox},
		command: oursWorker("true", "-one-core", "-flight", "4", "-default-limits"),
	},

	{
		group: processor, name: "raw: clone3 and exec",
		isolation: "none", needs: []need{busybox},
		command: accounted(start("true", "-flight", "4", "-processor")),
	},
	{
		group: processor, name: "raw: worker, asked",
		isolation: workerWalls + noLeaf + "; asked for over a socket from outside, one after the other", needs: []need{busybox},
		command: accounted(worker("true", "-processor")),
	},
	{
		group: processor, name: "raw: worker with cgroup leaf, asked",
		isolation: leafWalls + "; asked for over a socket from outside, one after the other", needs: []need{busybox},
		command: accounted(workerLeaf("true", "-processor")),
	},
	{
		group: processor, name: "bwrap --unshare-all", network: true,
		isolation: bwrapWalls + "; no filter, no cgroup, no Landlock, capabilities kept within the user namespace", needs: []need{busybox, bubblewrap},
		command: accounted(bwrap("true", "-flight", "4", "-processor")),
	},
	{
		group: processor, name: "worker start", ours: true,
		isolation: workerWalls + "; cgroup leaf (memory, pids); monitor, supervisor and the front that asks are in it", needs: []need{busybox},
		command: accounted(oursWorker("true", "-one-core", "-flight", "4", "-default-limits", "-processor")),
	},

	{
		group: workerFirst, name: "raw: worker",
		isolation: workerWalls + noLeaf + "; asked for by the compartment's init",
		command:   worker("stamp", "-first"),
	},
	{
		group: workerFirst, name: "raw: worker, filter as a tree",
		isolation: workerWalls + noLeaf + "; the same rules arranged for binary search; asked for by the compartment's init",
		command:   worker("stamp", "-tree", "-first"),
	},
	{
		group: workerFirst, name: "raw: worker, asked",
		isolation: workerWalls + noLeaf + "; asked for over a socket from outside",
		command:   worker("stamp", "-asked", "-first"),
	},
	{
		group: workerFirst, name: "raw: worker with cgroup leaf, asked",
		isolation: leafWalls + "; asked for over a socket from outside",
		command:   workerLeaf("stamp", "-first"),
	},
	{
		group: workerFirst, name: "worker start", ours: true,
		isolation: leafWalls,
		command:   oursWorker("stamp", "-first"),
	},
	{
		group: workerFirst, name: "worker start ready-ahead", ours: true,
		isolation: leafWalls + ", but before the request",
		command:   oursWorker("stamp", "-first", "-ready-ahead"),
	},

	{
		group: descriptor, name: "direct: open and close",
		isolation: "none",
		command:   onOneFile("handout", "-direct"),
	},
	{
		group: descriptor, name: "raw: hand-out over SOCK_SEQPACKET",
		isolation: "two processes on cores of the scheduler's choice",
		command:   onOneFile("handout"),
	},
	{
		group: descriptor, name: "raw: hand-out, one core",
		isolation: "two processes on one core",
		command:   onOneFile("handout", "-one-core"),
	},
	{
		group: descriptor, name: "raw: transparent open",
		isolation: "user notification and ADDFD|SEND; two processes on cores of the scheduler's choice",
		command:   onOneFile("notify"),
	},
	{
		group: descriptor, name: "raw: transparent open, sync wake-up",
		isolation: "the same with SYNC_WAKE_UP set on the listener (Linux 6.6)",
		command:   onOneFile("notify", "-sync"),
	},
	{
		group: descriptor, name: "raw: transparent open, one core",
		isolation: "the same, two processes on one core",
		command:   onOneFile("notify", "-one-core"),
	},

	{
		group: granted, name: "raw: hand-out over SOCK_SEQPACKET",
		isolation: "two processes on cores of the scheduler's choice; nothing is asked, checked or written down",
		command:   onOneFile("handout"),
	},
	{
		group: granted, name: "raw: hand-out, one core",
		isolation: "the same on one core",
		command:   onOneFile("handout", "-one-core"),
	},
	{
		group: granted, name: "raw: hand-out with the same checks",
		isolation: "it waits for many, opens beneath a directory, and looks at what it is",
		command:   onOneFile("handout", "-checked"),
	},
	{
		group: granted, name: "raw: hand-out with the same checks, one core",
		isolation: "the same on one core",
		command:   onOneFile("handout", "-checked", "-one-core"),
	},
	{
		group: granted, name: "open of a grant, one core", ours: true,
		isolation: "asker, monitor and supervisor on one core",
		command:   oursGrant("-one-core"),
	},
	{
		group: granted, name: "open of a grant", ours: true,
		isolation: "the asker is a worker; the monitor looks the grant up, opens it beneath its root, looks at what it is, and tells the supervisor",
		command:   oursGrant(),
	},
	{
		group: granted, name: "open of a grant, eight at once", ours: true,
		isolation: "the same, asked by eight components at once: time for each",
		command:   oursGrant("-clients", "8"),
	},

	{
		group: opened, name: "raw: transparent open",
		isolation: "user notification and ADDFD|SEND; two processes on cores of the scheduler's choice; the path is compared with the only one",
		command:   onOneFile("notify"),
	},
	{
		group: opened, name: "raw: transparent open, one core",
		isolation: "the same on one core",
		command:   onOneFile("notify", "-one-core"),
	},
	{
		group: opened, name: "transparent open, one core", ours: true,
		isolation: "opener, monitor and supervisor on one core",
		command:   oursGrant("-transparent", "-one-core"),
	},
	{
		group: opened, name: "transparent open", ours: true,
		isolation: "the opener is a worker; the monitor finds the grant, opens it beneath its root, looks at what it is, and tells the supervisor",
		command:   oursGrant("-transparent"),
	},
	{
		group: opened, name: "transparent open, eight at once", ours: true,
		isolation: "the same by eight components at once: time for each",
		command:   oursGrant("-transparent", "-clients", "8"),
	},

	{
		group: connection, name: "raw: accept, clone3, exec",
		isolation: "none",
		command:   rawService("echo"),
	},
	{
		group: connection, name: "xinetd",
		isolation: "none", needs: []need{xinetd},
		command: xinetdService("echo"),
	},
	{
		group: connection, name: "tcpserver",
		isolation: "none", needs: []need{tcpserver},
		command: tcpserverService("echo"),
	},
	{
		group: connection, name: "systemd-socket-activate",
		isolation: "none; systemd's own test tool for Accept=yes, without its units", needs: []need{activate},
		command: activatedService("echo"),
	},
	{
		group: connection, name: "per-connection", ours: true,
		isolation: connectionWalls,
		command:   perConnection("echo", 0),
	},
	{
		group: connection, name: "per-connection ready-ahead", ours: true,
		isolation: "the same, prepared before the connection",
		command:   perConnection("echo", 4),
	},

	{
		group: requests, name: "raw: accept, clone3, exec",
		isolation: "none",
		command:   rawService("http", "-http"),
	},
	{
		group: requests, name: "xinetd",
		isolation: "none", needs: []need{xinetd},
		command: xinetdService("http", "-http"),
	},
	{
		group: requests, name: "tcpserver",
		isolation: "none", needs: []need{tcpserver},
		command: tcpserverService("http", "-http"),
	},
	{
		group: requests, name: "systemd-socket-activate",
		isolation: "none; systemd's own test tool for Accept=yes, without its units", needs: []need{activate},
		command: activatedService("http", "-http"),
	},
	{
		group: requests, name: "per-connection", ours: true,
		isolation: connectionWalls,
		command:   perConnection("http", 0, "-http"),
	},
	{
		group: requests, name: "per-connection ready-ahead", ours: true,
		isolation: "the same, prepared before the connection",
		command:   perConnection("http", 4, "-http"),
	},

	{
		group: rate, name: "raw: accept, clone3, exec",
		isolation: "none",
		command:   rawService("echo", "-flight", "8"),
	},
	{
		group: rate, name: "xinetd",
		isolation: "none", needs: []need{xinetd},
		command: xinetdService("echo", "-flight", "8"),
	},
	{
		group: rate, name: "tcpserver",
		isolation: "none", needs: []need{tcpserver},
		command: tcpserverService("echo", "-flight", "8"),
	},
	{
		group: rate, name: "systemd-socket-activate",
		isolation: "none; systemd's own test tool for Accept=yes, without its units", needs: []need{activate},
		command: activatedService("echo", "-flight", "8"),
	},
	{
		group: rate, name: "per-connection", ours: true,
		isolation: connectionWalls,
		command:   perConnection("echo", 0, "-flight", "8"),
	},
	{
		group: rate, name: "per-connection ready-ahead", ours: true,
		isolation: "the same, prepared before the connection",
		command:   perConnection("echo", 4, "-flight", "8"),
	},

	{
		group: requestRate, name: "raw: accept, clone3, exec",
		isolation: "none",
		command:   rawService("http", "-http", "-flight", "8"),
	},
	{
		group: requestRate, name: "xinetd",
		isolation: "none", needs: []need{xinetd},
		command: xinetdService("http", "-http", "-flight", "8"),
	},
	{
		group: requestRate, name: "tcpserver",
		isolation: "none", needs: []need{tcpserver},
		command: tcpserverService("http", "-http", "-flight", "8"),
	},
	{
		group: requestRate, name: "systemd-socket-activate",
		isolation: "none; systemd's own test tool for Accept=yes, without its units", needs: []need{activate},
		command: activatedService("http", "-http", "-flight", "8"),
	},
	{
		group: requestRate, name: "per-connection", ours: true,
		isolation: connectionWalls,
		command:   perConnection("http", 0, "-http", "-flight", "8"),
	},
	{
		group: requestRate, name: "per-connection ready-ahead", ours: true,
		isolation: "the same, prepared before the connection",
		command:   perConnection("http", 4, "-http", "-flight", "8"),
	},

	{
		group: ready, name: "start, asked by ctl", ours: true,
		isolation: connectionWalls,
		command:   componentLife("start"),
	},
	{
		group: ready, name: "again after a kill -9", ours: true,
		isolation: "the same, from the signal on",
		command:   componentLife("crash"),
	},

	{
		group: parallel, name: "bare: the programs alone", seldom: true,
		isolation: "none", needs: []need{python},
		command: componentLife("bare"),
	},
	{
		group: parallel, name: "components", ours: true, seldom: true, network: true,
		isolation: "a full compartment for each; launcher, builders, monitor and supervisor are in the time", needs: []need{python},
		command: componentLife("parallel"),
	},
}

func list(out io.Writer, chosen []*benchCase) {
	var last *group
	for _, c := range chosen {
		if c.group != last {
			fmt.Fprintf(out, "%s\n", c.group.title)
			last = c.group
		}
		fmt.Fprintf(out, "  %s\n      %s\n", c.name, c.isolation)
	}
}
