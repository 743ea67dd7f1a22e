package supervisor

import (
	"testing"

	"bulkhead/broker/wire"
)

// FuzzDecode: whatever stands on the monitor's socket, decode returns an
// event about a component of the plan, or an error.
func FuzzDecode(f *testing.F) {
	var m wire.Message
	seed := func(h wire.Header, build func(*wire.Message)) {
		m.Begin(h)
		build(&m)
		b, _ := m.Bytes()
		f.Add(append([]byte(nil), b...))
	}
	event := func(op wire.Op) wire.Header { return wire.Header{Kind: wire.Event, Op: op} }
	seed(wire.Header{Kind: wire.Reply, Op: wire.StartWorker, ID: 1}, func(m *wire.Message) { m.U32(1) })
	seed(wire.Header{Kind: wire.Reply, Op: wire.StartWorker, ID: 1, Status: 1}, func(m *wire.Message) { m.String("no") })
	seed(event(wire.WorkerStarted), func(m *wire.Message) { m.U32(1).U32(0).U32(99).U32(0) })
	seed(event(wire.WorkerFailed), func(m *wire.Message) { m.U32(1).U32(0).U32(2).String(executeStep) })
	seed(event(wire.WorkerEnded), func(m *wire.Message) { m.U32(1).U32(0).U32(1).U32(0).U64(1).U64(2).String("") })
	seed(event(wire.WorkerSays), func(m *wire.Message) { m.U32(1).U32(0).U32(6).String("") })
	seed(event(wire.Denied), func(m *wire.Message) { m.U32(1).U32(2).U32(41).U32(1).U64(1).U64(2).U64(3).String("").U32(1) })
	seed(event(wire.Granted), func(m *wire.Message) { m.U32(1).U32(0).U32(0).String("x").U32(1) })
	seed(event(wire.StopAsked), func(m *wire.Message) { m.U32(15).U32(125) })
	seed(event(wire.CompartmentLost), func(m *wire.Message) { m.U32(0).String("why") })
	seed(event(wire.Queued), func(m *wire.Message) { m.U32(3).U32(1) })
	seed(event(wire.Begin), func(*wire.Message) {})
	seed(event(wire.Demanded), func(m *wire.Message) { m.U32(2) })
	seed(event(wire.Named), func(m *wire.Message) { m.U32(2).U32(1).String("a is [::1]") })
	seed(event(wire.HealthSocket), func(m *wire.Message) { m.U32(0) })
	seed(event(wire.LogFile), func(m *wire.Message) { m.U32(0) })
	f.Fuzz(func(t *testing.T, packet []byte) {
		event, err := decode(packet, nil, 3)
		if err != nil {
			return
		}
		component := uint32(0)
		switch e := event.(type) {
		case workerStarted:
			component = e.component
		case workerFailed:
			component = e.component
		case workerEnded:
			component = e.component
		case workerSays:
			component = e.component
		case denied:
			component = e.component
		case granted:
			component = e.component
		case compartmentLost:
			component = e.component
		case queued:
			component = e.component
		case demanded:
			component = e.component
		case named:
			component = e.component
		case outputPipe, healthSocket, logOpened:
			t.Fatalf("%T without a descriptor", e)
		}
		if component >= 3 {
			t.Fatalf("%+v", event)
		}
	})
}

// TestMalformedMonitor: a supervisor that does not understand its monitor
// ends rather than guesses.
func TestMalformedMonitor(t *testing.T) {
	m := newPeer(t, application(with("web", nil)))
	m.run()
	m.event(wire.WorkerStarted, func(w *wire.Message) { w.U32(1).U32(77).U32(1).U32(0) })
	<-m.app.over
}
