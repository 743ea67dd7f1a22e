package policy

import (
	"io/fs"
	"syscall"

	"bulkhead/policy/plan"
)

// Owner is what the Sys of a fs.FileInfo may implement to say whom a file
// belongs to; a *syscall.Stat_t says it too.
type Owner interface {
	OwnerIDs() (uid, gid uint32)
}

func owner(info fs.FileInfo) (uid, gid uint32, known bool) {
	switch sys := info.Sys().(type) {
	case *syscall.Stat_t:
		return sys.Uid, sys.Gid, true
	case Owner:
		uid, gid = sys.OwnerIDs()
		return uid, gid, true
	}
	return 0, 0, false
}

// permitted warns when the policy shows a file whose permission bits keep the
// component's user out: the walls let it through, and the kernel says EACCES.
// It is no mistake, because an access control list may say otherwise.
func (t *rootTree) permitted(name string, access plan.Access, at plan.Position) {
	found := t.host.resolve(name)
	if found.err != nil || t.hosts.UID == 0 {
		return
	}
	verb := t.host.keeps(&t.hosts, found, access)
	if verb == "" {
		return
	}
	hint := "write user: or groups: with one who may, or change the file's mode"
	t.warn(at, hint, "the permission bits of %s (%s) do not let %q %s it: its user is %d on the host, its group %d",
		brief(name), found.info.Mode(), t.name, verb, t.hosts.UID, t.hosts.GID)
}

// ownToGrant warns when an ordinary user grants what the permission bits keep
// from that user too: the monitor opens it with no more rights.
func (c *compiler) ownToGrant(g *plan.Grant, found resolved, at plan.Position) {
	uid, gid := c.host.EffectiveIDs()
	if _, _, known := owner(found.info); !known || uid == 0 {
		return
	}
	have := modeFor(found.info, uid, []uint32{gid})
	verb := ""
	switch {
	case have&4 == 0 && g.Access&plan.Read != 0, found.info.IsDir() && have&1 == 0:
		verb = "read"
	case have&2 == 0 && g.Access&(plan.Write|plan.Append) != 0:
		verb = "write"
	default:
		return
	}
	c.warn(at, "start the application as root, or grant what is the user's own",
		"the permission bits of %s (%s) do not let user %d, who grants it, %s it", brief(g.Path), found.info.Mode(), uid, verb)
}

// keeps says what the permission bits of a file keep who from: "" if nothing, or
// if nobody knows.
func (l *lookups) keeps(who *plan.HostIDs, found resolved, access plan.Access) (verb string) {
	have, known := permission(who, found.info)
	switch {
	case !known:
	case have&4 == 0 && access&plan.Read != 0, found.info.IsDir() && have&1 == 0:
		return "read"
	case have&2 == 0 && access&plan.Write != 0 && !l.writesInside(who, found):
		return "write"
	case have&1 == 0 && access&plan.Execute != 0:
		return "execute"
	}
	return ""
}

// permission returns the three bits of a file's mode that count for a
// component's user, or for any of those whom it may become.
func permission(who *plan.HostIDs, info fs.FileInfo) (bits fs.FileMode, known bool) {
	bits = modeFor(info, who.UID, append([]uint32{who.GID}, who.Groups...))
	for _, other := range who.Become {
		bits |= modeFor(info, other.HostUID, []uint32{other.HostGID})
	}
	_, _, known = owner(info)
	return bits, known
}

func modeFor(info fs.FileInfo, user uint32, groups []uint32) fs.FileMode {
	uid, gid, _ := owner(info)
	switch {
	case uid == user:
		return info.Mode().Perm() >> 6 & 7
	case containsID(groups, gid):
		return info.Mode().Perm() >> 3 & 7
	}
	return info.Mode().Perm() & 7
}

// writesInside says whether the user may write some file of a directory that
// is not its own: log files are often so.
func (l *lookups) writesInside(who *plan.HostIDs, directory resolved) bool {
	const most = 1000 // of a large directory the first files tell enough
	if !directory.info.IsDir() {
		return false
	}
	entries, err := l.ReadDir(directory.real)
	if err != nil {
		return false
	}
	for _, entry := range entries[:min(len(entries), most)] {
		if info, err := entry.Info(); err == nil && info.Mode()&fs.ModeSymlink == 0 {
			if have, known := permission(who, info); known && have&2 != 0 {
				return true
			}
		}
	}
	return false
}
