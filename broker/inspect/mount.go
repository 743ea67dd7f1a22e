package inspect

import (
	"slices"
	"strconv"
	"strings"
)

// Mount is a mount that a process sees (proc_pid_mountinfo(5)).
type Mount struct {
	ID      int      `json:"id"`
	Point   string   `json:"point"` // beneath the process's root
	Root    string   `json:"root"`  // the directory or file of the file system that is mounted
	Type    string   `json:"type"`
	Source  string   `json:"source"`
	Device  string   `json:"device"`
	Flags   []string `json:"flags"` // of this mount
	Super   []string `json:"super"` // of the file system
	Writes  bool     `json:"writable"`
	Execute bool     `json:"executable"`
}

func readMounts(pid int) ([]Mount, error) {
	b, err := readFile(procPath(pid, "mountinfo"))
	if err != nil {
		return nil, err
	}
	return parseMounts(string(b)), nil
}

func parseMounts(text string) []Mount {
	mounts := []Mount{}
	for line := range strings.Lines(text) {
		before, after, ok := strings.Cut(strings.TrimSuffix(line, "\n"), " - ")
		left, right := strings.Fields(before), strings.Fields(after)
		if !ok || len(left) < 6 || len(right) < 2 {
			continue
		}
		id, _ := strconv.Atoi(left[0])
		m := Mount{
			ID: id, Device: left[2], Root: unescape(left[3]), Point: unescape(left[4]),
			Flags: strings.Split(left[5], ","), Type: right[0], Source: unescape(right[1]),
		}
		if len(right) > 2 {
			m.Super = strings.Split(right[2], ",")
		}
		m.Writes = !slices.Contains(m.Flags, "ro") && !slices.Contains(m.Super, "ro")
		m.Execute = !slices.Contains(m.Flags, "noexec")
		mounts = append(mounts, m)
	}
	return mounts
}

// unescape undoes the kernel's octal escapes of blanks and backslashes.
func unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// mountPoints are the mount points for which keep is true, without those that
// a later mount at the same place covers.
func mountPoints(mounts []Mount, keep func(*Mount) bool) []string {
	points := []string{}
	for i := range mounts {
		m := &mounts[i]
		covered := slices.ContainsFunc(mounts[i+1:], func(later Mount) bool { return later.Point == m.Point })
		if !covered && keep(m) {
			points = append(points, m.Point)
		}
	}
	return points
}

// device says that the mount is a single device node: nothing can be put there.
func (m *Mount) device() bool {
	return m.Type == "devtmpfs" && m.Root != "/" || m.Type == "devpts" && m.Root != "/"
}
