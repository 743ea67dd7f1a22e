package policy

import (
	"slices"
	"strconv"
	"strings"

	"bulkhead/policy/calls"
	"bulkhead/policy/plan"
)

// Numbers of the kernel that conditions compare with. The man page or header
// that defines them stands beside each.
const (
	errnoNoRight  int32 = 1  // EPERM, errno(3)
	errnoInvalid  int32 = 22 // EINVAL
	errnoNoCall   int32 = 38 // ENOSYS
	errnoNoWay    int32 = 95 // EOPNOTSUPP
	errnoNoFamily int32 = 97 // EAFNOSUPPORT

	cloneVM     uint64 = 0x00000100 // clone(2)
	cloneThread uint64 = 0x00010000
	// CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET.
	cloneNamespaces uint64 = 0x00020000 | 0x02000000 | 0x04000000 | 0x08000000 | 0x10000000 | 0x20000000 | 0x40000000

	familyUnix    uint64 = 1 // socket(2), sys/socket.h
	familyIPv4    uint64 = 2
	familyIPv6    uint64 = 10
	familyNetlink uint64 = 16

	netlinkRoute uint64 = 0 // NETLINK_ROUTE, netlink(7)

	typeDatagram uint64 = 2   // SOCK_DGRAM, socket(2)
	typeMask     uint64 = 0xf // without SOCK_CLOEXEC and SOCK_NONBLOCK

	messageUrgent   uint64 = 0x1        // MSG_OOB, send(2), linux/socket.h
	messageFastOpen uint64 = 0x20000000 // MSG_FASTOPEN, the same

	flagEmptyPath uint64 = 0x1000 // AT_EMPTY_PATH, openat(2), linux/fcntl.h

	levelSocket  uint64 = 1   // SOL_SOCKET, setsockopt(2), asm-generic/socket.h
	levelTCP     uint64 = 6   // IPPROTO_TCP, linux/in.h
	levelUDP     uint64 = 17  // IPPROTO_UDP
	levelNetlink uint64 = 270 // SOL_NETLINK, linux/socket.h
	levelTLS     uint64 = 282 // SOL_TLS
	optionLinger uint64 = 13  // SO_LINGER, socket(7)

	flagWhiteout uint64 = 0x4 // RENAME_WHITEOUT, rename(2), linux/fs.h

	modeSetID uint64 = 0o6000 // S_ISUID, S_ISGID, inode(7)

	flagTruncate  uint64 = 0o1000 // O_TRUNC, open(2)
	flagWriteOnly uint64 = 1      // O_WRONLY
	flagReadWrite uint64 = 2      // O_RDWR
	flagsAccess   uint64 = 3      // O_ACCMODE

	fileTypeMask uint64 = 0o170000 // S_IFMT, inode(7)
	fileTypeFIFO uint64 = 0o010000

	allBits32 uint64 = 0xffffffff
)

// Requests of ioctl(2), from asm-generic/ioctls.h and linux/fs.h.
var (
	ioctlsDefault = []uint64{
		0x5401,         // TCGETS: isatty(3)
		0x5413,         // TIOCGWINSZ
		0x540f,         // TIOCGPGRP
		0x541b, 0x5411, // FIONREAD, TIOCOUTQ
		0x5421, 0x5450, 0x5451, 0x5452, // FIONBIO, FIONCLEX, FIOCLEX, FIOASYNC
		0x802c542a, // TCGETS2: newer libraries' isatty(3)
	}
	ioctlsFileSystem = []uint64{
		0x40049409, 0x4020940d, // FICLONE, FICLONERANGE: cp(1) tries them first
		0x80086601, // FS_IOC_GETFLAGS
	}
	ioctlsNetwork = []uint64{
		0x8905,                                 // SIOCATMARK
		0x8912, 0x8913, 0x8915, 0x891b, 0x8933, // SIOCGIFCONF, GIFFLAGS, GIFADDR, GIFNETMASK, GIFINDEX
	}
	ioctlsTerminal = []uint64{
		0x5402, 0x5403, 0x5404, // TCSETS, TCSETSW, TCSETSF
		0x5409, 0x540a, 0x540b, // TCSBRK, TCXONC, TCFLSH
		0x540e, 0x5410, 0x5414, 0x5422, // TIOCSCTTY, TIOCSPGRP, TIOCSWINSZ, TIOCNOTTY
		0x5429, 0x80045430, 0x40045431, 0x5441, // TIOCGSID, TIOCGPTN, TIOCSPTLCK, TIOCGPTPEER
		0x402c542b, 0x402c542c, 0x402c542d, // TCSETS2, TCSETSW2, TCSETSF2
	}
	// TIOCSTI and TIOCLINUX put input into the terminal that started the
	// application (CVE-2016-2568, CVE-2017-5226); TIOCSETD loads line disciplines.
	ioctlsNever = []uint64{0x5412, 0x541c, 0x5423}
	// FS_IOC_UNRESVSP, FS_IOC_UNRESVSP64, FS_IOC_ZERO_RANGE, and what XFS has beside
	// them, XFS_IOC_ALLOCSP, FREESP and both with 64: fallocate(2) and ftruncate(2)
	// by another name, linux/falloc.h and xfs_fs.h.
	ioctlsAllocate = []uint64{0x40305829, 0x4030582b, 0x40305839, 0x4030580a, 0x4030580b, 0x40305824, 0x40305825}
)

