package plan

import "slices"

// User is who the worker is, inside and (where HostIDs maps it) outside.
type User struct {
	Name   string   `json:"name"`
	UID    uint32   `json:"uid"`
	GID    uint32   `json:"gid"`
	Groups []uint32 `json:"groups,omitempty"`
	Home   string   `json:"home"`
}

// HostIDs are the ids that the compartment's user namespace maps to.
// See user_namespaces(7).
type HostIDs struct {
	// Init and InitGroup are the host ids of the compartment's own root, which
	// only the init is: for root's applications a number that owns nothing on the
	// host, for an ordinary user's that user.
	Init      uint32 `json:"init"`
	InitGroup uint32 `json:"init-group"`
	// UID and GID are the host ids of the worker.
	UID uint32 `json:"uid"`
	GID uint32 `json:"gid"`
	// Groups are the host ids of User.Groups, in the same order.
	Groups []uint32 `json:"groups,omitempty"`
	// Become are the users that the program may change to.
	Become []Account `json:"become,omitempty"`
	// Ordinary: it is an ordinary user who runs the application.
	Ordinary bool `json:"ordinary,omitempty"`
	// Shared says why the worker is that user too: "" where it has an id of
	// its own.
	Shared string `json:"shared,omitempty"`
}

// HasUser says whether a worker may be that user of the host.
func (h *HostIDs) HasUser(uid uint32) bool {
	return uid == h.UID || slices.ContainsFunc(h.Become, func(a Account) bool { return a.HostUID == uid })
}

// HasGroup says whether a worker's group may be that group of the host.
func (h *HostIDs) HasGroup(gid uint32) bool {
	return gid == h.GID || slices.ContainsFunc(h.Become, func(a Account) bool { return a.HostGID == gid })
}

// Account is a user of the host, with its first group. HostUID and HostGID are
// who it is outside: the same, or in an ordinary user's application ids of that
// user's that stand for it.
type Account struct {
	Name    string `json:"name"`
	UID     uint32 `json:"uid"`
	GID     uint32 `json:"gid"`
	Home    string `json:"home"`
	HostUID uint32 `json:"host-uid"`
	HostGID uint32 `json:"host-gid"`
}
