package inspect

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// Namespace is a namespace that a process is in.
type Namespace struct {
	Kind string `json:"kind"` // user, mnt, pid, ipc, uts, net, cgroup, time
	ID   uint64 `json:"id"`   // inode number in nsfs, which ls -l /proc/PID/ns shows
	// Host says that it is the inspector's own: no wall.
	Host bool `json:"host"`
}

// namespaceKinds are the files of /proc/PID/ns that hold a process's own
// namespaces; time came with Linux 5.6.
var namespaceKinds = []string{"user", "mnt", "pid", "ipc", "uts", "net", "cgroup", "time"}

// namespaceWords name the kinds as messages do.
var namespaceWords = map[string]string{
	"user": "user ids", "mnt": "mounts", "pid": "processes", "ipc": "ipc", "uts": "host name",
	"net": "network", "cgroup": "cgroups", "time": "clocks",
}

type namespaces map[string]uint64

func readNamespaces(pid int) (namespaces, error) {
	all := namespaces{}
	for _, kind := range namespaceKinds {
		link, err := os.Readlink(procPath(pid, "ns/"+kind))
		if os.IsNotExist(err) && kind == "time" {
			continue
		}
		if err != nil {
			return nil, err
		}
		id, err := namespaceID(link)
		if err != nil {
			return nil, err
		}
		all[kind] = id
	}
	return all, nil
}

// namespaceID reads "net:[4026531840]".
func namespaceID(link string) (uint64, error) {
	_, after, ok := strings.Cut(link, ":[")
	id, err := strconv.ParseUint(strings.TrimSuffix(after, "]"), 10, 64)
	if !ok || err != nil {
		return 0, fmt.Errorf("%q names no namespace", link)
	}
	return id, nil
}

func (n namespaces) list(host namespaces) []Namespace {
	var all []Namespace
	for _, kind := range namespaceKinds {
		if id, ok := n[kind]; ok {
			all = append(all, Namespace{Kind: kind, ID: id, Host: host[kind] == id})
		}
	}
	return all
}
