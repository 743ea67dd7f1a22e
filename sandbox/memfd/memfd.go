// Package memfd keeps bytes in memory that are passed on as a descriptor.
package memfd

import (
	"os"

	"golang.org/x/sys/unix"
)

// New makes an empty memfd.
func New(name string) (*os.File, error) {
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return nil, os.NewSyscallError("memfd_create", err)
	}
	return os.NewFile(uintptr(fd), name), nil
}

// Fill writes b, after which nobody can change it any more.
func Fill(file *os.File, b []byte) error {
	if _, err := file.Write(b); err != nil {
		return err
	}
	_, err := unix.FcntlInt(file.Fd(), unix.F_ADD_SEALS, unix.F_SEAL_WRITE|unix.F_SEAL_SHRINK|unix.F_SEAL_GROW|unix.F_SEAL_SEAL)
	return os.NewSyscallError("fcntl(F_ADD_SEALS)", err)
}

// Sealed puts b into a memfd that nobody can change any more.
func Sealed(name string, b []byte) (*os.File, error) {
	file, err := New(name)
	if err != nil {
		return nil, err
	}
	if err := Fill(file, b); err != nil {
		file.Close()
		return nil, err
	}
	return file, nil
}
