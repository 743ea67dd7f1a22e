// Package worker starts workers: it speaks with the init of a compartment and
// with the init of each worker (sandbox/init, in C). The monitor links it, so
// libcontainer is not known here.
package worker

import (
	"encoding/binary"
	"errors"
	"fmt"
	"syscall"

	"golang.org/x/sys/unix"
)

// Messages, the first four bytes of a packet; see sandbox/init/init.h.
const (
	msgHello   = 1
	msgSpawn   = 2
	msgSpawned = 3
	msgFDs     = 4
	msgCommand = 5
	msgGo      = 6
	msgStarted = 7
	msgFailed  = 8
	msgEnded   = 9
	msgProcess = 10
	msgStopped = 11
	msgPid     = 12
)

// maximumFDs is how many descriptors go into one packet.
const maximumFDs = 16

// Passed is a descriptor for a worker and the number it gets there.
type Passed struct {
	FD     int
	Number int
}

// Spawn asks the init of a compartment for a worker: the socket is the far
// end of the worker's own, procs are the files by which its cgroups are entered.
// One for an exec waits for a process instead of the plan's.
func Spawn(control int, id uint32, forExec bool, socket int, procs []int) error {
	var m [12]byte
	binary.LittleEndian.PutUint32(m[0:], msgSpawn)
	binary.LittleEndian.PutUint32(m[4:], id)
	if forExec {
		m[8] = 1
	}
	fds := append(make([]int, 0, 8), socket)
	return send(control, m[:], append(fds, procs...))
}

// ErrEnded is why nothing more can be said to an init: it has ended. What it said
// before that, the cause perhaps, is still to be received.
var ErrEnded = errors.New("the init has ended")

// Go lets a worker run its program with the descriptors and with environment
// strings beside those of the plan. A command, a path and its arguments, runs
// instead of the plan's when it is not nil; a process instead of all of it.
func Go(socket int, passed []Passed, environment, command []string, process *Process) error {
	if process != nil {
		// First: the worker's init makes the program's process with it.
		m := binary.LittleEndian.AppendUint32(nil, msgPid)
		if err := send(socket, binary.LittleEndian.AppendUint32(m, process.Pid), nil); err != nil {
			return err
		}
	}
	for len(passed) > maximumFDs {
		if err := sendPassed(socket, msgFDs, passed[:maximumFDs], nil); err != nil {
			return err
		}
		passed = passed[maximumFDs:]
	}
	if command != nil {
		m := binary.LittleEndian.AppendUint32(make([]byte, 0, 256), msgCommand)
		if err := send(socket, appendStrings(m, command), nil); err != nil {
			return err
		}
	}
	if process != nil {
		if err := sendProcess(socket, process); err != nil {
			return err
		}
	}
	return sendPassed(socket, msgGo, passed, environment)
}

func sendPassed(socket int, kind uint32, passed []Passed, environment []string) error {
	m := binary.LittleEndian.AppendUint32(make([]byte, 0, 256), kind)
	m = binary.LittleEndian.AppendUint32(m, uint32(len(passed)))
	fds := make([]int, 0, maximumFDs)
	for _, p := range passed {
		m = binary.LittleEndian.AppendUint32(m, uint32(p.Number))
		fds = append(fds, p.FD)
	}
	return send(socket, appendStrings(m, environment), fds)
}

func appendStrings(m []byte, all []string) []byte {
	for _, s := range all {
		m = append(append(m, s...), 0)
	}
	return m
}

func send(socket int, m []byte, fds []int) error {
	var rights []byte
	if len(fds) > 0 {
		rights = unix.UnixRights(fds...)
	}
	for {
		err := unix.Sendmsg(socket, m, rights, nil, unix.MSG_NOSIGNAL)
		switch err {
		case unix.EINTR:
			continue
		case unix.EPIPE, unix.ECONNRESET:
			// ECONNRESET, once, where it ended with a packet of ours unread.
			return ErrEnded
		}
		return err
	}
}

// Message is what an init says. Only the fields of its kind are set.
type Message struct {
	Kind      Kind
	Landlock  int             // Hello: the kernel's ABI version, 0 without Landlock
	Worker    uint32          // Spawned
	Errno     syscall.Errno   // Spawned, Failed
	Step      string          // Failed: what was tried
	Init      int             // Spawned: pidfd of the worker's own init
	Program   int             // Started: pidfd of the program
	Listener  int             // Started: the seccomp listener
	Notes     uint32          // Started: see NoteDirectory
	Status    unix.WaitStatus // Ended, Stopped
	Processor uint64          // Ended: microseconds of processor time
	Peak      uint64          // Ended: bytes of resident memory at most
	Leaves    bool            // Ended: it leaves processes behind, which end with it
}

