package address

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"bulkhead/policy/plan"
	"bulkhead/sandbox/cgroup"
	"bulkhead/sandbox/reach"
)

// Extend enters compartments that are about to be built into the wall
// of addresses of an application that runs, and forgets those that are gone.
// The programs stay; their maps are found by way of the group that they are
// attached to. This process moves to the group of the monitor, as the launcher
// did, for the sockets that it will make.
func Extend(group string, p *plan.Plan, components []int) error {
	hierarchy, err := cgroup.Find()
	if err != nil {
		return err
	}
	mount := hierarchy.V2()
	t, err := attachedTables(filepath.Join(mount, group))
	if errors.Is(err, errNoWall) {
		for _, i := range components {
			c := &p.Components[i]
			if _, datagrams := reach.Limited(p, i); datagrams && !slices.Contains(c.Optional, "addresses") {
				at := c.Position
				return fmt.Errorf("%s:%d:%d: component %q: limit where its datagrams go: the application was started without that wall; stop it and start it again, or write optional: [addresses] if they may go anywhere",
					at.File, at.Line, at.Column, c.Name)
			}
		}
		return nil
	}
	if err != nil {
		return err
	}
	defer t.close()
	if err := t.forget(filepath.Join(mount, group)); err != nil {
		return err
	}
	for _, i := range components {
		if err := t.enter(filepath.Join(mount, group), p, i); err != nil {
			return err
		}
	}
	outside, err := hierarchy.Move(filepath.Join(group, MonitorGroup))
	outside.Close()
	return err
}

var errNoWall = errors.New("no wall of addresses")

// attachedTables are the maps of the programs that a group has.
func attachedTables(group string) (t tables, err error) {
	directory, err := unix.Open(group, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return t, errNoWall
	}
	defer unix.Close(directory)
	found, err := link.QueryPrograms(link.QueryOptions{Target: directory, Attach: hooks[0].attach})
	if err != nil || len(found.Programs) == 0 {
		return t, errNoWall // or a kernel, or a user, that has none
	}
	defer func() {
		if err != nil {
			t.close()
		}
	}()
	for _, attached := range found.Programs {
		program, err := ebpf.NewProgramFromID(attached.ID)
		if err != nil {
			return t, fmt.Errorf("look at the program of the cgroup %s: %w", group, err)
		}
		info, err := program.Info()
		program.Close()
		if err != nil {
			return t, fmt.Errorf("look at the program of the cgroup %s: %w", group, err)
		}
		maps, _ := info.MapIDs()
		for _, id := range maps {
			m, err := ebpf.NewMapFromID(id)
			if err != nil {
				return t, fmt.Errorf("open a map of the cgroup %s: %w", group, err)
			}
			about, err := m.Info()
			switch {
			case err == nil && about.Name == "components" && t.components == nil:
				t.components = m
			case err == nil && about.Name == "allowed" && t.allowed == nil:
				t.allowed = m
			default:
				m.Close()
			}
		}
	}
	if t.components == nil || t.allowed == nil {
		return t, fmt.Errorf("find the maps of the cgroup %s: %w", group, unix.ENOENT)
	}
	return t, nil
}

// forget removes compartments whose groups are gone, and what they could use.
func (t tables) forget(group string) error {
	there := map[uint64]bool{}
	entries, err := os.ReadDir(group)
	if err != nil {
		return fmt.Errorf("list the cgroups of the application: %w", err)
	}
	for _, e := range entries {
		var st unix.Stat_t
		if e.IsDir() && unix.Stat(filepath.Join(group, e.Name()), &st) == nil {
			there[st.Ino] = true
		}
	}
	var ino uint64
	var number uint32
	used := map[uint32]bool{}
	var gone []uint64
	for all := t.components.Iterate(); all.Next(&ino, &number); {
		if used[number] = used[number] || there[ino]; !there[ino] {
			gone = append(gone, ino)
		}
	}
	for _, ino := range gone {
		t.components.Delete(ino)
	}
	var key [reach.KeySize]byte
	var value uint32
	var unused [][reach.KeySize]byte
	for all := t.allowed.Iterate(); all.Next(&key, &value); {
		if !used[reach.ComponentOf(key)] {
			unused = append(unused, key)
		}
	}
	for _, key := range unused {
		t.allowed.Delete(key[:])
	}
	return nil
}
