package compartment

import (
	"os"
	"runtime"

	"github.com/opencontainers/runc/libcontainer"
	// Its constructor, in C, joins and makes namespaces before the Go
	// runtime has threads.
	_ "github.com/opencontainers/runc/libcontainer/nsenter"
)

// libcontainer starts this very program again, inside the new namespaces, to
// finish the compartment from there and to exec its init. That run must go no
// further than this.
func init() {
	if len(os.Args) == 2 && os.Args[1] == "init" && os.Getenv("_LIBCONTAINER_INITPIPE") != "" {
		punctual()          // the init of the compartment is executed in this thread
		libcontainer.Init() // never returns
	}
	// libcontainer opens the sources of mounts from a goroutine that joins
	// the compartment's mount namespace and gives up its thread afterwards.
	// Were that the main thread, /proc/self would show the compartment from
	// then on. The main goroutine stays on the main thread instead.
	runtime.LockOSThread()
}
