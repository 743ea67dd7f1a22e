package launch

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// startKeeper starts the keeper, who will execute the builder and the sweeper
// for the monitor: everything about them is settled here.
func (d *directory) startKeeper(programs Programs, plan, reload *os.File) error {
	failed := func(err error) error { return fmt.Errorf("start the keeper %s: %w", programs.Keeper, err) }
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return failed(err)
	}
	far := os.NewFile(uintptr(pair[1]), "monitor")
	defer far.Close()
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		unix.Close(pair[0])
		return failed(err)
	}
	defer null.Close()
	command := []string{programs.Keeper, programs.Builder, d.path, d.group, filepath.Dir(programs.Init), strconv.Itoa(os.Getpid()), "--"}
	var sys *syscall.SysProcAttr
	if d.addresses != nil {
		// Not in the monitor's group: a sweeper, its child, ends what is there.
		sys = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: d.addresses.Outside.Directory}
	}
	pid, err := execute(append(command, d.command...), nil, []*os.File{null, null, os.Stderr, far, plan, reload}, sys)
	if err != nil {
		unix.Close(pair[0])
		return failed(err)
	}
	d.keeper, d.keeperPid = pair[0], pid
	return nil
}

// dismissKeeper ends it, when the application does not start after all.
func (d *directory) dismissKeeper() {
	if d.keeperPid == 0 {
		return
	}
	unix.Close(d.keeper)
	await(d.keeperPid)
}
