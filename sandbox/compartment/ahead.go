package compartment

import (
	"encoding/json"
	"os"

	"github.com/opencontainers/runc/libcontainer"
	"github.com/opencontainers/runc/libcontainer/configs"

	"bulkhead/sandbox/cgroup"
	"bulkhead/sandbox/landlock"
)

// Ahead does once what the first compartment would wait for, and what is the same
// for all: JSON's tables of libcontainer's types, Go's trial of pidfds, for which
// it forks, and a look at what this kernel has. Nothing depends on it.
func Ahead() {
	state, err := json.Marshal(containerState{Config: &configs.Config{}})
	if err == nil {
		var read libcontainer.State
		json.Unmarshal(state, &read)
		json.Marshal(read)
	}
	if self, err := os.FindProcess(os.Getpid()); err == nil {
		self.Release()
	}
	cgroup.Find()
	landlock.ABI()
}