// fcntlDefault are the commands of fcntl(2) but those by which a program holds up
// or watches others at files that both have: whoever opens a file with a lease of a
// worker's on it, outside too, waits for that worker, 45 seconds by default
// (F_SETLEASE 1024, F_NOTIFY 1026, F_SETDELEG 1040, linux/fcntl.h; /proc/sys/fs/lease-break-time).
var fcntlDefault = []plan.Condition{
	{Argument: 1, Comparison: plan.Less, Value: fcntlSpecific},
	{Argument: 1, Comparison: plan.MaskedEqual, Value: fcntlSpecific + 1, Mask: allBits32},
	{Argument: 1, Comparison: plan.MaskedEqual, Value: fcntlSpecific + 3, Mask: allBits32},
	{Argument: 1, Comparison: plan.MaskedEqual, Value: fcntlSpecific + 4, Mask: allBits32 &^ 3},
	{Argument: 1, Comparison: plan.MaskedEqual, Value: fcntlSpecific + 8, Mask: allBits32 &^ 7},
}

const fcntlSpecific uint64 = 1024 // F_LINUX_SPECIFIC_BASE

// fastOpens are the calls that MSG_FASTOPEN makes a connect of, and which
// argument their flags are.
var fastOpens = map[string]uint{"sendto": 3, "sendmsg": 2, "sendmmsg": 3}

// impliedGroup is a group of calls that another key of the policy brings.
type impliedGroup struct {
	group    string
	why      string
	position plan.Position
}

// implied are the groups that a component has without naming them: what a
// grant or limit gives would be of no use without its calls.
func (c *componentCompiler) implied(component *plan.Component) []impliedGroup {
	s := c.source
	groups := []impliedGroup{{"default", "every component has it", c.at}}
	if component.Limits.Processes > 1 {
		why, at := "limits.processes is "+itoa(component.Limits.Processes), s.Limits.Processes.Position
		if !s.Limits.Processes.IsSet() {
			why, at = why+" by default", c.at
		}
		groups = append(groups, impliedGroup{"threads", why, at}, impliedGroup{"process", why, at})
	}
	if component.HostNetwork {
		groups = append(groups, impliedGroup{"network-io", "network: host", s.Network.Position})
	}
	for _, b := range component.Grants {
		if g := &c.grants[b.Grant]; g.Kind == plan.GrantListen || g.Kind == plan.GrantConnect {
			groups = append(groups, impliedGroup{"network-io", "the grant " + g.Name, g.Position})
			break
		}
	}
	switch {
	case len(s.Files.Write) > 0:
		groups = append(groups, impliedGroup{"file-system", "files.write", s.Files.Write[0].Path.Position})
	case len(s.Files.Temporary) > 0:
		groups = append(groups, impliedGroup{"file-system", "files.temporary", s.Files.Temporary[0].Path.Position})
	}
	if s.User.IsSet() && component.User.UID == 0 && component.Hosts.Init == 0 {
		groups = append(groups, impliedGroup{"identity", "user: root", s.User.Position})
	}
	if len(s.Become) > 0 {
		groups = append(groups, impliedGroup{"identity", "become", s.Become[0].Position})
	}
	return groups
}

