package reach

import (
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// union bpf_attr for BPF_MAP_*_ELEM (bpf(2)).
type elementAttributes struct {
	fd    uint32
	_     uint32
	key   uint64
	value uint64
	flags uint64
}

// Allow puts a rule into the map behind a descriptor. It takes no capability:
// who holds the descriptor may (Linux 5.19).
func Allow(fd int, rule Rule) error {
	key, value := rule.Key.Bytes(), rule.Value
	return element(unix.BPF_MAP_UPDATE_ELEM, fd, unsafe.Pointer(&key), unsafe.Pointer(&value))
}

// Forbid takes a rule out of the map again.
func Forbid(fd int, key Key) error {
	b := key.Bytes()
	return element(unix.BPF_MAP_DELETE_ELEM, fd, unsafe.Pointer(&b), nil)
}

func element(command uintptr, fd int, key, value unsafe.Pointer) error {
	a := elementAttributes{fd: uint32(fd), key: uint64(uintptr(key)), value: uint64(uintptr(value))}
	var pin runtime.Pinner
	defer pin.Unpin()
	pin.Pin(key)
	if value != nil {
		pin.Pin(value)
	}
	if _, _, errno := unix.Syscall(unix.SYS_BPF, command, uintptr(unsafe.Pointer(&a)), unsafe.Sizeof(a)); errno != 0 {
		return errno
	}
	return nil
}

// union bpf_attr for BPF_PROG_QUERY.
type queryAttributes struct {
	target, kind, flags, attachFlags uint32
	ids                              uint64
	count                            uint32
	_                                uint32
	_                                [40]byte
}

// attachSend stands for all of them: they are attached together.
const attachSend = unix.BPF_CGROUP_UDP4_SENDMSG

// Attached says how many programs look at datagrams that leave from a group,
// those of the groups above it included (BPF_F_QUERY_EFFECTIVE).
func Attached(group string) (int, error) {
	fd, err := unix.Open(group, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	defer unix.Close(fd)
	a := queryAttributes{target: uint32(fd), kind: attachSend, flags: 1}
	if _, _, errno := unix.Syscall(unix.SYS_BPF, unix.BPF_PROG_QUERY, uintptr(unsafe.Pointer(&a)), unsafe.Sizeof(a)); errno != 0 {
		return 0, errno
	}
	return int(a.count), nil
}
