package main

import (
	"encoding/binary"
	"fmt"
	"io"
	"sync"
)

// Where the host puts things in the initramfs for the guest. The directory is removed before the
// command runs.
const (
	guestInit    = "/init"
	guestDir     = "/vm"
	guestJob     = guestDir + "/job.json"
	guestModules = guestDir + "/modules"
	guestRoot    = guestDir + "/root"

	// The guest's end of the one virtio-serial port.
	guestPort = "/dev/vport0p1"
)

// A job is what the host asks of the guest.
type job struct {
	Command []string
	Env     []string
	Dir     string   // empty: the home directory
	User    bool     // as tester with a delegated cgroup, not as root
	Systemd bool     // as a service of systemd, which is pid 1
	Modules []string // files in guestModules, in the order in which they must be loaded
}

// Everything that the guest says goes through one port as frames, so that output, in the order in
// which it came, is complete once the frame with the exit status arrives, and no count or
// second channel has to be compared.
//
//	kind (1 byte) | length of the body (4 bytes, big endian) | body
type frameKind byte

const (
	frameBooted  frameKind = 'b' // set up, the command starts now; no body
	frameStdout  frameKind = 'o'
	frameStderr  frameKind = 'e'
	frameExit    frameKind = 'x' // body: wait status, 4 bytes, big endian
	frameMissing frameKind = 'm' // the command was not found; body: why
	frameNoExec  frameKind = 'n' // the command could not be executed; body: why
	frameFailure frameKind = 'f' // the guest could not set up; body: why
)

const maxFrame = 1 << 20

// A frameWriter writes whole frames from several goroutines.
type frameWriter struct {
	mu  sync.Mutex
	out io.Writer
}

func (w *frameWriter) write(kind frameKind, body []byte) error {
	frame := make([]byte, 5, 5+len(body))
	frame[0] = byte(kind)
	binary.BigEndian.PutUint32(frame[1:], uint32(len(body)))
	w.mu.Lock()
	defer w.mu.Unlock()
	_, err := w.out.Write(append(frame, body...))
	return err
}

func readFrame(in io.Reader) (frameKind, []byte, error) {
	var head [5]byte
	if _, err := io.ReadFull(in, head[:]); err != nil {
		return 0, nil, err
	}
	size := binary.BigEndian.Uint32(head[1:])
	if size > maxFrame {
		return 0, nil, fmt.Errorf("the guest sent a frame of %d bytes, at most %d are allowed", size, maxFrame)
	}
	body := make([]byte, size)
	_, err := io.ReadFull(in, body)
	return frameKind(head[0]), body, err
}
