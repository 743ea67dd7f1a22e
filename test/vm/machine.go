package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// A verdict is how a run ended: a status for the caller and, where it needs words, the words.
type verdict struct {
	status    int
	err       error
	stillborn bool // the machine ended by itself before its init ran
}

// runMachine boots, passes the command's output on, and ends the machine. A machine that dies
// before its init has said a word has run nothing of the command, and emulation on a busy host
// can do that to a kernel: such a machine gets one more try, and the first one's end is printed.
func runMachine(ctx context.Context, o *options, k *kernel, initrd *os.File) (int, error) {
	v := bootMachine(ctx, o, k, initrd)
	if v.stillborn {
		fmt.Fprintf(os.Stderr, "vm: %v\nvm: the machine had not booted; it is started once more\n", v.err)
		v = bootMachine(ctx, o, k, initrd)
	}
	return v.status, v.err
}

// bootMachine is one try of runMachine. qemu never outlives this function, and through
// PR_SET_PDEATHSIG not even a killed caller.
func bootMachine(ctx context.Context, o *options, k *kernel, initrd *os.File) verdict {
	pair, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return verdict{status: statusLane, err: fmt.Errorf("socketpair: %w", err)}
	}
	ours, theirs := os.NewFile(uintptr(pair[0]), "port"), os.NewFile(uintptr(pair[1]), "port of qemu")
	defer ours.Close()
	if err := os.Remove(o.log); err != nil && !errors.Is(err, os.ErrNotExist) {
		return verdict{status: statusLane, err: err}
	}

	var complaint bytes.Buffer
	qemu := exec.Command("qemu-system-x86_64", qemuArguments(o, k)...)
	qemu.ExtraFiles = []*os.File{theirs, initrd} // 3 and 4 in qemuArguments
	qemu.Stdout, qemu.Stderr = &complaint, &complaint
	qemu.SysProcAttr = &syscall.SysProcAttr{
		Pdeathsig: syscall.SIGKILL,
		Setpgid:   true, // a ^C at the terminal is for us; we end it
	}
	err = qemu.Start()
	theirs.Close()
	if err != nil {
		return verdict{status: statusLane, err: err}
	}
	gone := make(chan error, 1)
	go func() { gone <- qemu.Wait() }()

	ctx, cancel := context.WithTimeoutCause(ctx, o.timeout, errTimeout)
	defer cancel()
	booted := make(chan struct{})
	said := make(chan verdict, 1)
	go func() {
		if v := listen(ours, o.job.Command[0], booted); v != nil {
			said <- *v
		}
	}()

	select {
	case v := <-said:
		qemu.Process.Kill()
		<-gone
		return v
	case <-ctx.Done():
		qemu.Process.Kill()
		<-gone
		return interrupted(ctx, o, isClosed(booted))
	case err := <-gone:
		return died(err, complaint.String(), o, said, isClosed(booted))
	}
}

func qemuArguments(o *options, k *kernel) []string {
	// On some hosts /dev/kvm is there and hangs, and no cheap probe tells: it has to be asked for.
	accelerator := []string{"-accel", "tcg,thread=multi", "-cpu", "max"}
	if os.Getenv("BULKHEAD_VM_ACCEL") == "kvm" {
		accelerator = []string{"-accel", "kvm", "-cpu", "host"}
	}
	return append(accelerator,
		"-machine", "q35,usb=off,vmport=off", "-nodefaults", "-no-user-config", "-display", "none",
		"-m", fmt.Sprint(o.memory), "-smp", fmt.Sprint(o.cpus),
		"-kernel", k.image(), "-initrd", "/proc/self/fd/4",
		// panic=-1 with -no-reboot: a panic ends qemu at once. cgroup_no_v1: pure cgroup v2.
		// Mitigations and the crypto self-tests cost emulation time and nothing here depends on them.
		// no_timer_check: the kernel panics when too few timer interrupts arrive in ten of its ticks
		// (check_timer in arch/x86/kernel/apic/io_apic.c), which says of an emulated processor only
		// that its host was busy.
		"-append", "console=ttyS0 panic=-1 no_timer_check cgroup_no_v1=all mitigations=off cryptomgr.notests rdinit="+guestInit,
		"-no-reboot",
		"-chardev", "file,id=log,path="+strings.ReplaceAll(o.log, ",", ",,"), "-serial", "chardev:log",
		"-chardev", "socket,id=port,fd=3",
		"-device", "virtio-serial-pci,max_ports=2", "-device", "virtserialport,chardev=port,nr=1",
	)
}