// Kind is the kind of a Message.
type Kind uint8

// The kinds of message.
const (
	Closed  Kind = iota // the other side is gone
	Hello               // the init of the compartment is up
	Spawned             // a worker was forked, or Errno says why not
	Started             // the program runs
	Failed              // the program never ran
	Ended               // the program ended
	Stopped             // the program was stopped, or goes on
)

// Notes of Started: what could not be as the exec would have had it.
const (
	NoteDirectory = 1 // the working directory is not there
	NotePid       = 2 // the pid was taken
)

var errMalformed = errors.New("a message of the init is malformed")

// Receive reads one message without blocking; unix.EAGAIN when there is none.
// The caller owns the descriptors in it.
func Receive(socket int) (Message, error) {
	var b [512]byte
	var control [128]byte
	n, cn, flags, _, err := unix.Recvmsg(socket, b[:], control[:], unix.MSG_DONTWAIT|unix.MSG_CMSG_CLOEXEC)
	if err == unix.ECONNRESET {
		// It ended with a packet of ours unread, which the kernel says first,
		// once: what it said before that stands in the queue still.
		n, cn, flags, _, err = unix.Recvmsg(socket, b[:], control[:], unix.MSG_DONTWAIT|unix.MSG_CMSG_CLOEXEC)
	}
	switch err {
	case nil:
	case unix.EINTR, unix.ENOMEM, unix.ENOBUFS:
		return Message{}, unix.EAGAIN // it is still there
	default:
		return Message{}, err
	}
	fds, err := rights(control[:cn])
	if err != nil {
		return Message{}, err
	}
	if n == 0 {
		return Message{}, nil
	}
	m, used, err := parse(b[:n], fds)
	if flags&(unix.MSG_TRUNC|unix.MSG_CTRUNC) != 0 {
		used, err = 0, errMalformed
	}
	if err != nil || used != len(fds) {
		for _, fd := range fds {
			unix.Close(fd)
		}
		if err == nil {
			err = errMalformed
		}
		return Message{}, err
	}
	return m, nil
}

func rights(control []byte) ([]int, error) {
	if len(control) == 0 {
		return nil, nil
	}
	messages, err := unix.ParseSocketControlMessage(control)
	if err != nil {
		return nil, fmt.Errorf("read descriptors from an init: %w", err)
	}
	var fds []int
	for _, m := range messages {
		if got, err := unix.ParseUnixRights(&m); err == nil {
			fds = append(fds, got...)
		}
	}
	return fds, nil
}

func parse(b []byte, fds []int) (Message, int, error) {
	if len(b) < 4 {
		return Message{}, 0, errMalformed
	}
	u32 := func(at int) uint32 { return binary.LittleEndian.Uint32(b[at:]) }
	switch kind := u32(0); {
	case kind == msgHello && len(b) == 8:
		return Message{Kind: Hello, Landlock: int(u32(4))}, 0, nil
	case kind == msgSpawned && len(b) == 12 && u32(8) == 0 && len(fds) == 1:
		return Message{Kind: Spawned, Worker: u32(4), Init: fds[0]}, 1, nil
	case kind == msgSpawned && len(b) == 12 && u32(8) != 0:
		return Message{Kind: Spawned, Worker: u32(4), Errno: syscall.Errno(u32(8)), Init: -1}, 0, nil
	case kind == msgStarted && len(b) == 8 && len(fds) == 2:
		return Message{Kind: Started, Program: fds[0], Listener: fds[1], Notes: u32(4)}, 2, nil
	case kind == msgStopped && len(b) == 8:
		return Message{Kind: Stopped, Status: unix.WaitStatus(u32(4))}, 0, nil
	case kind == msgFailed && len(b) >= 8:
		return Message{Kind: Failed, Errno: syscall.Errno(u32(4)), Step: string(b[8:])}, 0, nil
	case kind == msgEnded && len(b) == 32:
		return Message{
			Kind:      Ended,
			Status:    unix.WaitStatus(u32(4)),
			Processor: binary.LittleEndian.Uint64(b[8:]),
			Peak:      binary.LittleEndian.Uint64(b[16:]),
			Leaves:    binary.LittleEndian.Uint64(b[24:]) != 0,
		}, 0, nil
	}
	return Message{}, 0, errMalformed
}
