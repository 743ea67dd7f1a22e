package compartment

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"

	"github.com/opencontainers/cgroups"
	// The device rules of cgroups, of which libcontainer refuses to do without.
	_ "github.com/opencontainers/cgroups/devices"
	devices "github.com/opencontainers/cgroups/devices/config"
	"github.com/opencontainers/runc/libcontainer"
	"github.com/opencontainers/runc/libcontainer/configs"
	"github.com/sirupsen/logrus"

	"bulkhead/policy/plan"
	"bulkhead/sandbox/cgroup"
)

// On cgroup v2 libcontainer makes the group of a compartment's init. On v1 it
// would make one in each hierarchy, ten on most machines, and move its process
// into each by cgroup.procs, which waits for every processor of the machine
// (some five milliseconds); six of them have nothing to limit. So there the
// groups are made here, in the four that have, and entered by the thread
// that starts libcontainer's first process, which is born in them.

// initGroup is the group of an init that is not libcontainer's matter.
type initGroup struct {
	devices string // directory of the group that has the device rules, "" where libcontainer sets them
	beside  string // directory of the component's group of v2 beside v1
}

// joinGroup makes the v1 groups of the component's init and puts the calling
// thread there.
func joinGroup(site Site, c *plan.Component) (initGroup, error) {
	h, err := cgroup.Find()
	if err != nil || h.Unified != "" || os.Geteuid() != 0 {
		return initGroup{}, err
	}
	group := path.Join(site.Group, c.Compartment(), "init")
	if err := h.Join(group, plan.Limits{Memory: initMemory, Processes: initTasks}); err != nil {
		return initGroup{}, err
	}
	g := initGroup{devices: path.Join(h.Controllers["devices"], group)}
	if h.Beside != "" {
		g.beside = path.Join(h.Beside, site.Group, c.Compartment())
	}
	return g, nil
}

// moveBeside moves an init into its component's group of v2 beside v1, where the
// launcher has made one: programs in the kernel know the component by it. That is
// the one group that no thread can enter for its children.
func (g initGroup) moveBeside(pid int) error {
	if g.beside == "" {
		return nil
	}
	if _, err := os.Stat(g.beside); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	directory := path.Join(g.beside, "init")
	if err := os.Mkdir(directory, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return os.WriteFile(path.Join(directory, "cgroup.procs"), strconv.AppendInt(nil, int64(pid), 10), 0)
}

// allow lets the group use these devices and no others.
func (g initGroup) allow(rules []*devices.Rule) error {
	if g.devices == "" {
		return nil
	}
	return setDevices(g.devices, &cgroups.Resources{Devices: rules})
}

var setDevices = cgroups.DevicesSetV1

func init() {
	// A container that fails is asked for its kills out of memory, in a group
	// that is not libcontainer's: it would warn that it cannot tell.
	logrus.SetLevel(logrus.ErrorLevel)
	// libcontainer sets device rules in every group that it manages, and says
	// so by an empty path where that is none.
	cgroups.DevicesSetV1 = func(directory string, r *cgroups.Resources) error {
		if directory == "" {
			return nil
		}
		return setDevices(directory, r)
	}
}

// containerState is what of a container's state says something before it is started.
type containerState struct {
	ID          string            `json:"id"`
	Config      *configs.Config   `json:"config"`
	CgroupPaths map[string]string `json:"cgroup_paths"` // none; null would mean all
	// A process that is there and cannot be its init, because it did not start at
	// the beginning of time: one that is not there is looked for in a /proc that is
	// mounted for it, and that the kernel takes half a millisecond to part with.
	InitProcessPid int `json:"init_process_pid"`
}

// newContainer is libcontainer.Create; on v1 for a container without cgroups of
// libcontainer's. Its Create has no word for that, but a state that it loads
// has: what cgroups there are.
func newContainer(root, name string, c *configs.Config) (*libcontainer.Container, error) {
	if cgroups.IsCgroup2UnifiedMode() || os.Geteuid() != 0 {
		return libcontainer.Create(root, name, c)
	}
	c.Cgroups.Resources = &cgroups.Resources{} // they are set
	state, err := json.Marshal(containerState{name, c, map[string]string{}, os.Getpid()})
	if err != nil {
		return nil, err
	}
	directory := filepath.Join(root, name)
	if err := os.MkdirAll(root, 0o700); err != nil {
		return nil, err
	}
	if err := os.Mkdir(directory, 0o711); err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(directory, "state.json"), state, 0o600); err != nil {
		return nil, err
	}
	return libcontainer.Load(root, name)
}
