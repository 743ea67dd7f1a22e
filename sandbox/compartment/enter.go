package compartment

import (
	"fmt"
	"os"
	"syscall"

	"github.com/opencontainers/cgroups"
	"github.com/opencontainers/cgroups/fs2"
	"github.com/opencontainers/runc/libcontainer/configs"
	"golang.org/x/sys/unix"

	"bulkhead/policy/plan"
)

// CreateOwn builds the compartment of a process of the broker's own, its
// supervisor: the same walls as Create's by the same description of them, but
// raised by system calls instead of libcontainer, which takes ten milliseconds
// and two starts of a Go program for them. A test compares what both make.
//
// An ordinary user's is libcontainer's too: it mounts inside the namespaces,
// where alone he may.
func CreateOwn(site Site, c *plan.Component) (*Compartment, error) {
	if os.Geteuid() != 0 {
		return Create(site, c)
	}
	return create(site, c, enter)
}

// enter starts an init in new namespaces and in its cgroup. What is to be done
// from inside the init does itself (sandbox/init/enter.c).
func enter(w walls) (_ *started, err error) {
	failed := func(what string, err error) (*started, error) { return nil, fmt.Errorf("%s: %w", what, err) }
	settings, mounts := config(w.site, w.component, w.root, w.missing), mounts(w.component.Root, w.site.Stub)
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return failed("start its init", err)
	}
	defer null.Close()
	files := []uintptr{null.Fd(), null.Fd(), w.site.Messages.Fd()}
	for _, file := range w.passed {
		files = append(files, file.Fd())
	}
	pidfd := -1
	attributes := &syscall.SysProcAttr{
		Setsid: true,
		// The cgroup namespace has to be made in the cgroup.
		Cloneflags:                 settings.Namespaces.CloneFlags() &^ unix.CLONE_NEWCGROUP,
		UidMappings:                mapped(settings.UIDMappings),
		GidMappings:                mapped(settings.GIDMappings),
		GidMappingsEnableSetgroups: true,
		Credential:                 &syscall.Credential{}, // root there, and in no group
		PidFD:                      &pidfd,
	}
	// Not in the thread below: the library remembers the cgroups' root as it
	// first sees it, and the thread's mount namespace goes with it.
	unified, err := unifiedGroup(settings)
	if err != nil {
		return failed("make its cgroup", err)
	}
	if unified != nil {
		defer unified.Close()
		attributes.UseCgroupFD, attributes.CgroupFD = true, int(unified.Fd())
	}
	pid := 0
	group, err := w.inside(mounts[1:], func() (err error) { // the init mounts its /proc
		pid, err = syscall.ForkExec(initProgram, []string{initProgram, w.root, w.component.Hostname}, &syscall.ProcAttr{
			Env: []string{}, Files: files, Sys: attributes,
		})
		if err != nil {
			return fmt.Errorf("start its init: %w", err)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	undo := func() {
		unix.Kill(pid, unix.SIGKILL) // a child of this process, not waited for yet
		unix.Wait4(pid, nil, 0, nil)
	}
	defer func() {
		if err != nil {
			unix.Close(pidfd)
			undo()
		}
	}()
	if err := w.settle(group, pid); err != nil {
		return nil, err
	}
	return &started{pid, pidfd, undo}, nil
}

// unifiedGroup makes the group of an init on cgroup v2, and opens it; nil where
// that is v1's matter (group.go).
func unifiedGroup(settings *configs.Config) (*os.File, error) {
	if !cgroups.IsCgroup2UnifiedMode() {
		return nil, nil
	}
	m, err := fs2.NewManager(settings.Cgroups, "")
	if err != nil {
		return nil, err
	}
	if err := m.Apply(-1); err != nil { // nobody enters yet
		return nil, err
	}
	if err := m.Set(settings.Cgroups.Resources); err != nil {
		return nil, err
	}
	return os.Open(m.Path(""))
}

func mapped(maps []configs.IDMap) []syscall.SysProcIDMap {
	var all []syscall.SysProcIDMap
	for _, m := range maps {
		all = append(all, syscall.SysProcIDMap{ContainerID: int(m.ContainerID), HostID: int(m.HostID), Size: int(m.Size)})
	}
	return all
}
