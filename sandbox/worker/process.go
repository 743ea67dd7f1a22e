package worker

import (
	"encoding/binary"
	"fmt"

	"golang.org/x/sys/unix"
)

// Limits is how many kinds of resource limits a Process has: all that
// getrlimit(2) knows.
const Limits = 16

// NoUmask is the Umask of a Process that keeps the plan's.
const NoUmask = 0xffff

// Process is what execve(2) keeps of a process and what it brings: what a
// program that another component executed takes over from there.
type Process struct {
	Pid         uint32 // in its namespace, where that is free
	Program     string
	Directory   string // "": the plan's
	Arguments   []string
	Environment []string
	Umask       uint32
	Nice        int32
	Blocked     uint64 // signals, bit 0 is signal 1
	Ignored     uint64
	Limits      [Limits]unix.Rlimit // by resource
}

// encode writes a process down as sandbox/init/init.h has it, struct
// process_header.
func (p *Process) encode() []byte {
	size := 0
	for _, list := range [][]string{p.Arguments, p.Environment, {p.Program, p.Directory}} {
		for _, text := range list {
			size += len(text) + 1
		}
	}
	b := make([]byte, 0, 32+16*Limits+size)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(p.Arguments)))
	b = binary.LittleEndian.AppendUint32(b, uint32(len(p.Environment)))
	b = binary.LittleEndian.AppendUint32(b, p.Umask)
	b = binary.LittleEndian.AppendUint32(b, uint32(p.Nice))
	b = binary.LittleEndian.AppendUint64(b, p.Blocked)
	b = binary.LittleEndian.AppendUint64(b, p.Ignored)
	for _, l := range p.Limits {
		b = binary.LittleEndian.AppendUint64(b, l.Cur)
		b = binary.LittleEndian.AppendUint64(b, l.Max)
	}
	b = appendStrings(b, []string{p.Program, p.Directory})
	b = appendStrings(b, p.Arguments)
	return appendStrings(b, p.Environment)
}

// sendProcess passes a process on in a sealed file: arguments and environment
// may be longer than a packet.
func sendProcess(socket int, p *Process) error {
	fd, err := unix.MemfdCreate("process", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return fmt.Errorf("memfd_create: %w", err)
	}
	defer unix.Close(fd)
	for b := p.encode(); len(b) > 0; {
		n, err := unix.Write(fd, b)
		if err != nil {
			return fmt.Errorf("write down its arguments: %w", err)
		}
		b = b[n:]
	}
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, unix.F_SEAL_WRITE|unix.F_SEAL_SHRINK|unix.F_SEAL_GROW|unix.F_SEAL_SEAL); err != nil {
		return fmt.Errorf("seal its arguments: %w", err)
	}
	return send(socket, binary.LittleEndian.AppendUint32(nil, msgProcess), []int{fd})
}
