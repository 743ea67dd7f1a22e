package address

import (
	"encoding/binary"
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"golang.org/x/sys/unix"

	"bulkhead/sandbox/reach"
)

// Offsets in struct bpf_sock_addr and struct bpf_sock (linux/bpf.h).
const (
	contextIPv4     = 4
	contextIPv6     = 8
	contextPort     = 24
	contextProtocol = 36
	contextSocket   = 64
	socketPort      = 44 // the socket's own, as a number
)

// hook is a place in the kernel where an address is used.
type hook struct {
	name   string
	attach ebpf.AttachType
	use    reach.Use // zero: an address that something came from
	ipv6   bool
}

// hooks are the places that decide. A datagram to a mapped IPv4 address passes
// the IPv4 hook, one from such an address the IPv6 hook.
var hooks = []hook{
	{"bind4", ebpf.AttachCGroupInet4Bind, reach.Bind, false},
	{"bind6", ebpf.AttachCGroupInet6Bind, reach.Bind, true},
	{"connect4", ebpf.AttachCGroupInet4Connect, reach.Send, false},
	{"connect6", ebpf.AttachCGroupInet6Connect, reach.Send, true},
	{"sendmsg4", ebpf.AttachCGroupUDP4Sendmsg, reach.Send, false},
	{"sendmsg6", ebpf.AttachCGroupUDP6Sendmsg, reach.Send, true},
	{"recvmsg4", ebpf.AttachCGroupUDP4Recvmsg, 0, false},
	{"recvmsg6", ebpf.AttachCGroupUDP6Recvmsg, 0, true},
}

// tables are the maps that the programs share.
type tables struct {
	components *ebpf.Map // id of a component's group: its number
	allowed    *ebpf.Map // reach.Key: a value
	askers     *ebpf.Map // component, own port, and who sent there
	refusals   *ebpf.Map // a ring of reach.Refusal
}

// Where the programs keep what they build, below their frame pointer.
const (
	frameGroup   = -8  // id of the group
	frameKey     = -32 // reach.Key
	frameAsker   = -56 // component u32, own port u16, the other's port u16, its address
	frameValue   = -64
	frameRefusal = -96 // reach.Refusal
)

const (
	verdictRefuse = 0 // EPERM to whoever called
	verdictAllow  = 1
)

func (h hook) load(t tables, level int32, network uint64) (*ebpf.Program, error) {
	program, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: h.name, Type: ebpf.CGroupSockAddr, AttachType: h.attach,
		Instructions: h.instructions(t, level, network), License: "GPL",
	})
	if err != nil {
		return nil, fmt.Errorf("load the program of %s: %w", h.name, err)
	}
	return program, nil
}

// instructions is the program of a hook. level is how deep components' groups
// are below the root of the hierarchy, and network the cookie of the host's
// network namespace.
//
// It decides by the group of the process that calls, not by that of the
// socket: sockets are born in the monitor's group and handed out. A process
// whose group is not in the table gets nothing.
func (h hook) instructions(t tables, level int32, network uint64) asm.Instructions {
	p := asm.Instructions{
		asm.Mov.Reg(asm.R6, asm.R1),
		// What happens in another network namespace, a component's own and
		// empty one, is nobody's business.
		asm.FnGetNetnsCookie.Call(),
		asm.LoadImm(asm.R1, int64(network), asm.DWord),
		asm.JNE.Reg(asm.R0, asm.R1, "allow"),

		asm.Mov.Imm(asm.R1, level),
		asm.FnGetCurrentAncestorCgroupId.Call(),
		asm.StoreMem(asm.RFP, frameGroup, asm.R0, asm.DWord),
	}
	p = append(p, lookup(t.components, frameGroup)...)
	unknown := "refuse-unknown"
	if h.use == 0 {
		unknown = "allow" // the kernel takes no other answer there
	}
	p = append(p,
		asm.JEq.Imm(asm.R0, 0, unknown),
		asm.LoadMem(asm.R7, asm.R0, 0, asm.Word),
		asm.LoadImm(asm.R1, int64(reach.Everything), asm.DWord),
		asm.JEq.Reg(asm.R7, asm.R1, "allow"),
	)
	p = append(p, h.key()...)
	if h.use == 0 {
		p = append(p, answers(t, true)...)
	} else {
		p = append(p, lookup(t.allowed, frameKey)...)
		p = append(p, asm.JNE.Imm(asm.R0, 0, "allow"))
		if h.use == reach.Send {
			p = append(p,
				asm.LoadMem(asm.R1, asm.R6, contextProtocol, asm.Word),
				asm.JNE.Imm(asm.R1, reach.UDP, "refuse"),
			)
			p = append(p, answers(t, false)...)
		} else {
			p = append(p, asm.Ja.Label("refuse"))
		}
	}
	if h.use != 0 {
		p = append(p, h.refusal(t)...)
		p = append(p,
			asm.Mov.Imm(asm.R0, verdictRefuse).WithSymbol("refuse-unknown"),
			asm.Return(),
		)
	}
	return append(p,
		asm.Mov.Imm(asm.R0, verdictAllow).WithSymbol("allow"),
		asm.Return(),
	)
}