// filter is what a component may call.
type filter struct {
	whole   map[string]bool               // allowed whatever the arguments
	some    map[string][][]plan.Condition // allowed when one of these lists holds
	named   map[string]bool               // named by the policy itself
	broker  bool                          // the monitor makes the sockets
	append  bool                          // a file may only be appended to
	writes  bool                          // a granted file may be written to
	files   map[string]bool               // calls that it answers where a grant does
	sockets bool                          // socket(2) is among the calls
	netlink bool                          // socket(2) for NETLINK_ROUTE is
	notify  bool                          // the program speaks sd_notify(3)
	streams bool                          // it has TCP sockets
}

// hasStreams says whether a component has sockets that urgent data is for.
func (c *componentCompiler) hasStreams(component *plan.Component) bool {
	for _, b := range component.Grants {
		if c.grants[b.Grant].Network == "tcp" {
			return true
		}
	}
	return component.HostNetwork || component.Loopback
}

// syscalls builds the rules of a component.
//
// No two rules with different actions overlap: libseccomp leaves open which of
// them wins. So every call has either one rule without conditions, or rules
// that allow what their conditions name, and the default for the rest.
func (c *componentCompiler) syscalls(component *plan.Component) plan.Syscalls {
	f := &filter{whole: map[string]bool{}, some: map[string][][]plan.Condition{}, named: map[string]bool{}, broker: component.Transparent, files: c.brokeredFiles(component), streams: c.hasStreams(component)}
	for _, b := range component.Grants {
		f.append = f.append || c.grants[b.Grant].Access&plan.Append != 0
		f.writes = f.writes || c.grants[b.Grant].Access&(plan.Append|plan.Write) != 0
	}
	for _, g := range c.implied(component) {
		f.addGroup(g.group)
	}
	if c.changesFiles(component) {
		// What programs do with descriptors of files that are theirs, and of
		// directories, for which only the monitor can.
		f.files["fchmod"], f.files["fchown"] = true, true
		f.allow("fchown")
		mode, _ := calls.Mode("fchmod")
		f.allowIf("fchmod", withoutSetID(mode))
	}
	for _, use := range c.source.Syscalls {
		if use.Name.IsSet() {
			c.addNamed(f, use.Name)
		}
	}
	for _, use := range c.source.Syscalls {
		for _, name := range use.Deny {
			for _, call := range c.callsNamed(name) {
				delete(f.whole, call)
				delete(f.some, call)
				delete(f.files, call)
				f.netlink = f.netlink && call != "socket"
			}
		}
	}
	// Last, so that a denied call can be allowed in part.
	for _, use := range c.source.Syscalls {
		if use.Call.Call.IsSet() {
			c.addCondition(f, &use.Call)
		}
	}
	f.truncateWritten()
	if f.append {
		// What it submits stands in memory, with flags like pwritev2's.
		if f.whole["io_submit"] || len(f.some["io_submit"]) > 0 {
			c.mistake(c.at, "remove @aio, or grant the file for write", "io_submit could undo access: append of a grant, and no filter can see what it does")
		}
	}
	if f.notify = c.source.Ready.Word.Value == "notify" || c.source.Watchdog.Value > 0; f.notify && !f.broker {
		f.allow("connect")
	}
	return plan.Syscalls{Default: plan.Refuse, Rules: f.rules()}
}

// callsNamed returns the calls that a name or @group stands for.
func (c *componentCompiler) callsNamed(name Text) []string {
	if group, isGroup := strings.CutPrefix(name.Value, "@"); isGroup {
		names, known := callsOf[group]
		if !known {
			c.mistake(name.Position, suggestion(name.Value, groupNames()), "no group of system calls is named %q", brief(name.Value))
		}
		return names
	}
	if _, known := calls.Number(name.Value); !known {
		hint := suggestion(name.Value, calls.Names())
		if _, isGroup := callsOf[name.Value]; isGroup {
			hint = "groups start with @: write \"@" + name.Value + "\" in quotes"
		}
		c.mistake(name.Position, hint, "no system call is named %q", brief(name.Value))
		return nil
	}
	return []string{name.Value}
}

