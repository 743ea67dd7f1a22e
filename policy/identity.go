package policy

import (
	"hash/fnv"

	"bulkhead/policy/plan"
)

// The host ids of components that are nobody on the host: far above those that
// systemd, adduser and container engines give out, below the sign bit.
const (
	dynamicFirst uint32 = 1_879_048_192
	dynamicEnd   uint32 = 2_147_483_647
)

// insideID is a dynamic user's id inside its compartment.
const insideID uint32 = 1000

// dynamicID returns an id that is the same at each start of the application, so
// that what a component leaves in a granted directory stays its own.
func (c *compiler) dynamicID(component, use string) uint32 {
	id := dynamicFirst + c.hash(component, use)%(dynamicEnd-dynamicFirst)
	for c.taken[id] {
		id++
		if id == dynamicEnd {
			id = dynamicFirst
		}
	}
	c.taken[id] = true
	return id
}

// hash is a number for a use of a component's, the same at each start.
func (c *compiler) hash(component, use string) uint32 {
	hash := fnv.New32a()
	hash.Write([]byte(c.file.Application.Value + "\x00" + component + "\x00" + use))
	return hash.Sum32()
}

// identity decides who the worker is.
func (c *componentCompiler) identity() (who plan.User, hosts plan.HostIDs) {
	s := c.source
	ownUID, ownGID := c.host.EffectiveIDs()
	if ownUID != 0 {
		return c.ordinaryIdentity(ownUID, ownGID)
	}
	who = plan.User{Name: "worker", UID: insideID, GID: insideID, Home: "/"}
	hosts = plan.HostIDs{
		Init: c.dynamicID(c.name, "init"),
		UID:  c.dynamicID(c.name, "uid"),
		GID:  c.dynamicID(c.name, "gid"),
	}
	// One number for both, which only the init has.
	defer func() { hosts.InitGroup = hosts.Init }()
	if s.User.IsSet() {
		user, known := c.host.User(s.User.Value)
		if !known {
			c.mistake(s.User.Position, "install the package that makes it, or leave user: out", "the host has no user %q", brief(s.User.Value))
		}
		who = plan.User{Name: user.Name, UID: user.UID, GID: user.GID, Home: user.Home}
		hosts.UID, hosts.GID = user.UID, user.GID
		if known && user.UID == 0 {
			hosts.Init = 0
			c.warn(s.User.Position, "leave user: out, or name a user of its own", "the component %q runs as the host's root", c.name)
		}
	}
	if s.Group.IsSet() {
		if group, ok := c.group(s.Group); ok {
			who.GID, hosts.GID = group, group
		}
	}
	for _, name := range s.Groups {
		if group, ok := c.group(name); ok {
			who.Groups = append(who.Groups, group)
			hosts.Groups = append(hosts.Groups, group)
		}
	}
	if hosts.Become = c.become(); len(hosts.Become) > 0 && !s.User.IsSet() {
		// It begins as root, as programs that change users expect: as the
		// root of its compartment, who is nobody on the host.
		who = plan.User{Name: "root", Home: "/"}
		hosts.UID, hosts.GID = hosts.Init, hosts.Init
	}
	// A named group keeps its number inside, so the made-up ones make room.
	for !s.User.IsSet() && !s.Group.IsSet() && containsID(who.Groups, who.GID) {
		who.GID++
	}
	return who, hosts
}

// becoming are what changing to another user takes, within the user namespace
// of the component, where nobody else exists.
var becoming = []string{"CAP_SETUID", "CAP_SETGID"}

// become finds the users that the component may change to: with their own ids,
// where it is root who starts it.
func (c *componentCompiler) become() []plan.Account {
	var all []plan.Account
	for _, name := range c.source.Become {
		user, known := c.host.User(name.Value)
		switch {
		case !known:
			c.mistake(name.Position, "install the package that makes it", "the host has no user %q", brief(name.Value))
		case user.UID == 0:
			c.mistake(name.Position, "write user: root if it has to be the host's root", "nobody can become the host's root")
		default:
			all = append(all, plan.Account{Name: user.Name, UID: user.UID, GID: user.GID, Home: user.Home, HostUID: user.UID, HostGID: user.GID})
		}
	}
	return all
}

func (c *componentCompiler) group(name Text) (uint32, bool) {
	group, known := c.host.Group(name.Value)
	if !known {
		c.mistake(name.Position, "", "the host has no group %q", brief(name.Value))
	}
	return group, known
}

func containsID(list []uint32, id uint32) bool {
	for _, element := range list {
		if element == id {
			return true
		}
	}
	return false
}