// key builds the key of the address in the context, for the component in R7.
func (h hook) key() asm.Instructions {
	p := asm.Instructions{
		asm.StoreMem(asm.RFP, frameKey, asm.R7, asm.Word),
		asm.LoadMem(asm.R1, asm.R6, contextProtocol, asm.Word),
		asm.StoreMem(asm.RFP, frameKey+4, asm.R1, asm.Byte),
		asm.StoreImm(asm.RFP, frameKey+5, int64(h.use), asm.Byte),
		asm.LoadMem(asm.R1, asm.R6, contextPort, asm.Word),
		asm.StoreMem(asm.RFP, frameKey+6, asm.R1, asm.Half),
	}
	if h.ipv6 {
		for word := int16(0); word < 16; word += 4 {
			p = append(p,
				asm.LoadMem(asm.R1, asm.R6, contextIPv6+word, asm.Word),
				asm.StoreMem(asm.RFP, frameKey+8+word, asm.R1, asm.Word),
			)
		}
		return p
	}
	mapped := binary.NativeEndian.Uint32([]byte{0, 0, 0xff, 0xff})
	return append(p,
		asm.Mov.Imm(asm.R1, 0),
		asm.StoreMem(asm.RFP, frameKey+8, asm.R1, asm.DWord),
		asm.LoadImm(asm.R1, int64(mapped), asm.DWord),
		asm.StoreMem(asm.RFP, frameKey+16, asm.R1, asm.Word),
		asm.LoadMem(asm.R1, asm.R6, contextIPv4, asm.Word),
		asm.StoreMem(asm.RFP, frameKey+20, asm.R1, asm.Word),
	)
}