func (c *componentCompiler) addNamed(f *filter, name Text) {
	if group, isGroup := strings.CutPrefix(name.Value, "@"); isGroup && callsOf[group] != nil {
		if group == "absent" {
			c.mistake(name.Position, "", "@absent are the calls that no component has")
		}
		f.addGroup(group)
		return
	}
	for _, call := range c.callsNamed(name) {
		if absent[call] {
			c.mistake(name.Position, "", "%s cannot be allowed: no filter can see what it does", call)
			continue
		}
		f.named[call] = true
		f.allow(call)
	}
}

func contains(list []string, wanted string) bool {
	for _, element := range list {
		if element == wanted {
			return true
		}
	}
	return false
}

// addGroup allows a group. Calls that can do more than their group is for are
// allowed with conditions.
func (f *filter) addGroup(group string) {
	for _, call := range callsOf[group] {
		switch {
		case call == "ioctl":
			if group == "terminal" {
				f.allowEach(call, 1, ioctlsTerminal)
			} else {
				f.allowEach(call, 1, ioctlsDefault)
			}
		case call == "clone" && group == "threads":
			f.allowIf(call, plan.Condition{Argument: 0, Comparison: plan.MaskedEqual, Value: cloneVM | cloneThread, Mask: cloneVM | cloneThread | cloneNamespaces})
		case call == "prlimit64":
			// Its own limits, not those of another process of the same user.
			f.allowIf(call, plan.Condition{Argument: 0, Comparison: plan.Equal, Value: 0})
		case call == "fcntl":
			for _, command := range fcntlDefault {
				f.allowIf(call, command)
			}
		case call == "personality":
			f.allowEach(call, 0, []uint64{0, allBits32}) // PER_LINUX, and the question which it is
		case call == "mknod" || call == "mknodat":
			argument := uint(1)
			if call == "mknodat" {
				argument = 2
			}
			f.allowIf(call, plan.Condition{Argument: argument, Comparison: plan.MaskedEqual, Value: fileTypeFIFO, Mask: fileTypeMask})
		case call == "socket" && group == "netlink-route":
			f.netlink = true
		case call == "socketpair":
			f.allowEach(call, 0, []uint64{familyUnix})
		default:
			f.allow(call)
		}
	}
	switch group {
	case "file-system":
		f.allowEach("ioctl", 1, ioctlsFileSystem)
	case "network-io":
		f.allowEach("ioctl", 1, ioctlsNetwork)
	}
}

// allow allows a call, within what no component may do with it.
func (f *filter) allow(call string) {
	switch call {
	case "ioctl":
		for _, condition := range except(1, f.neverAsked()) {
			f.allowIf(call, condition)
		}
	case "clone":
		f.allowIf(call, plan.Condition{Argument: 0, Comparison: plan.MaskedEqual, Value: 0, Mask: cloneNamespaces})
	case "socket":
		f.sockets = true
		f.allowEach(call, 0, []uint64{familyUnix, familyIPv4, familyIPv6})
	case "sendto", "sendmsg", "sendmmsg":
		// MSG_FASTOPEN connects a TCP socket past connect(2), and so past the
		// monitor. The sockets of a transparent component live in the host's
		// network. (A UDP socket can be addressed anywhere: the monitor makes
		// one only where a UDP grant says so.) Urgent data on unix sockets is
		// code in the kernel that nobody uses but attackers (CVE-2025-38236):
		// only who has TCP sockets may send it. See rules for the answers.
		f.allowIf(call, plan.Condition{Argument: fastOpens[call], Comparison: plan.MaskedEqual, Value: 0, Mask: f.neverSent()})
	case "renameat2":
		// RENAME_WHITEOUT leaves a device node behind, past mknod(2).
		f.allowIf(call, plan.Condition{Argument: 4, Comparison: plan.MaskedEqual, Value: 0, Mask: flagWhiteout})
	default:
		f.whole[call] = true
		delete(f.some, call)
	}
}

