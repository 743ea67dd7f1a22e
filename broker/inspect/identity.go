package inspect

import (
	"strconv"
	"strings"
)

// Identity is who a process is, in the ids of the inspector's user namespace.
type Identity struct {
	UIDs   [4]uint32 `json:"uids"` // real, effective, saved, file system
	GIDs   [4]uint32 `json:"gids"`
	Groups []uint32  `json:"groups"`
	UIDMap []IDRange `json:"uid-map"` // of its user namespace
	GIDMap []IDRange `json:"gid-map"`
}

// IDRange is a line of /proc/PID/uid_map (user_namespaces(7)).
type IDRange struct {
	Inside  uint32 `json:"inside"`
	Outside uint32 `json:"outside"`
	Count   uint32 `json:"count"`
}

func readMap(pid int, file string) ([]IDRange, error) {
	b, err := readFile(procPath(pid, file))
	if err != nil {
		return nil, err
	}
	ranges := []IDRange{}
	for line := range strings.Lines(string(b)) {
		var n [3]uint64
		fields := strings.Fields(line)
		if len(fields) != len(n) {
			continue
		}
		for i, field := range fields {
			n[i], _ = strconv.ParseUint(field, 10, 32)
		}
		ranges = append(ranges, IDRange{uint32(n[0]), uint32(n[1]), uint32(n[2])})
	}
	return ranges, nil
}

// hostRoot says whether an id of the process's namespace is the host's root.
func (i *Identity) hostRoot() bool { return i.UIDs[0] == 0 || i.UIDs[1] == 0 || i.UIDs[2] == 0 }