// answers looks whether the socket is a granted one for datagrams, and
// remembers who asked, or allows what goes to who has. It goes to "allow" or
// "refuse"; for what came there is no refusal.
func answers(t tables, came bool) asm.Instructions {
	otherwise := "refuse"
	if came {
		otherwise = "allow"
	}
	p := asm.Instructions{
		// The asker: whose address the key has.
		asm.StoreMem(asm.RFP, frameAsker, asm.R7, asm.Word),
		asm.LoadMem(asm.R1, asm.R6, contextSocket, asm.DWord),
		asm.LoadMem(asm.R8, asm.R1, socketPort, asm.Word),
		asm.StoreMem(asm.RFP, frameAsker+4, asm.R8, asm.Half),
		asm.LoadMem(asm.R1, asm.RFP, frameKey+6, asm.Half),
		asm.StoreMem(asm.RFP, frameAsker+6, asm.R1, asm.Half),
		asm.LoadMem(asm.R1, asm.RFP, frameKey+8, asm.DWord),
		asm.StoreMem(asm.RFP, frameAsker+8, asm.R1, asm.DWord),
		asm.LoadMem(asm.R1, asm.RFP, frameKey+16, asm.DWord),
		asm.StoreMem(asm.RFP, frameAsker+16, asm.R1, asm.DWord),
		// The socket's own port, in the place of the refusal: the key is
		// still needed for that.
		asm.StoreMem(asm.RFP, frameRefusal, asm.R7, asm.Word),
		asm.StoreImm(asm.RFP, frameRefusal+4, reach.UDP, asm.Byte),
		asm.StoreImm(asm.RFP, frameRefusal+5, int64(reach.Answer), asm.Byte),
		asm.StoreMem(asm.RFP, frameRefusal+6, asm.R8, asm.Half),
		asm.Mov.Imm(asm.R1, 0),
		asm.StoreMem(asm.RFP, frameRefusal+8, asm.R1, asm.DWord),
		asm.StoreMem(asm.RFP, frameRefusal+16, asm.R1, asm.DWord),
	}
	p = append(p, lookup(t.allowed, frameRefusal)...)
	p = append(p,
		asm.JEq.Imm(asm.R0, 0, otherwise),
		asm.LoadMem(asm.R1, asm.R0, 0, asm.Word),
		asm.JEq.Imm(asm.R1, reach.Anyone, "allow"),
	)
	p = append(p, lookup(t.askers, frameAsker)...)
	p = append(p, asm.JNE.Imm(asm.R0, 0, "allow"))
	if !came {
		return append(p, asm.Ja.Label("refuse"))
	}
	return append(p,
		asm.Mov.Imm(asm.R1, 1),
		asm.StoreMem(asm.RFP, frameValue, asm.R1, asm.DWord),
		asm.LoadMapPtr(asm.R1, t.askers.FD()),
		asm.Mov.Reg(asm.R2, asm.RFP), asm.Add.Imm(asm.R2, frameAsker),
		asm.Mov.Reg(asm.R3, asm.RFP), asm.Add.Imm(asm.R3, frameValue),
		asm.Mov.Imm(asm.R4, 0),
		asm.FnMapUpdateElem.Call(),
		asm.Ja.Label("allow"),
	)
}

// refusal tells the monitor what is refused, and falls through to the verdict.
func (h hook) refusal(t tables) asm.Instructions {
	var p asm.Instructions
	for offset := int16(0); offset < reach.KeySize; offset += 8 {
		p = append(p,
			asm.LoadMem(asm.R1, asm.RFP, frameKey+offset, asm.DWord),
			asm.StoreMem(asm.RFP, frameRefusal+offset, asm.R1, asm.DWord),
		)
	}
	p[0] = p[0].WithSymbol("refuse")
	return append(p,
		asm.FnGetCurrentPidTgid.Call(),
		asm.StoreMem(asm.RFP, frameRefusal+reach.KeySize, asm.R0, asm.DWord),
		asm.LoadMapPtr(asm.R1, t.refusals.FD()),
		asm.Mov.Reg(asm.R2, asm.RFP), asm.Add.Imm(asm.R2, frameRefusal),
		asm.Mov.Imm(asm.R3, reach.RefusalSize),
		asm.Mov.Imm(asm.R4, 0),
		asm.FnRingbufOutput.Call(),
	)
}

// lookup looks a key on the stack up; R0 points to the value, or is zero.
func lookup(table *ebpf.Map, key int32) asm.Instructions {
	return asm.Instructions{
		asm.LoadMapPtr(asm.R1, table.FD()),
		asm.Mov.Reg(asm.R2, asm.RFP), asm.Add.Imm(asm.R2, key),
		asm.FnMapLookupElem.Call(),
	}
}

// networkCookie is the cookie of the network namespace that this process is in
// (SO_NETNS_COOKIE, Linux 5.14).
func networkCookie() (uint64, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	defer unix.Close(fd)
	return unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_NETNS_COOKIE)
}