// listen passes on what the guest says until it says how the command ended. It returns nothing
// when the guest stops in the middle, as then whoever ended the machine knows why.
func listen(port io.Reader, command string, booted chan<- struct{}) *verdict {
	for {
		kind, body, err := readFrame(port)
		if err != nil {
			return nil
		}
		switch kind {
		case frameBooted:
			close(booted)
		case frameStdout:
			os.Stdout.Write(body)
		case frameStderr:
			os.Stderr.Write(body)
		case frameExit:
			wait := syscall.WaitStatus(binary.BigEndian.Uint32(body))
			if wait.Signaled() {
				return &verdict{status: 128 + int(wait.Signal()), err: fmt.Errorf("%s was killed by signal %d (%v)", command, wait.Signal(), wait.Signal())}
			}
			return &verdict{status: wait.ExitStatus()}
		case frameMissing:
			return &verdict{status: statusMissing, err: errors.New(string(body))}
		case frameNoExec:
			return &verdict{status: statusNoExec, err: errors.New(string(body))}
		case frameFailure:
			return &verdict{status: statusLane, err: fmt.Errorf("setting the machine up: %s", body)}
		default:
			return &verdict{status: statusLane, err: fmt.Errorf("the guest sent a frame of unknown kind %q", kind)}
		}
	}
}

var errTimeout = errors.New("time-out")

// interrupted says why a machine that still ran was ended.
func interrupted(ctx context.Context, o *options, booted bool) verdict {
	if context.Cause(ctx) != errTimeout {
		return verdict{status: statusLane, err: errors.New("interrupted by a signal, the machine was ended")}
	}
	what := "the machine had not finished booting"
	if booted {
		what = strings.Join(o.job.Command, " ") + " still ran"
	}
	return verdict{status: statusTimeout, err: fmt.Errorf("time-out: %s after %v, the machine was ended%s", what, o.timeout, kernelTail(o.log))}
}

// died explains why qemu ended by itself. The guest may have had the last word just before.
func died(err error, complaint string, o *options, said <-chan verdict, booted bool) verdict {
	select {
	case v := <-said:
		return v
	case <-time.After(time.Second):
	}
	log, _ := os.ReadFile(o.log)
	// The reason stands above a trace that may be longer than the tail.
	_, panicked, found := strings.Cut(string(log), "Kernel panic - ")
	reason, _, _ := strings.Cut(panicked, "\r\n")
	switch {
	case found:
		return verdict{statusLane, fmt.Errorf("the kernel panicked: %s%s", reason, kernelTail(o.log)), !booted}
	case err != nil:
		return verdict{status: statusLane, err: fmt.Errorf("qemu: %w: %s", err, strings.TrimSpace(complaint))}
	case booted:
		return verdict{status: statusLane, err: fmt.Errorf("the machine was powered off or restarted before %s ended%s", o.job.Command[0], kernelTail(o.log))}
	}
	return verdict{statusLane, fmt.Errorf("the machine ended while booting: %s%s", strings.TrimSpace(complaint), kernelTail(o.log)), true}
}

// kernelTail returns the end of the kernel log, made ready to be put behind a message.
func kernelTail(file string) string {
	const lines = 25
	log, err := os.ReadFile(file)
	if err != nil {
		return fmt.Sprintf("; there is no kernel log: %v", err)
	}
	all := strings.Split(strings.TrimSpace(strings.ReplaceAll(string(log), "\r", "")), "\n")
	if len(all) > lines {
		all = all[len(all)-lines:]
	}
	return fmt.Sprintf("; the end of %s:\n    %s", file, strings.Join(all, "\n    "))
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
