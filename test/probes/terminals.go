package probes

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// terminals are what one run gets: a terminal of its own as standard input and
// controlling terminal, as a user who types a command has it, and a terminal of
// somebody else with a secret waiting to be read.
type terminals struct {
	own, ownMaster, other, otherMaster *os.File
}

func (o *Outside) openTerminals() (*terminals, error) {
	t := new(terminals)
	var err, otherErr error
	t.ownMaster, t.own, err = openTerminal()
	t.otherMaster, t.other, otherErr = openTerminal()
	if err = errors.Join(err, otherErr); err == nil {
		_, err = t.otherMaster.WriteString(o.Secret + "\n")
	}
	if err != nil {
		t.close()
		return nil, fmt.Errorf("terminals for a probe: %w", err)
	}
	return t, nil
}

func (t *terminals) targets() []string {
	return []string{"PROBE_TTY=1", "PROBE_OTHER_TTY=" + t.other.Name()}
}

func (t *terminals) close() {
	for _, file := range []*os.File{t.own, t.ownMaster, t.other, t.otherMaster} {
		if file != nil {
			file.Close()
		}
	}
}

func openTerminal() (master, slave *os.File, err error) {
	master, err = os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, nil, err
	}
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		return master, nil, err
	}
	number, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		return master, nil, err
	}
	slave, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	return master, slave, err
}
