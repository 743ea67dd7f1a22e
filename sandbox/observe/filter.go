package observe

import (
	"encoding/binary"

	"golang.org/x/sys/unix"

	"bulkhead/policy/calls"
	"bulkhead/policy/learn"
)

// jump is the classic BPF of a filter under construction. It is not compiled
// by libseccomp because it needs conditions on two arguments at once, and
// nothing that libseccomp is there for.
type jump struct {
	code []unix.SockFilter
}

// Offsets in struct seccomp_data (seccomp(2)).
const (
	offsetNumber       = 0
	offsetArchitecture = 4
	offsetArguments    = 16
)

// Low and high halves of an argument.
func low(argument int) uint32  { return uint32(offsetArguments + 8*argument) }
func high(argument int) uint32 { return low(argument) + 4 }

func (j *jump) load(offset uint32) {
	j.code = append(j.code, unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: offset})
}

func (j *jump) test(operation uint16, k uint32, yes, no uint8) {
	j.code = append(j.code, unix.SockFilter{Code: unix.BPF_JMP | operation | unix.BPF_K, Jt: yes, Jf: no, K: k})
}

func (j *jump) answer(action uint32) {
	j.code = append(j.code, unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: action})
}

// filter stops the calls that must be looked at. Without everything these are
// the ones that the tables name; the kernel keeps a bitmap of the calls that
// a filter always allows, so all others cost next to nothing. absent answer
// ENOSYS and denied EPERM, as they will under the policy.
func filter(everything bool, absent, denied []string) []byte {
	j := &jump{}
	j.load(offsetArchitecture)
	j.test(unix.BPF_JEQ, unix.AUDIT_ARCH_X86_64, 1, 0)
	j.answer(unix.SECCOMP_RET_USER_NOTIF) // told, and the record is incomplete
	j.load(offsetNumber)
	each := func(names []string, action uint32) {
		for _, name := range names {
			if number, known := calls.Number(name); known {
				j.test(unix.BPF_JEQ, uint32(number), 0, 1)
				j.answer(action)
			}
		}
	}
	each(absent, unix.SECCOMP_RET_ERRNO|uint32(unix.ENOSYS))
	each(denied, unix.SECCOMP_RET_ERRNO|uint32(unix.EPERM))
	if everything {
		j.answer(unix.SECCOMP_RET_USER_NOTIF)
		return j.bytes()
	}
	for _, number := range stopped() {
		j.stop(number)
	}
	j.test(unix.BPF_JGE, calls.Last+1, 0, 1) // x32, or newer than this program
	j.answer(unix.SECCOMP_RET_USER_NOTIF)
	j.answer(unix.SECCOMP_RET_ALLOW)
	return j.bytes()
}

// stopped are the numbers of the calls that the tables name.
func stopped() []int {
	set := map[string]bool{}
	for name := range pathCalls {
		set[name] = true
	}
	for name := range learn.Arguments {
		set[name] = true
	}
	for _, name := range otherCalls {
		set[name] = true
	}
	var numbers []int
	for number := range calls.Last + 1 {
		if set[calls.Name(number)] {
			numbers = append(numbers, number)
		}
	}
	return numbers
}

// stop stops a call, but for arguments that say nothing new.
func (j *jump) stop(number int) {
	special := &jump{}
	switch calls.Name(number) {
	case "ioctl":
		special.load(low(1))
		for i, request := range ordinaryIoctls {
			special.test(unix.BPF_JEQ, request, uint8(len(ordinaryIoctls)-i), 0)
		}
		special.answer(unix.SECCOMP_RET_USER_NOTIF)
		special.answer(unix.SECCOMP_RET_ALLOW)
	case "fcntl": // only what not every component may ask
		special.load(low(1))
		for i, command := range rareCommands {
			special.test(unix.BPF_JEQ, command, uint8(len(rareCommands)-i), 0)
		}
		special.answer(unix.SECCOMP_RET_ALLOW)
		special.answer(unix.SECCOMP_RET_USER_NOTIF)
	case "mmap": // only what maps code out of a file
		special.load(low(2))
		special.test(unix.BPF_JSET, unix.PROT_EXEC, 0, 3)
		special.load(low(3))
		special.test(unix.BPF_JSET, unix.MAP_ANONYMOUS, 1, 0)
		special.answer(unix.SECCOMP_RET_USER_NOTIF)
		special.answer(unix.SECCOMP_RET_ALLOW)
	case "sendto": // only with an address, or to connect by it
		special.load(low(4))
		special.test(unix.BPF_JEQ, 0, 0, 4)
		special.load(high(4))
		special.test(unix.BPF_JEQ, 0, 0, 2)
		special.load(low(3))
		special.test(unix.BPF_JSET, unix.MSG_FASTOPEN, 0, 1)
		special.answer(unix.SECCOMP_RET_USER_NOTIF)
		special.answer(unix.SECCOMP_RET_ALLOW)
	case "prlimit64": // its own, which anybody may
		special.load(low(0))
		special.test(unix.BPF_JEQ, 0, 1, 0)
		special.answer(unix.SECCOMP_RET_USER_NOTIF)
		special.answer(unix.SECCOMP_RET_ALLOW)
	default:
		special.answer(unix.SECCOMP_RET_USER_NOTIF)
	}
	j.test(unix.BPF_JEQ, uint32(number), 0, uint8(len(special.code)))
	j.code = append(j.code, special.code...)
}

func (j *jump) bytes() []byte {
	var b []byte
	for _, i := range j.code {
		b = binary.NativeEndian.AppendUint16(b, i.Code)
		b = append(b, i.Jt, i.Jf)
		b = binary.NativeEndian.AppendUint32(b, i.K)
	}
	return b
}
