package sandbox

import (
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"strconv"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"bulkhead/policy/subordinate"
	"bulkhead/sandbox/address"
	"bulkhead/sandbox/cgroup"
	"bulkhead/sandbox/landlock"
)

// Finding is one thing that this kernel and this user can enforce, or not.
type Finding struct {
	Subject  string `json:"subject"`
	Enforced bool   `json:"enforced"`
	Needed   bool   `json:"needed"` // by every application
	Detail   string `json:"detail"`
	Advice   string `json:"advice,omitempty"`
}

// Examine tries what compartments are made of, without leaving anything.
func Examine() []Finding {
	return []Finding{
		examineKernel(), examineUserNamespaces(), examineIDs(), examineCgroups(), examineSeccomp(),
		examineLandlock(), examineAddresses(), examineOpenat2(), examinePidfd(),
	}
}

func examineKernel() Finding {
	var u unix.Utsname
	unix.Uname(&u)
	release := unix.ByteSliceToString(u.Release[:])
	f := Finding{Subject: "kernel", Needed: true, Detail: "Linux " + release}
	var major, minor int
	if n, _ := fmt.Sscanf(release, "%d.%d", &major, &minor); n == 2 {
		f.Enforced = major > 6 || major == 6 && minor >= 1
	}
	if !f.Enforced {
		f.Advice = "Linux 6.1 or later is supported"
	}
	return f
}

func examineUserNamespaces() Finding {
	f := Finding{Subject: "namespaces", Needed: true}
	// A process that ends at once, in every namespace that a compartment has.
	command := exec.Command("/proc/self/exe", "--version")
	command.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWUSER | unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWIPC |
			unix.CLONE_NEWUTS | unix.CLONE_NEWNET | unix.CLONE_NEWCGROUP,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
	}
	if err := command.Run(); err != nil {
		f.Detail = "user, mount, pid, ipc, uts, network and cgroup: " + err.Error()
		f.Advice = "see /proc/sys/user/max_*_namespaces and /proc/sys/kernel/unprivileged_userns_clone"
		return f
	}
	f.Enforced, f.Detail = true, "user, mount, pid, ipc, uts, network and cgroup"
	return f
}

func examineIDs() Finding {
	f := Finding{Subject: "ids", Enforced: true, Detail: "each component gets ids that nobody has"}
	uid := os.Geteuid()
	if uid == 0 {
		return f
	}
	name := strconv.Itoa(uid)
	if known, err := user.LookupId(name); err == nil {
		name = known.Username
	}
	ids := subordinate.Of(name, uint32(uid))
	if ids.Missing != "" {
		f.Enforced, f.Detail = false, "components run as "+name+": "+ids.Missing
		f.Advice = ids.Remedy + "; without it user:, group: and become: can name nobody else"
		return f
	}
	f.Detail = fmt.Sprintf("each component gets some of %s's own: %d in /etc/subuid, %d in /etc/subgid", name, subordinate.Total(ids.UIDs), subordinate.Total(ids.GIDs))
	return f
}

func examineCgroups() Finding {
	f := Finding{Subject: "cgroups", Needed: true}
	h, err := cgroup.Find()
	if err != nil {
		f.Detail = err.Error()
		return f
	}
	if h.Unified == "" {
		f.Enforced, f.Detail = true, "v1 at "+h.Controllers["memory"]
		if h.Beside != "" {
			f.Detail += ", beside v2 without controllers"
		}
	} else {
		b, err := os.ReadFile(h.Unified + "/cgroup.controllers")
		f.Detail = "v2 at " + h.Unified + ": " + strings.TrimSpace(string(b))
		f.Enforced = err == nil
		for _, controller := range []string{"memory", "pids", "cpu"} {
			if !strings.Contains(" "+string(b), controller) {
				f.Enforced, f.Advice = false, "the controller "+controller+" is missing: see cgroup_disable on the kernel's command line"
			}
		}
	}
	base, err := h.Base()
	switch {
	case err != nil:
		f.Enforced, f.Advice = false, err.Error()
	case base != "":
		f.Detail += ", delegated: " + base
	}
	return f
}

func examineSeccomp() Finding {
	f := Finding{Subject: "system call filters", Needed: true}
	// SECCOMP_GET_ACTION_AVAIL (seccomp(2)): is the monitor asked about calls?
	action := uint32(0x7fc00000) // SECCOMP_RET_USER_NOTIF
	if _, _, errno := unix.Syscall(unix.SYS_SECCOMP, 2, 0, uintptr(unsafe.Pointer(&action))); errno != 0 {
		f.Detail = "no user notification: " + errno.Error()
		f.Advice = "the kernel needs CONFIG_SECCOMP_FILTER"
		return f
	}
	f.Enforced, f.Detail = true, "with notification: refused calls are named, sockets are brokered"
	return f
}

func examineLandlock() Finding {
	abi := landlock.ABI()
	f := Finding{Subject: "Landlock", Enforced: abi > 0, Detail: fmt.Sprintf("version %d", abi)}
	switch {
	case abi == 0:
		f.Detail = "not there"
		f.Advice = "boot with lsm=landlock,… ; without it the root file system alone limits files and what may be executed"
	case abi < 4:
		f.Detail += ": files; TCP needs version 4, signals and abstract sockets version 6"
	case abi < 6:
		f.Detail += ": files and TCP; signals and abstract sockets need version 6"
	default:
		f.Detail += ": files, TCP, devices, signals, abstract sockets"
	}
	return f
}

func examineAddresses() Finding {
	f := Finding{Subject: "addresses", Detail: "programs at cgroups look at bind, connect and datagrams"}
	if err := address.Try(); err != nil {
		f.Detail = err.Error()
		f.Advice = address.Advice(err) + "; without it udp grants need optional: [addresses], and may then be used for any address"
		return f
	}
	f.Enforced = true
	return f
}

func examineOpenat2() Finding {
	f := Finding{Subject: "paths", Needed: true, Detail: "openat2 keeps them beneath the granted directory"}
	fd, err := unix.Openat2(unix.AT_FDCWD, ".", &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_BENEATH})
	if err != nil {
		f.Detail = "openat2: " + err.Error()
		return f
	}
	unix.Close(fd)
	f.Enforced = true
	return f
}

func examinePidfd() Finding {
	f := Finding{Subject: "processes", Needed: true, Detail: "pidfds name them for sure"}
	fd, err := unix.PidfdOpen(os.Getpid(), 0)
	if err != nil {
		f.Detail = "pidfd_open: " + err.Error()
		return f
	}
	unix.Close(fd)
	f.Enforced = true
	return f
}
