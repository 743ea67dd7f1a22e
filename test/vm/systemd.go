package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"syscall"
)

// With --systemd the host's systemd is the machine's pid 1, as the package put it there, and the
// command is a service of it. There is no D-Bus: root speaks with systemd itself.

const systemdProgram = "/lib/systemd/systemd"

// systemdPrograms come with their libraries.
var systemdPrograms = []string{
	systemdProgram, "/lib/systemd/systemd-journald",
	"/bin/systemctl", "/bin/journalctl", "/usr/bin/systemd-run", "/usr/bin/systemd-analyze",
}

// systemdUnits are those of a boot without devices, disks and a console.
var systemdUnits = []string{
	"basic.target", "sysinit.target", "sockets.target", "timers.target", "paths.target", "slices.target", "swap.target",
	"local-fs.target", "local-fs-pre.target", "multi-user.target", "network.target", "network-pre.target", "shutdown.target", "umount.target",
	"systemd-journald.service", "systemd-journald.socket", "systemd-journald-dev-log.socket",
}

// systemdFiles are what the machine knows beside that. vm.service runs this program again, for the
// command.
var systemdFiles = map[string]string{
	"etc/machine-id":                "0123456789abcdef0123456789abcdef\n",
	"etc/systemd/journald.conf":     "[Journal]\nStorage=volatile\nAudit=no\n",
	"etc/systemd/system/vm.target":  "[Unit]\nDescription=All of the machine\nRequires=multi-user.target vm.service\nAfter=multi-user.target\nAllowIsolate=yes\n",
	"etc/systemd/system/vm.service": "[Unit]\nDescription=The command of test/vm/run\nAfter=multi-user.target\n[Service]\nType=exec\nExecStart=" + guestInit + "\n",
}

func addSystemd(ctx context.Context, a *archive, o *options) error {
	if !o.job.Systemd {
		return nil
	}
	if _, err := os.Stat(systemdProgram); err != nil {
		return fmt.Errorf("%w: install the packages in test/vm/packages.txt", err)
	}
	for _, program := range systemdPrograms {
		if err := errors.Join(a.addHost(program, program), addClosure(ctx, a, program)); err != nil {
			return err
		}
	}
	for _, unit := range systemdUnits {
		file := filepath.Join("/lib/systemd/system", unit)
		if err := a.addHost(file, file); err != nil {
			return err
		}
	}
	for _, socket := range []string{"systemd-journald.socket", "systemd-journald-dev-log.socket"} {
		link := node{mode: typeLink | 0o777, content: []byte("/lib/systemd/system/" + socket)}
		if err := a.add(path.Join("etc/systemd/system/sockets.target.wants", socket), link); err != nil {
			return err
		}
	}
	for name, text := range systemdFiles {
		if err := a.add(name, node{mode: typeFile | 0o644, content: []byte(text)}); err != nil {
			return err
		}
	}
	return nil
}

// becomeSystemd is pid 1's part; the rest of the machine is systemd's own work.
func (j *job) becomeSystemd() error {
	if err := makeRootMovable(); err != nil {
		return err
	}
	if err := j.loadModules(); err != nil {
		return err
	}
	err := syscall.Exec(systemdProgram, []string{"/sbin/init", "--unit=vm.target"}, []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"})
	return fmt.Errorf("%s: %w", systemdProgram, err)
}
