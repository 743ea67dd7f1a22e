package policy

import (
	"strings"

	"bulkhead/policy/plan"
)

// brokered are the calls that the monitor performs for transparent components.
var brokered = []string{"socket", "bind", "connect", "listen"}

// The calls on files that the monitor answers for components whose grants on
// files are transparent: those that read, and those that change, beside
// directory grants of any access, so that what a grant does not allow is said
// by the grant and not by the filter.
const (
	brokeredWithFiles = `open openat openat2 creat stat lstat newfstatat statx statfs access faccessat faccessat2 readlink readlinkat
		getxattr lgetxattr listxattr llistxattr setxattr lsetxattr removexattr lremovexattr
		truncate chmod fchmodat fchmodat2 chown lchown fchownat utimensat futimesat utimes utime`
	brokeredWithDirectories = `chdir getdents64 fsync
		unlink rmdir unlinkat mkdir mkdirat rename renameat renameat2 link linkat symlink symlinkat`
)

// What a daemon does with the path of its unix socket: for a granted one the
// monitor answers.
const brokeredWithSockets = "unlink unlinkat chmod fchmodat chown lchown fchownat"

func (c *componentCompiler) brokeredFiles(component *plan.Component) map[string]bool {
	all := map[string]bool{}
	for _, b := range component.Grants {
		g := &c.grants[b.Grant]
		if component.Transparent && g.Kind == plan.GrantListen && strings.HasPrefix(g.Address, "/") {
			for _, call := range strings.Fields(brokeredWithSockets) {
				all[call] = true
			}
		}
	}
	if !component.TransparentFiles {
		return all
	}
	for _, call := range strings.Fields(brokeredWithFiles) {
		all[call] = true
	}
	for _, b := range component.Grants {
		if c.grants[b.Grant].Kind == plan.GrantDirectory {
			for _, call := range strings.Fields(brokeredWithDirectories) {
				all[call] = true
			}
		}
	}
	return all
}

// changesFiles says whether files are written transparently.
func (c *componentCompiler) changesFiles(component *plan.Component) bool {
	for _, b := range component.Grants {
		if g := &c.grants[b.Grant]; component.TransparentFiles && g.Kind == plan.GrantDirectory && g.Access&plan.Write != 0 {
			return true
		}
	}
	return false
}

// byDescriptor are calls that mean a descriptor, and no path, where a flag says
// so: then nobody needs to look (AT_EMPTY_PATH, openat(2)). libc asks so for
// fstat.
var byDescriptor = map[string]uint{"newfstatat": 3, "statx": 2}

// fileRules are the rules for a call that the monitor answers where its path is
// beneath a grant. Any other path is for the kernel, if the call is allowed
// whatever its arguments, and else refused.
func (f *filter) fileRules(call string) []plan.Rule {
	rule := plan.Rule{Call: call, Action: plan.Broker}
	// What is not allowed of renameat2 the monitor refuses itself, wherever.
	if !f.whole[call] && !(call == "renameat2" && len(f.some[call]) > 0) {
		rule.Errno = errnoNoRight
	}
	if call == "utimensat" {
		// Without a path it is about a descriptor that the program has.
		rule.Conditions = []plan.Condition{{Argument: 1, Comparison: plan.NotEqual}}
		return []plan.Rule{{Call: call, Action: plan.Allow, Conditions: []plan.Condition{{Argument: 1, Comparison: plan.Equal}}}, rule}
	}
	flags, ok := byDescriptor[call]
	if !ok {
		return []plan.Rule{rule}
	}
	direct := plan.Rule{Call: call, Action: plan.Allow, Conditions: []plan.Condition{
		{Argument: flags, Comparison: plan.MaskedEqual, Value: flagEmptyPath, Mask: flagEmptyPath}}}
	rule.Conditions = []plan.Condition{{Argument: flags, Comparison: plan.MaskedEqual, Value: 0, Mask: flagEmptyPath}}
	if !f.whole[call] {
		return []plan.Rule{rule}
	}
	return []plan.Rule{direct, rule}
}

// Commands and flags by which what is in a file could be changed that may only
// grow: fcntl(2), and pwritev2(2) of Linux 6.9.
const (
	fcntlSetFlags    uint64 = 4     // F_SETFL
	flagAppend       uint64 = 0x400 // O_APPEND
	writeNotAppended uint64 = 0x20  // RWF_NOAPPEND
)

// appendRules are the rules for a call that could undo access: append, if the
// call is one. The monitor looks at the descriptor (broker/monitor, append.go).
func (f *filter) appendRules(call string) []plan.Rule {
	if !f.append || !f.whole[call] && len(f.some[call]) == 0 {
		return nil
	}
	broker := plan.Rule{Call: call, Action: plan.Broker}
	allow := func(conditions ...plan.Condition) plan.Rule {
		return plan.Rule{Call: call, Action: plan.Allow, Conditions: conditions}
	}
	switch call {
	case "ftruncate", "fallocate":
		return []plan.Rule{broker}
	case "pwritev2":
		return []plan.Rule{allow(plan.Condition{Argument: 5, Comparison: plan.MaskedEqual, Value: 0, Mask: writeNotAppended})}
	case "fcntl":
		set := plan.Condition{Argument: 1, Comparison: plan.MaskedEqual, Value: fcntlSetFlags, Mask: allBits32}
		broker.Conditions = []plan.Condition{set, {Argument: 2, Comparison: plan.MaskedEqual, Value: 0, Mask: flagAppend}}
		rules := []plan.Rule{broker, allow(set, plan.Condition{Argument: 2, Comparison: plan.MaskedEqual, Value: flagAppend, Mask: flagAppend})}
		for _, other := range except(1, []uint64{fcntlSetFlags}) {
			// Of the common commands those that Less stands for below, where
			// not all of them are allowed.
			if f.whole[call] || other.Value < fcntlSpecific {
				rules = append(rules, allow(other))
			}
		}
		for _, conditions := range f.some[call] {
			if c := conditions[0]; c.Argument == 1 && !holds(c, fcntlSetFlags) {
				rules = append(rules, allow(c))
			}
		}
		return rules
	}
	return nil
}
