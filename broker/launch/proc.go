package launch

import (
	"fmt"
	"os"
	"strconv"
)

// ownProc is an error if /proc is not there, or not that of this process's pid
// namespace: the numbers that everything below looks up there are others' then.
func ownProc() error {
	number, err := os.Readlink("/proc/self")
	if err != nil {
		return fmt.Errorf("find this process in /proc: %w; mount /proc in the pid namespace of this process (mount -t proc proc /proc)", err)
	}
	if pid := strconv.Itoa(os.Getpid()); number != pid {
		return fmt.Errorf("find this process in /proc: it is %s there and %s here, so that /proc is of another pid namespace; mount one of this namespace (unshare --mount-proc, or mount -t proc proc /proc)", number, pid)
	}
	return nil
}