// truncateWritten lets a component that has no other way truncate only what it
// opens for writing: neither opens with O_TRUNC that only read, which POSIX leaves
// undefined, nor those of access mode 3, which read and write nothing. Then
// Landlock need not look at each open whether it could truncate (sandbox/landlock).
func (f *filter) truncateWritten() {
	names := calls.Names()
	for _, call := range names {
		has := f.whole[call] || len(f.some[call]) > 0 || f.files[call]
		_, opens := calls.OpenFlags(call)
		if has && calls.TruncatesUnwritten(call) || opens && (f.named[call] || f.files[call]) {
			return
		}
	}
	for _, call := range names {
		flags, opens := calls.OpenFlags(call)
		if !opens || !f.whole[call] {
			continue
		}
		delete(f.whole, call)
		for _, c := range []plan.Condition{
			{Value: 0, Mask: flagTruncate},
			{Value: flagTruncate | flagWriteOnly, Mask: flagTruncate | flagsAccess},
			{Value: flagTruncate | flagReadWrite, Mask: flagTruncate | flagsAccess},
		} {
			c.Argument, c.Comparison = flags, plan.MaskedEqual
			f.allowIf(call, c)
		}
	}
}

// neverAsked are the requests that no ioctl may have.
func (f *filter) neverAsked() []uint64 {
	if f.append {
		return slices.Concat(ioctlsNever, ioctlsAllocate)
	}
	return ioctlsNever
}

// neverSent are the flags that no message may have.
func (f *filter) neverSent() uint64 {
	if f.streams {
		return messageFastOpen
	}
	return messageFastOpen | messageUrgent
}

// allowIf allows a call when a condition holds.
func (f *filter) allowIf(call string, condition plan.Condition) {
	if f.whole[call] {
		return
	}
	for _, known := range f.some[call] {
		if len(known) == 1 && known[0] == condition {
			return
		}
	}
	f.some[call] = append(f.some[call], []plan.Condition{condition})
}

// allowEach allows a call when an argument is one of the values. The kernel
// takes these arguments as 32 bits, so only they are compared: bits above
// would else make a forbidden value look like another one.
func (f *filter) allowEach(call string, argument uint, values []uint64) {
	for _, value := range values {
		f.allowIf(call, plan.Condition{Argument: argument, Comparison: plan.MaskedEqual, Value: value, Mask: allBits32})
	}
}

// addCondition adds {call: …, argument: …}.
func (c *componentCompiler) addCondition(f *filter, s *SyscallCondition) {
	names := c.callsNamed(s.Call)
	if len(names) == 0 {
		return
	}
	if strings.HasPrefix(s.Call.Value, "@") {
		c.mistake(s.Call.Position, "name one call", "a group has no arguments to compare")
		return
	}
	if absent[names[0]] {
		c.mistake(s.Call.Position, "", "%s cannot be allowed: no filter can see what it does", names[0])
		return
	}
	condition := plan.Condition{Argument: uint(s.Argument.Value)}
	found := 0
	for _, comparison := range []struct {
		text Text
		kind plan.Comparison
	}{{s.Equal, plan.Equal}, {s.NotEqual, plan.NotEqual}, {s.Less, plan.Less}, {s.LessOrEqual, plan.LessOrEqual},
		{s.Greater, plan.Greater}, {s.GreaterOrEqual, plan.GreaterOrEqual}} {
		if comparison.text.IsSet() {
			found++
			condition.Comparison, condition.Value = comparison.kind, word64(comparison.text)
		}
	}
	if found != 1 {
		c.mistake(s.Call.Position, "write one of equal, not-equal, less, less-or-equal, greater, greater-or-equal", "a condition has one comparison, not %d", found)
		return
	}
	if s.Mask.IsSet() {
		if condition.Comparison != plan.Equal {
			c.mistake(s.Mask.Position, "write equal: beside it", "mask: goes with equal:")
			return
		}
		condition.Comparison, condition.Mask = plan.MaskedEqual, word64(s.Mask)
		if condition.Value&^condition.Mask != 0 {
			c.mistake(s.Equal.Position, "", "the value has bits that the mask leaves out, so it never compares equal")
		}
	}
	if names[0] == "ioctl" && condition.Comparison == plan.Equal && condition.Value <= allBits32 {
		condition.Comparison, condition.Mask = plan.MaskedEqual, allBits32 // see allowEach
	}
	if f.forbids(names[0], condition) {
		hint := ""
		if names[0] == "socket" && condition.Argument == 0 && holds(condition, familyNetlink) {
			hint = "write \"@netlink-route\" in quotes for the sockets that ask for interfaces and routes"
		}
		c.mistake(s.Call.Position, hint, "this argument of %s cannot be allowed: it reaches out of the compartment", names[0])
		return
	}
	f.named[names[0]] = true
	f.allowIf(names[0], condition)
}

