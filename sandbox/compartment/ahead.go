package compartment

import (
	"encoding/json"
	"os"

	"github.com/opencontainers/runc/libcontainer"
	"github.com/opencontainers/runc/libcontainer/configs"
	"github.com/opencontainers/runc/libcontainer/system"
	"github.com/opencontainers/runtime-spec/specs-go"

	"bulkhead/sandbox/cgroup"
	"bulkhead/sandbox/landlock"
)

// Ahead does once what the first compartment would wait for, and what is the same
// for all: JSON's tables of libcontainer's types, Go's trial of pidfds, for which
// it forks, libcontainer's own /proc, and a look at what this kernel has. Nothing
// depends on it.
func Ahead() {
	state, err := json.Marshal(containerState{Config: &configs.Config{}})
	if err == nil {
		var read libcontainer.State
		json.Unmarshal(state, &read)
		json.Marshal(read)
	}
	json.Marshal(toInit{})
	if self, err := os.FindProcess(os.Getpid()); err == nil {
		self.Release()
	}
	system.Stat(os.Getpid())
	for _, kind := range configs.NamespaceTypes() {
		configs.IsNamespaceSupported(kind)
	}
	cgroup.Find()
	landlock.ABI()
}

// toInit has the types of what libcontainer writes to its init, beside those of a
// container's configuration.
type toInit struct {
	*configs.Capabilities
	*configs.Network
	*specs.State
}
