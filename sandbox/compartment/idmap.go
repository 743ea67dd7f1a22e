package compartment

import (
	"os"

	"github.com/opencontainers/runc/libcontainer/configs"

	"bulkhead/policy/plan"
)

// maps are the id maps of a compartment's user namespace: the init's root, the
// worker, and what others it may be, each one id. An ordinary user may write a
// map of himself alone (user_namespaces(7)); for others libcontainer has newuidmap
// and newgidmap write it, which allow what /etc/subuid and /etc/subgid do.
func maps(c *plan.Component) (users, groups []configs.IDMap) {
	users = with(nil, 0, c.Hosts.Init)
	users = with(users, c.User.UID, c.Hosts.UID)
	groups = with(nil, 0, c.Hosts.InitGroup)
	groups = with(groups, c.User.GID, c.Hosts.GID)
	for _, other := range c.Hosts.Become {
		users = with(users, other.UID, other.HostUID)
		groups = with(groups, other.GID, other.HostGID)
	}
	for i := range min(len(c.User.Groups), len(c.Hosts.Groups)) {
		groups = with(groups, c.User.Groups[i], c.Hosts.Groups[i])
	}
	return users, groups
}

// with adds an id, unless there is one already with that number inside.
func with(all []configs.IDMap, inside, outside uint32) []configs.IDMap {
	for _, m := range all {
		if m.ContainerID == int64(inside) {
			return all
		}
	}
	return append(all, configs.IDMap{ContainerID: int64(inside), HostID: int64(outside), Size: 1})
}

// setsGroups says whether the user namespace lets supplementary groups be set and
// taken away. An ordinary user's does where newgidmap has written its map; else a
// worker keeps those of the user.
func setsGroups(c *plan.Component) bool {
	_, groups := maps(c)
	return os.Geteuid() == 0 || len(groups) > 1
}