func word64(text Text) uint64 {
	value, err := strconv.ParseUint(text.Value, 0, 64)
	if err != nil {
		return 0 // the decoder has reported it
	}
	return value
}

// forbids says whether a condition would allow what no component may do.
func (f *filter) forbids(call string, c plan.Condition) bool {
	switch {
	case call == "ioctl" && c.Argument == 1:
		for _, never := range f.neverAsked() {
			if holds(c, never) {
				return true
			}
		}
	case call == "ioctl", call == "renameat2", call == "sendto", call == "sendmsg", call == "sendmmsg", call == "setsockopt":
		return true // another argument leaves the dangerous one open
	case call == "clone":
		return c.Argument != 0 // else the flags would be open
	case call == "socket":
		return c.Argument != 0 || holds(c, familyNetlink)
	}
	return false
}

// holds says whether a condition holds for a value of 32 bits, whatever the
// bits above it.
func holds(c plan.Condition, value uint64) bool {
	switch c.Comparison {
	case plan.Equal:
		return c.Value&allBits32 == value
	case plan.MaskedEqual:
		return value&c.Mask&allBits32 == c.Value&allBits32
	}
	return true // comparisons of 64 bits can be satisfied by the bits above
}

// except returns conditions that together hold for every value of 32 bits but
// the given ones, and of which no two hold for one value. One comparison for
// each argument is all that a rule of libseccomp can have, so "not a and not
// b" must be written as the subtrees of the tree of bits beside their paths.
func except(argument uint, values []uint64) []plan.Condition {
	var conditions []plan.Condition
	var descend func(prefix uint64, bit int, left []uint64)
	descend = func(prefix uint64, bit int, left []uint64) {
		if len(left) == 0 {
			mask := allBits32 &^ (uint64(1)<<(bit+1) - 1)
			conditions = append(conditions, plan.Condition{Argument: argument, Comparison: plan.MaskedEqual, Value: prefix, Mask: mask})
			return
		}
		if bit < 0 {
			return
		}
		var zero, one []uint64
		for _, value := range left {
			if value>>bit&1 == 0 {
				zero = append(zero, value)
			} else {
				one = append(one, value)
			}
		}
		descend(prefix, bit-1, zero)
		descend(prefix|1<<bit, bit-1, one)
	}
	descend(0, 31, values)
	return conditions
}

