// Package enclose is what of the host's files the monitor can reach: the launcher
// prepares a root for it, the builder makes that anew.
package enclose

import (
	"errors"
	"fmt"
	"os"
	"strconv"

	"bulkhead/broker/confine"
	"bulkhead/policy/plan"
	"bulkhead/sandbox/cgroup"
	"bulkhead/sandbox/enclosure"
)

// settings are parts of /proc by which root by name changes the host.
var settings = []string{"/proc/sys", "/proc/sysrq-trigger", "/proc/irq", "/proc/bus", "/proc/acpi", "/proc/fs", "/proc/mtrr", "/proc/driver"}

// Places are what root's monitor of some plans keeps: what it opens beneath, and
// what every monitor needs. There are none where it keeps everything, with a
// grant on a file in /.
func Places(directory, group string, plans ...*plan.Plan) ([]enclosure.Place, error) {
	hierarchy, err := cgroup.Find()
	if err != nil {
		return nil, err
	}
	places := []confine.Place{{Path: "/proc", Writable: true}, {Path: os.DevNull, Writable: true}, {Path: directory, Writable: true}}
	for _, at := range hierarchy.Directories(group) {
		places = append(places, confine.Place{Path: at, Writable: true})
	}
	places = confine.Fold(append(places, confine.Places(plans...)...))
	if places[0].Path == "/" {
		return nil, nil
	}
	var all []enclosure.Place
	for _, p := range places {
		all = append(all, enclosure.Place(p))
	}
	for _, at := range settings {
		all = append(all, enclosure.Place{Path: at})
	}
	return all, nil
}

// Prepare prepares the monitor's root, nil where it keeps the host's. An ordinary
// user's does: in a user namespace of its own it would have no rights in those of
// the workers.
func Prepare(directory, group string, p *plan.Plan, program string) (*enclosure.Enclosure, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	places, err := Places(directory, group, p)
	if err != nil || places == nil {
		return nil, err
	}
	// First, so that what is granted comes to lie over it.
	return enclosure.Enclose(directory, append([]enclosure.Place{{Path: program}}, places...))
}

// Again gives a monitor that runs the root of the plans that it has now
// and may have next.
func Again(monitor int, directory, group string, plans ...*plan.Plan) error {
	if os.Geteuid() != 0 {
		return nil // it has the host's, and may not be looked at
	}
	failed := func(err error) error { return fmt.Errorf("make the monitor's root anew: %w", err) }
	namespace, err := os.Open("/proc/" + strconv.Itoa(monitor) + "/ns/mnt")
	if err != nil {
		return failed(err)
	}
	defer namespace.Close()
	// It is this process's parent (CLONE_PARENT), or has ended: then nobody
	// else's root may change.
	if os.Getppid() != monitor {
		return failed(errors.New("it has ended"))
	}
	its, err := namespace.Stat()
	if err != nil {
		return failed(err)
	}
	own, err := os.Stat("/proc/self/ns/mnt")
	if err != nil {
		return failed(err)
	}
	if os.SameFile(own, its) {
		return nil // it has the host's
	}
	places, err := Places(directory, group, plans...)
	if err != nil {
		return failed(err)
	}
	if places == nil {
		return failed(errors.New("a grant on a file in / takes one that reaches everything, and the monitor that runs has given that up for good; stop the application and start it again"))
	}
	e, err := enclosure.Enclose(directory, places)
	if err != nil {
		return failed(err)
	}
	defer e.Close()
	return e.Replace(namespace)
}
