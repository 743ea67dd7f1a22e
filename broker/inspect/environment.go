package inspect

import (
	"io/fs"
	"sort"
	"strings"

	"bulkhead/sandbox/worker"
)

// environmentNames are the names in the environment that a process started
// with. Values stay unread by anybody: secrets are kept there.
func environmentNames(pid int) ([]string, error) {
	const most = 8 << 20 // more than execve(2) takes
	b, err := worker.Environment(pid, most)
	if err != nil {
		return nil, &fs.PathError{Op: "read", Path: procPath(pid, "environ"), Err: err}
	}
	names := []string{}
	for variable := range strings.SplitSeq(string(b), "\x00") {
		// A program may have written other things over it (setproctitle).
		if name, _, ok := strings.Cut(variable, "="); ok && name != "" {
			names = append(names, name)
		}
	}
	sort.Strings(names)
	return names, nil
}
