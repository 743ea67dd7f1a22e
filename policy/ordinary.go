package policy

import (
	"fmt"
	"strconv"
	"strings"

	"bulkhead/policy/plan"
	"bulkhead/policy/subordinate"
)

// An ordinary user's compartment has that user for its root: a user namespace may
// map one id, its maker's (user_namespaces(7)), and libcontainer, which works
// there as that root, has to go where only the user may. Its workers get
// subordinate ids of the user's, where there are some.

// ordinaryIDs are who an ordinary user may make components of an application.
type ordinaryIDs struct {
	subordinate.IDs
	users, groups idsGiven
}

// idsGiven are the ids of one kind that were given out, and to what.
type idsGiven struct {
	of    map[string]uint32
	taken map[uint32]bool
}

// bulkheadsOwn are the components that are compiled by themselves and added to
// every application (cmd/sandbox): the ids that they take there are kept free.
var bulkheadsOwn = []string{"supervisor", "name-resolver"}

// ordinaryIDs finds the user's subordinate ids, once for all components.
func (c *compiler) ordinaryIDs(uid, gid uint32) *ordinaryIDs {
	if c.ordinary != nil {
		return c.ordinary
	}
	c.ordinary = &ordinaryIDs{
		IDs:    c.host.Subordinate(),
		users:  idsGiven{map[string]uint32{}, map[uint32]bool{uid: true}},
		groups: idsGiven{map[string]uint32{}, map[uint32]bool{gid: true}},
	}
	for _, name := range bulkheadsOwn {
		c.subordinateUser(name, "uid")
		c.subordinateGroup(name, "gid")
	}
	return c.ordinary
}

func (c *compiler) subordinateUser(component, use string) uint32 {
	return c.subordinateID(&c.ordinary.users, c.ordinary.UIDs, component, use)
}

func (c *compiler) subordinateGroup(component, use string) uint32 {
	return c.subordinateID(&c.ordinary.groups, c.ordinary.GIDs, component, use)
}

// subordinateID returns an id of the user's ranges, the same for the same use and
// at each start, as dynamicID does of numbers that are nobody's. When all have
// been given out there are none from then on.
func (c *compiler) subordinateID(given *idsGiven, ranges []subordinate.Range, component, use string) uint32 {
	key := component + "\x00" + use
	if id, known := given.of[key]; known || c.ordinary.Missing != "" {
		return id
	}
	total := subordinate.Total(ranges)
	place := uint64(c.hash(component, use)) % total
	for range total {
		if id := subordinate.At(ranges, place); !given.taken[id] {
			given.of[key], given.taken[id] = id, true
			return id
		}
		place = (place + 1) % total
	}
	c.ordinary.IDs = subordinate.IDs{
		Missing: fmt.Sprintf("the %d ids in /etc/subuid and the %d in /etc/subgid are too few for this application", subordinate.Total(c.ordinary.UIDs), subordinate.Total(c.ordinary.GIDs)),
		Remedy:  "have a range of 65536 added",
	}
	return 0
}

// ordinaryIdentity decides who the worker is for a launcher without privileges.
// A component has an id of its own where nothing speaks against it; else it is
// the user, who is root inside.
func (c *componentCompiler) ordinaryIdentity(uid, gid uint32) (who plan.User, hosts plan.HostIDs) {
	s, ids := c.source, c.ordinaryIDs(uid, gid)
	who = plan.User{Name: "root", Home: "/"}
	hosts = plan.HostIDs{Ordinary: true, Init: uid, InitGroup: gid, UID: uid, GID: gid}
	switch {
	case s.User.IsSet():
		account := c.ordinaryUser(uid)
		if account == nil {
			hosts.Shared = "user: says so"
			break
		}
		who = plan.User{Name: account.Name, UID: account.UID, GID: account.GID, Home: account.Home}
		hosts.UID, hosts.GID = account.HostUID, account.HostGID
	case ids.Missing != "":
		hosts.Shared = ids.Missing
	case len(s.Become) > 0:
		hosts.Shared = "a program that becomes others begins as its compartment's root"
	case c.answeredFiles():
		hosts.Shared = "its files are granted by path, and the monitor makes and opens them as that user"
	default:
		own := plan.HostIDs{UID: c.subordinateUser(c.name, "uid"), GID: c.subordinateGroup(c.name, "gid")}
		if ids.Missing != "" {
			hosts.Shared = ids.Missing
		} else if hosts.Shared = c.private(&own, &hosts); hosts.Shared == "" {
			who = plan.User{Name: "worker", UID: insideID, GID: insideID, Home: "/"}
			hosts.UID, hosts.GID = own.UID, own.GID
		}
	}
	if s.Group.IsSet() {
		if inside, outside, ok := c.ordinaryGroup(s.Group, gid); ok {
			who.GID, hosts.GID = inside, outside
		}
	}
	for _, name := range s.Groups {
		if inside, outside, ok := c.ordinaryGroup(name, gid); ok && inside != who.GID {
			who.Groups, hosts.Groups = append(who.Groups, inside), append(hosts.Groups, outside)
		}
	}
	hosts.Become = c.ordinaryBecome(uid)
	for !s.User.IsSet() && !s.Group.IsSet() && containsID(who.Groups, who.GID) {
		who.GID++
	}
	c.countIDs(who, hosts.Become)
	return who, hosts
}

func decimal(id uint32) string { return strconv.FormatUint(uint64(id), 10) }

