// Package subordinate finds the ids that a host lets an ordinary user give to
// others: ranges of /etc/subuid and /etc/subgid (subuid(5), subgid(5)), which
// newuidmap(1) and newgidmap(1) map into a user namespace, because the kernel
// lets a user without rights map one id only (user_namespaces(7)).
package subordinate

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// IDs are a user's subordinate ids. Where Missing says why there are none that
// can be used, Remedy says what to do.
type IDs struct {
	UIDs, GIDs      []Range
	Missing, Remedy string
}

// Path is where the two programs are looked for, whatever the user's own PATH
// says. The third is where NixOS has programs with rights.
const Path = "/usr/bin:/bin:/run/wrappers/bin"

// Of finds the subordinate ids of a user of this machine. It does not ask a name
// service (`subid:` of nsswitch.conf).
func Of(name string, uid uint32) IDs {
	return find("/etc", filepath.SplitList(Path), name, uid)
}

func find(etc string, directories []string, name string, uid uint32) IDs {
	var ids IDs
	for _, kind := range []struct {
		file   string
		ranges *[]Range
	}{{"subuid", &ids.UIDs}, {"subgid", &ids.GIDs}} {
		path := filepath.Join(etc, kind.file)
		found, err := read(path, name, uid)
		switch {
		case err != nil && !errors.Is(err, fs.ErrNotExist):
			return IDs{Missing: fmt.Sprintf("%s cannot be read: %v", path, err), Remedy: "have it corrected"}
		case len(found) == 0:
			return IDs{
				Missing: fmt.Sprintf("there is no range of %s's in %s", name, path),
				Remedy:  "have one added (usermod --add-subuids 100000-165535 --add-subgids 100000-165535 " + name + ", with numbers that are nobody else's)",
			}
		}
		*kind.ranges = found
	}
	for _, program := range []string{"newuidmap", "newgidmap"} {
		if missing, remedy := helper(directories, program); missing != "" {
			return IDs{Missing: missing, Remedy: remedy}
		}
	}
	// The programs get their rights at their exec, which this would stop.
	if set, err := unix.PrctlRetInt(unix.PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0); err == nil && set != 0 {
		return IDs{Missing: "newuidmap would get no rights here, because no_new_privs is set", Remedy: "start sandbox without it (NoNewPrivileges= of systemd, setpriv)"}
	}
	return ids
}

func read(path, name string, uid uint32) ([]Range, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return parse(file, name, uid)
}

// helper says what is wrong with one of the two programs: nothing if it is there
// and has the rights to write maps.
func helper(directories []string, program string) (missing, remedy string) {
	for _, directory := range directories {
		path := filepath.Join(directory, program)
		var st unix.Stat_t
		if unix.Stat(path, &st) != nil || st.Mode&unix.S_IFMT != unix.S_IFREG || st.Mode&0o111 == 0 {
			continue
		}
		if st.Uid != 0 || st.Mode&unix.S_ISUID == 0 && !capable(path) {
			return path + " is neither set-user-id root nor has it file capabilities", "have the package uidmap installed again, or do chmod u+s " + path + " as root"
		}
		var system unix.Statfs_t
		if unix.Statfs(path, &system) == nil && system.Flags&unix.ST_NOSUID != 0 {
			return path + " is on a file system that is mounted nosuid", "have it mounted without"
		}
		return "", ""
	}
	return program + " is not installed", "have the package uidmap installed (" + program + " in " + strings.Join(directories, " or ") + ")"
}

// capable says whether a program has file capabilities (capabilities(7)), which
// some distributions give it instead. Which ones they are shows at its exec.
func capable(path string) bool {
	n, err := unix.Getxattr(path, "security.capability", nil)
	return err == nil && n > 0
}

// Total is how many ids ranges have together.
func Total(ranges []Range) uint64 {
	var n uint64
	for _, r := range ranges {
		n += uint64(r.Count)
	}
	return n
}

// At is the id at a place in ranges that have more than that.
func At(ranges []Range, place uint64) uint32 {
	for _, r := range ranges {
		if place < uint64(r.Count) {
			return r.First + uint32(place)
		}
		place -= uint64(r.Count)
	}
	panic("an id behind the end of its ranges")
}
