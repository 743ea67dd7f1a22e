package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// onTerminal runs bin/sandbox with a pseudo-terminal as its standard output
// and error and as its controlling terminal, and returns the terminal's other
// side: what is written there is typed, what comes is in Out.
func (a *Application) onTerminal(environment []string, arguments ...string) (keyboard *os.File) {
	a.t.Helper()
	master, slave := openTerminal(a.t)
	a.Out, a.Err = newOutput(), newOutput()
	a.command = exec.Command(a.site.Sandbox, arguments...)
	a.command.Stdin, a.command.Stdout, a.command.Stderr = slave, slave, slave
	a.command.Env = append(os.Environ(), environment...)
	a.command.SysProcAttr = &unix.SysProcAttr{Setsid: true, Setctty: true}
	if err := a.command.Start(); err != nil {
		a.t.Fatal(err)
	}
	slave.Close()
	read := make(chan struct{})
	go func() {
		defer close(read)
		var b [4096]byte
		for {
			n, err := master.Read(b[:])
			a.Out.Write(b[:n])
			a.Err.Write(b[:n]) // a terminal does not tell them apart
			if err != nil {    // EIO: the last process on it is gone
				return
			}
		}
	}()
	a.ended = make(chan struct{})
	go func() {
		a.command.Wait()
		a.status = exitStatus(a.command.ProcessState)
		select {
		case <-read:
		case <-time.After(2 * time.Second):
		}
		master.Close()
		a.Out.close()
		a.Err.close()
		close(a.ended)
	}()
	return master
}

// openTerminal makes a pseudo-terminal (pts(4)).
func openTerminal(t *testing.T) (master, slave *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	number, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	slave, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	return master, slave
}