// standIn gives an account of the host's ids of the user's that stand for it in
// all compartments of the application. Where there are none that is a mistake.
func (c *componentCompiler) standIn(account *plan.Account, name Text, what string) bool {
	account.HostUID = c.subordinateUser("", "user "+decimal(account.UID))
	account.HostGID = c.subordinateGroup("", "group "+decimal(account.GID))
	return c.given(name, what)
}

// given says whether all ids that were asked for were had.
func (c *componentCompiler) given(name Text, what string) bool {
	ids := c.ordinary
	if ids.Missing != "" {
		c.mistake(name.Position, ids.Remedy+"; or start the application as root, or leave it out",
			"an ordinary user cannot %s %q here: %s", what, brief(name.Value), ids.Missing)
	}
	return ids.Missing == ""
}

// ordinaryUser finds the user whom user: names. nil: it is the one who starts
// the application, or a mistake.
func (c *componentCompiler) ordinaryUser(own uint32) *plan.Account {
	name := c.source.User
	user, known := c.host.User(name.Value)
	account := plan.Account{Name: user.Name, UID: user.UID, GID: user.GID, Home: user.Home}
	switch {
	case !known:
		c.mistake(name.Position, "install the package that makes it, or leave user: out", "the host has no user %q", brief(name.Value))
	case user.UID == own:
	case user.UID == 0 || user.GID == 0:
		c.mistake(name.Position, "start the application as root, or leave user: out", "an ordinary user cannot run a component as %q, who is the host's root or in its group", brief(name.Value))
	case c.standIn(&account, name, "run a component as"):
		return &account
	}
	return nil
}

// ordinaryGroup finds a group: the user's own is root's inside, and others have
// their number inside only.
func (c *componentCompiler) ordinaryGroup(name Text, own uint32) (inside, outside uint32, ok bool) {
	group, known := c.host.Group(name.Value)
	switch {
	case !known:
		c.mistake(name.Position, "", "the host has no group %q", brief(name.Value))
	case group == own:
		return 0, own, true
	case group == 0:
		c.mistake(name.Position, "start the application as root, or leave the group out", "an ordinary user cannot give a component the group %q, which is root's", brief(name.Value))
	default:
		outside = c.subordinateGroup("", "group "+decimal(group))
		return group, outside, c.given(name, "give a component the group")
	}
	return 0, 0, false
}

// ordinaryBecome finds the users that the component may change to, in its
// compartment.
func (c *componentCompiler) ordinaryBecome(own uint32) []plan.Account {
	all := c.become()
	for k := range all {
		name := c.source.Become[min(k, len(c.source.Become)-1)]
		if all[k].UID == own {
			c.mistake(name.Position, "leave it out", "%q starts the application, and is root in its compartments", brief(all[k].Name))
		} else if all[k].GID == 0 {
			c.mistake(name.Position, "start the application as root", "an ordinary user cannot let a component become %q, who is in root's group", brief(all[k].Name))
		} else if !c.standIn(&all[k], name, "let a component become") {
			return nil
		}
	}
	return all
}

// mostIDs is how many ids libcontainer has newuidmap map: it gives it twenty
// arguments, three for each.
const mostIDs = 5

func (c *componentCompiler) countIDs(who plan.User, become []plan.Account) {
	users, groups := map[uint32]bool{0: true, who.UID: true}, map[uint32]bool{0: true, who.GID: true}
	for _, group := range who.Groups {
		groups[group] = true
	}
	for _, account := range become {
		users[account.UID], groups[account.GID] = true, true
	}
	if most := max(len(users), len(groups)); most > mostIDs {
		c.mistake(c.at, "name fewer under groups: and become:", "the component %q takes %d ids, and an ordinary user's can have %d", c.name, most, mostIDs)
	}
}

// answeredFiles says whether the monitor answers its calls on paths. What those
// make is the user's, and would be somebody else's to a component with an id of
// its own; and the monitor could not look into such a one.
func (c *componentCompiler) answeredFiles() bool {
	_, files := c.answerable(startOf(c.source))
	return files && c.source.Transparent.Value
}

// private says what the policy shows the component that the permission bits keep
// from its own id and leave to the user: it would work no more with one.
func (c *componentCompiler) private(own, user *plan.HostIDs) string {
	files := &c.source.Files
	shown := func(name string, access plan.Access) string {
		found := c.host.resolve(name)
		if !strings.HasPrefix(name, "/") || found.err != nil {
			return "" // which is a mistake, or optional
		}
		verb := c.host.keeps(own, found, access)
		member := *user
		member.Groups = c.host.OtherGroups()
		if verb == "" || c.host.keeps(&member, found, access) != "" {
			return ""
		}
		return fmt.Sprintf("the permission bits of %s (%s) let nobody else %s it", brief(name), found.info.Mode(), verb)
	}
	if len(c.source.Command) > 0 {
		if why := shown(c.source.Command[0].Value, plan.Execute); why != "" {
			return why
		}
	}
	for _, list := range []struct {
		uses   []PathUse
		access plan.Access
	}{{files.Read, plan.Read}, {files.Write, plan.Read | plan.Write}, {files.Execute, plan.Execute}, {files.Libraries, plan.Read}, {c.source.Replaces, plan.Execute}} {
		for _, use := range list.uses {
			names := []string{use.Path.Value}
			if isPattern(use.Path.Value) {
				names = c.host.glob(use.Path.Value)
			}
			for _, name := range names {
				if why := shown(name, list.access); why != "" {
					return why
				}
			}
		}
	}
	return ""
}
