package supervisor

import (
	"errors"
	"fmt"
	"syscall"

	"bulkhead/broker/wire"
)

// What the monitor says, decoded. Component indexes were checked.
type (
	reply struct {
		id     uint32
		status syscall.Errno
		value  uint32 // of a success: what wire says of the request
		reason string // why it was refused, in the monitor's words
	}
	outputPipe struct {
		component, stream uint32
		fd                int
	}
	workerStarted struct{ worker, component, pid, by uint32 }
	workerFailed  struct {
		worker, component uint32
		errno             syscall.Errno
		step              string
	}
	workerEnded struct {
		worker, component, how, code uint32
		processor, peak              uint64
		reason                       string
	}
	workerSays struct {
		worker, component uint32
		op                wire.Op
		text              string
	}
	denied struct {
		worker, component, call uint32
		errno                   syscall.Errno
		arguments               [3]uint64
		object                  string
		times                   uint32
	}
	granted struct {
		worker, component, grant uint32
		object                   string
		times                    uint32
	}
	stopAsked struct {
		signal syscall.Signal
		status uint32 // of the application
	}
	compartmentLost struct {
		component uint32
		why       string
	}
	queued       struct{ component, length uint32 }
	healthSocket struct {
		component uint32
		fd        int
	}
	demanded struct{ component uint32 }
	named    struct {
		component uint32
		resolves  bool
		text      string
	}
	logOpened struct {
		log uint32
		fd  int
	}
	begin       struct{}
	reloading   struct{ fd int }
	reloaded    struct{ components uint32 } // 0: it is given up
	monitorGone struct{ err error }
)

var (
	errKind      = errors.New("the monitor's message is neither a reply nor an event that is known")
	errComponent = errors.New("the monitor's message names a component that the plan has not")
)

// decode turns a packet of the monitor into one of the types above. It checks
// as strictly as the monitor does in the other direction: two halves of one
// broker that misunderstand each other had better stop than guess.
func decode(packet []byte, fds []int, components int) (any, error) {
	h, b, err := wire.Parse(packet, len(fds))
	if err != nil {
		return nil, err
	}
	if len(fds) != 0 && h.Op != wire.OutputPipe && h.Op != wire.LogFile && h.Op != wire.HealthSocket && h.Op != wire.Reloading {
		return nil, wire.ErrFDs
	}
	var m any
	component := uint32(0)
	switch {
	case h.Kind == wire.Reply:
		r := reply{id: h.ID, status: syscall.Errno(h.Status)}
		if r.status == 0 {
			r.value = b.U32()
		} else {
			r.reason = b.String()
		}
		m = r
	case h.Kind != wire.Event:
		return nil, errKind
	case h.Op == wire.OutputPipe:
		if len(fds) != 1 {
			return nil, wire.ErrFDs
		}
		e := outputPipe{component: b.U32(), stream: b.U32(), fd: fds[0]}
		component, m = e.component, e
	case h.Op == wire.WorkerStarted:
		e := workerStarted{worker: b.U32(), component: b.U32(), pid: b.U32(), by: b.U32()}
		component, m = e.component, e
	case h.Op == wire.WorkerFailed:
		e := workerFailed{worker: b.U32(), component: b.U32(), errno: syscall.Errno(b.U32()), step: b.String()}
		component, m = e.component, e
	case h.Op == wire.WorkerEnded:
		e := workerEnded{
			worker: b.U32(), component: b.U32(), how: b.U32(), code: b.U32(),
			processor: b.U64(), peak: b.U64(), reason: b.String(),
		}
		component, m = e.component, e
	case h.Op == wire.WorkerSays:
		e := workerSays{worker: b.U32(), component: b.U32(), op: wire.Op(b.U32()), text: b.String()}
		component, m = e.component, e
	case h.Op == wire.Denied:
		e := denied{
			worker: b.U32(), component: b.U32(), call: b.U32(), errno: syscall.Errno(b.U32()),
			arguments: [3]uint64{b.U64(), b.U64(), b.U64()}, object: b.String(), times: b.U32(),
		}
		component, m = e.component, e
	case h.Op == wire.Granted:
		e := granted{worker: b.U32(), component: b.U32(), grant: b.U32(), object: b.String(), times: b.U32()}
		component, m = e.component, e
	case h.Op == wire.StopAsked:
		m = stopAsked{signal: syscall.Signal(b.U32()), status: b.U32()}
	case h.Op == wire.CompartmentLost:
		e := compartmentLost{component: b.U32(), why: b.String()}
		component, m = e.component, e
	case h.Op == wire.Queued:
		e := queued{component: b.U32(), length: b.U32()}
		component, m = e.component, e
	case h.Op == wire.HealthSocket:
		if len(fds) != 1 {
			return nil, wire.ErrFDs
		}
		e := healthSocket{component: b.U32(), fd: fds[0]}
		component, m = e.component, e
	case h.Op == wire.Demanded:
		e := demanded{component: b.U32()}
		component, m = e.component, e
	case h.Op == wire.Named:
		e := named{component: b.U32(), resolves: b.U32() == 1, text: b.String()}
		component, m = e.component, e
	case h.Op == wire.Reloading:
		if len(fds) != 1 {
			return nil, wire.ErrFDs
		}
		m = reloading{fd: fds[0]}
	case h.Op == wire.Begin:
		m = begin{}
	case h.Op == wire.Reloaded:
		m = reloaded{components: b.U32()}
	case h.Op == wire.LogFile:
		if len(fds) != 1 {
			return nil, wire.ErrFDs
		}
		m = logOpened{log: b.U32(), fd: fds[0]}
	default:
		return nil, errKind
	}
	if err := b.End(); err != nil {
		return nil, fmt.Errorf("operation %d: %w", h.Op, err)
	}
	if component >= uint32(components) {
		return nil, errComponent
	}
	return m, nil
}
