package inspect

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/moby/sys/capability"
)

// procStatus is /proc/PID/status (proc_pid_status(5)).
type procStatus struct {
	name                 string
	parent, group        int
	inner                []int // NSpid: one for each nested pid namespace, the outermost first
	uids, gids           [4]uint32
	groups               []uint32
	threads              int
	resident, peak, swap uint64 // bytes
	capabilities         Capabilities
	noNewPrivileges      bool
	seccomp, filters     int
}

func readStatus(pid int) (*procStatus, error) {
	b, err := readFile(procPath(pid, "status"))
	if err != nil {
		return nil, err
	}
	return parseStatus(string(b))
}

func parseStatus(text string) (*procStatus, error) {
	s := &procStatus{filters: -1}
	for line := range strings.Lines(text) {
		key, value, ok := strings.Cut(line, ":")
		if !ok {
			continue
		}
		value = strings.TrimSpace(value)
		var err error
		switch key {
		case "Name":
			s.name = value
		case "PPid":
			s.parent, err = strconv.Atoi(value)
		case "Tgid":
			s.group, err = strconv.Atoi(value)
		case "NSpid":
			for _, field := range strings.Fields(value) {
				n, _ := strconv.Atoi(field)
				s.inner = append(s.inner, n)
			}
		case "Uid":
			s.uids, err = fourIDs(value)
		case "Gid":
			s.gids, err = fourIDs(value)
		case "Groups":
			for _, field := range strings.Fields(value) {
				n, _ := strconv.ParseUint(field, 10, 32)
				s.groups = append(s.groups, uint32(n))
			}
		case "Threads":
			s.threads, err = strconv.Atoi(value)
		case "VmRSS":
			s.resident = kilobytes(value)
		case "VmHWM":
			s.peak = kilobytes(value)
		case "VmSwap":
			s.swap = kilobytes(value)
		case "CapInh":
			s.capabilities.Inheritable, err = capabilitySet(value)
		case "CapPrm":
			s.capabilities.Permitted, err = capabilitySet(value)
		case "CapEff":
			s.capabilities.Effective, err = capabilitySet(value)
		case "CapBnd":
			s.capabilities.Bounding, err = capabilitySet(value)
		case "CapAmb":
			s.capabilities.Ambient, err = capabilitySet(value)
		case "NoNewPrivs":
			s.noNewPrivileges = value == "1"
		case "Seccomp":
			s.seccomp, err = strconv.Atoi(value)
		case "Seccomp_filters": // since Linux 5.9
			s.filters, err = strconv.Atoi(value)
		}
		if err != nil {
			return nil, fmt.Errorf("read %s of /proc/PID/status: %w", key, err)
		}
	}
	return s, nil
}

func fourIDs(value string) (ids [4]uint32, err error) {
	fields := strings.Fields(value)
	if len(fields) != 4 {
		return ids, fmt.Errorf("%q are not four ids", value)
	}
	for i, field := range fields {
		n, err := strconv.ParseUint(field, 10, 32)
		if err != nil {
			return ids, err
		}
		ids[i] = uint32(n)
	}
	return ids, nil
}

func kilobytes(value string) uint64 {
	n, _ := strconv.ParseUint(strings.TrimSuffix(value, " kB"), 10, 64)
	return n << 10
}

func capabilitySet(hex string) ([]string, error) {
	mask, err := strconv.ParseUint(hex, 16, 64)
	if err != nil {
		return nil, err
	}
	names := []string{}
	for n := range 64 {
		if mask>>n&1 == 0 {
			continue
		}
		name := "CAP_" + strings.ToUpper(capability.Cap(n).String())
		if capability.Cap(n).String() == "unknown" {
			name = "CAP_" + strconv.Itoa(n)
		}
		names = append(names, name)
	}
	return names, nil
}
