package inspect

import (
	"sort"
	"strings"
)

// environmentNames are the names in the environment that a process started
// with. Values stay unread by anybody: secrets are kept there.
func environmentNames(pid int) ([]string, error) {
	b, err := readFile(procPath(pid, "environ"))
	if err != nil {
		return nil, err
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
