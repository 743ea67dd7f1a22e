// The hostile monitor is executed in the monitor's place, with its rights, its
// root and its descriptors. It says what it gets.
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"

	"bulkhead/broker/handover"
	"bulkhead/test/e2e/outcome"
)

func main() {
	h, p, err := handover.Read(nil)
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	store := p.Grants[0].Path
	host := filepath.Dir(store)
	open := func(path string) error { return opens(unix.AT_FDCWD, path, unix.O_RDONLY) }
	write := func(path string) error { return opens(unix.AT_FDCWD, path, unix.O_WRONLY|unix.O_CREAT) }
	for _, try := range []struct {
		what string
		do   func() error
	}{
		{"open " + store + "/file", func() error { return open(store + "/file") }},
		{"write " + store + "/file", func() error { return write(store + "/file") }},
		{"open " + host + "/secret", func() error { return open(host + "/secret") }},
		{"open /etc/shadow", func() error { return open("/etc/shadow") }},
		{"write /etc/cron.d/hostile", func() error { return write("/etc/cron.d/hostile") }},
		{"write /new", func() error { return write("/new") }},
		{"open /proc/1/root/etc/shadow", func() error { return open("/proc/1/root/etc/shadow") }},
		{"open /proc/1/mem", func() error { return open("/proc/1/mem") }},
		{"open the keeper's root", func() error { return open("/proc/" + strconv.Itoa(h.KeeperPid) + "/root/etc/shadow") }},
		{"open the sweeper's root", func() error { return open("/proc/" + strconv.Itoa(h.SweeperPid) + "/root/etc/shadow") }},
		{"enter the host's mount namespace", func() error {
			fd, err := unix.Open("/proc/1/ns/mnt", unix.O_RDONLY|unix.O_CLOEXEC, 0)
			if err != nil {
				return err
			}
			return unix.Setns(fd, unix.CLONE_NEWNS)
		}},
		{"write /proc/sys/kernel/core_pattern", func() error { return write("/proc/sys/kernel/core_pattern") }},
		{"mount", func() error { return unix.Mount("proc", "/proc", "proc", 0, "") }},
		{"unmount /", func() error { return unix.Unmount("/", unix.MNT_DETACH) }},
		{"remount / writable", func() error {
			return unix.MountSetattr(unix.AT_FDCWD, "/", 0, &unix.MountAttr{Attr_clr: unix.MOUNT_ATTR_RDONLY})
		}},
		{"a new mount namespace", func() error { return unix.Unshare(unix.CLONE_NEWNS) }},
		{"clone the root", func() error {
			_, err := unix.OpenTree(unix.AT_FDCWD, "/", unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
			return err
		}},
		{"change the root", func() error { return unix.Chroot(store) }},
		{"a device of its own", func() error {
			return unix.Mknod(filepath.Join(h.Directory, "disk"), unix.S_IFBLK|0o600, int(unix.Mkdev(254, 0)))
		}},
		{"up from a granted directory", func() error { return open(store + "/../../../../../../etc/shadow") }},
		{"up from the working directory", func() error { return opens(unix.AT_FDCWD, "../../../etc/shadow", unix.O_RDONLY) }},
	} {
		fmt.Printf("%s: %s\n", try.what, outcome.Of(try.do()))
	}
	os.Exit(7)
}

func opens(at int, path string, flags int) error {
	fd, err := unix.Openat(at, path, flags|unix.O_CLOEXEC, 0o600)
	if err == nil {
		unix.Close(fd)
	}
	return err
}
