package main

// A group is a set of cases that answer one question, each given as a ratio to the same baseline.
type group struct {
	title    string
	baseline string // name of the case that is 1.00
	together bool   // many at once: a sample is the whole time divided by their number
	rested   bool   // its programs wait before each sample, so it takes few
}

var (
	coldEnd = &group{
		title:    "Cold start of busybox true, one after the other, from the request until its end was seen",
		baseline: "raw: namespaces, network, filter",
	}
	coldRested = &group{
		title:    "Cold start of busybox true from rest, 100 ms after the one before, until its end was seen",
		baseline: "runc run",
		rested:   true,
	}
	coldFirst = &group{
		title:    "Cold start, one after the other, from the request to the program's first instruction",
		baseline: "raw: namespaces, network, filter",
	}
	workerEnd = &group{
		title:    "Worker of a compartment that is up, busybox true, from the request until its end was seen",
		baseline: "raw: worker with cgroup leaf, asked",
	}
	throughput = &group{
		title:    "Throughput of one core: busybox true, four at once, everything pinned to one core, time for each",
		baseline: "bwrap --unshare-all",
		together: true,
	}
	processor = &group{
		title:    "Processor time of one start of busybox true, of everybody who takes part; the kernel's own threads are in none",
		baseline: "bwrap --unshare-all",
		together: true,
	}
	workerFirst = &group{
		title:    "Worker of a compartment that is up, from the request to the program's first instruction",
		baseline: "raw: worker with cgroup leaf, asked",
	}
	descriptor = &group{
		title:    "One open file: opened, passed, closed",
		baseline: "direct: open and close",
	}
	granted = &group{
		title:    "One open file, asked of a privileged process, which opens it: from the request until it was there and closed",
		baseline: "raw: hand-out over SOCK_SEQPACKET",
	}
	opened = &group{
		title:    "One open file, by a program that nobody changed: from the stopped open until it was closed",
		baseline: "raw: transparent open",
	}
	requests = &group{
		title:    "One HTTP request of 1 KiB to a service with a program for each connection, on loopback",
		baseline: "raw: accept, clone3, exec",
	}
	rate = &group{
		title:    "Connections to an echo service with a program for each, eight clients at once: time for each connection",
		baseline: "raw: accept, clone3, exec",
		together: true,
	}
	requestRate = &group{
		title:    "HTTP requests of 1 KiB to a service with a program for each connection, eight clients at once: time for each",
		baseline: "raw: accept, clone3, exec",
		together: true,
	}
	ready = &group{
		title:    "A small component whose compartment is there, until it was ready",
		baseline: "start, asked by ctl",
	}
	parallel = &group{
		title:    "200 components in Python from nothing until all are ready: processor time of everybody",
		baseline: "bare: the programs alone",
	}
	connection = &group{
		title:    "One connection to an echo service with a program for each connection, on loopback",
		baseline: "raw: accept, clone3, exec",
	}
)