// rules writes the filter down, in the order of the calls' numbers.
func (f *filter) rules() []plan.Rule {
	rules := make([]plan.Rule, 0, len(f.whole)+2*len(f.some)+len(absent))
	for _, call := range calls.Names() {
		action := plan.Allow
		if f.broker && contains(brokered, call) {
			action = plan.Broker
		}
		if f.files[call] {
			rules = append(rules, f.fileRules(call)...)
			continue
		}
		if call == "setsockopt" && f.whole[call] {
			rules = append(rules, optionRules()...)
			continue
		}
		if mode, ok := calls.Mode(call); ok && f.writes && f.whole[call] {
			rules = append(rules, plan.Rule{Call: call, Action: action, Conditions: []plan.Condition{withoutSetID(mode)}})
			continue
		}
		if guarded := f.appendRules(call); guarded != nil {
			rules = append(rules, guarded...)
			continue
		}
		switch {
		case absent[call]:
			rules = append(rules, plan.Rule{Call: call, Action: plan.Errno, Errno: errnoNoCall})
		case f.whole[call]:
			rules = append(rules, plan.Rule{Call: call, Action: action})
		}
		for _, conditions := range f.some[call] {
			rules = append(rules, plan.Rule{Call: call, Action: action, Conditions: conditions})
		}
		if call == "socket" && f.notify && !(f.whole[call] || f.sockets && !f.broker) {
			// For sd_notify(3), and of the worker's own empty network: what
			// it can reach is a socket file that it can see.
			rules = append(rules, plan.Rule{Call: call, Action: plan.Allow, Conditions: []plan.Condition{
				{Argument: 0, Comparison: plan.MaskedEqual, Value: familyUnix, Mask: allBits32},
				{Argument: 1, Comparison: plan.MaskedEqual, Value: typeDatagram, Mask: typeMask},
			}})
		}
		if len(f.some[call]) > 0 && fastOpens[call] > 0 {
			// What the kernel says where fast open is switched off: programs
			// then connect as ever, so that is no denial to report.
			rules = append(rules, plan.Rule{Call: call, Action: plan.Errno, Errno: errnoNoWay,
				Conditions: []plan.Condition{{Argument: fastOpens[call], Comparison: plan.MaskedEqual, Value: messageFastOpen, Mask: messageFastOpen}}})
			if never := f.neverSent(); never&messageUrgent != 0 {
				// What a kernel says that has no urgent data on unix sockets.
				rules = append(rules, plan.Rule{Call: call, Action: plan.Errno, Errno: errnoNoWay,
					Conditions: []plan.Condition{{Argument: fastOpens[call], Comparison: plan.MaskedEqual, Value: messageUrgent, Mask: never}}})
			}
		}
		if call == "renameat2" && len(f.some[call]) > 0 {
			// As a file system that has no whiteouts.
			rules = append(rules, plan.Rule{Call: call, Action: plan.Errno, Errno: errnoInvalid,
				Conditions: []plan.Condition{{Argument: 4, Comparison: plan.MaskedEqual, Value: flagWhiteout, Mask: flagWhiteout}}})
		}
		switch {
		case call == "socket" && f.netlink:
			// In the worker's own network namespace, whoever makes its other
			// sockets. Of the many protocols only NETLINK_ROUTE.
			rules = append(rules, plan.Rule{Call: call, Action: plan.Allow, Conditions: []plan.Condition{
				{Argument: 0, Comparison: plan.MaskedEqual, Value: familyNetlink, Mask: allBits32},
				{Argument: 2, Comparison: plan.MaskedEqual, Value: netlinkRoute, Mask: allBits32},
			}})
		case call == "socket" && f.sockets && len(f.some[call]) > 0:
			// Every getaddrinfo(3) asks for the interfaces first and goes on
			// without an answer: that is no denial to report.
			rules = append(rules, plan.Rule{Call: call, Action: plan.Errno, Errno: errnoNoFamily,
				Conditions: []plan.Condition{{Argument: 0, Comparison: plan.MaskedEqual, Value: familyNetlink, Mask: allBits32}}})
		}
	}
	return rules
}

// optionRules are the rules for setsockopt. Options of IP may lead packets to
// hosts that are not granted, and a socket that lingers holds up whoever closes
// it: at those the monitor looks (broker/monitor, setting.go), and at what it
// need not here, so that the options that servers set for each connection cost
// few comparisons.
func optionRules() []plan.Rule {
	masked := func(argument uint, value, mask uint64) plan.Condition {
		return plan.Condition{Argument: argument, Comparison: plan.MaskedEqual, Value: value, Mask: mask}
	}
	rules := []plan.Rule{{Call: "setsockopt", Action: plan.Broker}}
	for _, level := range []uint64{levelTCP, levelUDP, levelNetlink, levelTLS} {
		rules = append(rules, plan.Rule{Call: "setsockopt", Action: plan.Allow, Conditions: []plan.Condition{masked(1, level, allBits32)}})
	}
	socket := masked(1, levelSocket, allBits32)
	for _, option := range []plan.Condition{
		{Argument: 2, Comparison: plan.Less, Value: optionLinger},
		masked(2, optionLinger+1, allBits32), masked(2, optionLinger+2, allBits32),
		masked(2, 16, allBits32&^15), masked(2, 32, allBits32&^31), masked(2, 64, allBits32&^63),
	} {
		rules = append(rules, plan.Rule{Call: "setsockopt", Action: plan.Allow, Conditions: []plan.Condition{socket, option}})
	}
	return rules
}

// withoutSetID holds for a mode that lends nothing. A file that a component was
// handed, or reaches by /proc/self/fd, lies on the host, where no mount stops its
// bits: with S_ISUID or S_ISGID it would lend the component's user to everybody
// there who executes it.
func withoutSetID(mode uint) plan.Condition {
	return plan.Condition{Argument: mode, Comparison: plan.MaskedEqual, Value: 0, Mask: modeSetID}
}

// absent are the calls of the group @absent.
var absent = func() map[string]bool {
	set := map[string]bool{}
	for _, call := range callsOf["absent"] {
		set[call] = true
	}
	return set
}()
