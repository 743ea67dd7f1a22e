package probes

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// kernelVersion is a version of Linux, as far as features are counted by it.
type kernelVersion struct{ major, minor int }

// since are probes whose target came with a version of Linux: before it there is
// nothing that they could reach.
var since = map[string]kernelVersion{
	"nsfs-handle":         {6, 18}, // file handles of namespaces
	"pidfs-handle":        {6, 14}, // file handles of processes
	"foreign-mounts":      {6, 11}, // NS_GET_MNTNS_ID, and listmount(2) of another namespace
	"flood-secret-memory": {6, 5},  // memfd_secret(2), which is there before, but off
}

// missing says why this kernel has not what a probe aims at, if that is so.
func (l *laboratory) missing(probe string) (reason string, is bool) {
	needs, known := since[probe]
	if !known || !l.kernel.before(needs) {
		return "", false
	}
	return fmt.Sprintf("needs Linux %d.%d; this is %d.%d", needs.major, needs.minor, l.kernel.major, l.kernel.minor), true
}

// withoutCompartment are probes that a bare run stops on some machines, and why.
var withoutCompartment = map[string]string{
	"x32":                   "needs a kernel with CONFIG_X86_X32_ABI",
	"load-module":           "needs a kernel with CONFIG_MODULES",
	"outside-process-group": "without a pid namespace there is no outside",
}

// withoutHardware are those that it stops where a device is missing, and withoutV1 where
// the kernel was told to have no cgroup v1.
var (
	withoutHardware = map[string]string{"dev-kvm": "/dev/kvm"}
	withoutV1       = []string{"CVE-2022-0492"}
)

// stoppedBare says why a probe may be stopped where nothing but the kernel is in its way.
func (l *laboratory) stoppedBare(probe string) (reason string, may bool) {
	if reason, may = l.missing(probe); may {
		return reason, true
	}
	if device, needs := withoutHardware[probe]; needs {
		if _, err := os.Stat(device); err != nil {
			return err.Error(), true
		}
	}
	if slices.Contains(withoutV1, probe) {
		boot, err := os.ReadFile("/proc/cmdline")
		return "needs cgroup v1", err == nil && strings.Contains(string(boot), "cgroup_no_v1=all")
	}
	reason, may = withoutCompartment[probe]
	return reason, may
}

func (v kernelVersion) before(other kernelVersion) bool {
	return v.major < other.major || v.major == other.major && v.minor < other.minor
}

// thisKernel is the version that runs.
func thisKernel() (v kernelVersion, err error) {
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return v, fmt.Errorf("uname: %w", err)
	}
	release := unix.ByteSliceToString(name.Release[:])
	if _, err := fmt.Sscanf(release, "%d.%d", &v.major, &v.minor); err != nil {
		return v, fmt.Errorf("the kernel's release is %q: %w", release, err)
	}
	return v, nil
}
