package inspect

import (
	"os"
	"strconv"
	"strings"
)

// pipeHolders are the processes that have each pipe open, of the whole
// machine: read once, for only that shows whether a pipe crosses a wall.
func (i *Inspector) pipeHolders() map[string][]int {
	i.pipesOnce.Do(func() {
		i.pipes = map[string][]int{}
		entries, err := os.ReadDir("/proc")
		if err != nil {
			return
		}
		for _, e := range entries {
			pid, err := strconv.Atoi(e.Name())
			if err != nil {
				continue
			}
			descriptors, err := os.ReadDir(procPath(pid, "fd"))
			if err != nil {
				continue // ended, or not ours to see
			}
			for _, d := range descriptors {
				link, err := os.Readlink(procPath(pid, "fd/"+d.Name()))
				if err == nil && strings.HasPrefix(link, "pipe:") {
					i.pipes[link] = append(i.pipes[link], pid)
				}
			}
		}
	})
	return i.pipes
}
