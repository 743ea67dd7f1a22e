package monitor

import (
	"bytes"
	"time"

	"bulkhead/broker/wire"
	"bulkhead/policy/plan"
)

// News for the supervisor go after this round's answers, for which workers
// wait; and not at once, because being woken costs the supervisor more than ten
// pieces of news do.
const (
	// newsInterval is how often it is woken in the long run. Workers that live for
	// a millisecond would cost it three rounds each. newsBurst times it is woken at
	// once: the start and the end of a single program are no crowd.
	newsInterval = 2 * time.Millisecond
	newsBurst    = 8
	// mentionDelay is how long news can wait of which it only keeps count.
	mentionDelay = 10 * time.Millisecond
)

// tell sends an event to the supervisor. Events with descriptors go at once. The
// order is always that of the calls.
func (m *Monitor) tell(op wire.Op, body func(*wire.Message), fds ...int) {
	m.tellBy(m.told.Add(newsInterval), op, body, fds)
}

// mention is tell about a worker. Those that come and go are only counted; the
// life of the others is the supervisor's business.
func (m *Monitor) mention(w *work, op wire.Op, body func(*wire.Message)) {
	by := m.told.Add(newsInterval)
	if start := w.component.Start; start != plan.WithApplication && start != plan.OnDemand {
		by = time.Now().Add(mentionDelay)
	}
	m.tellBy(by, op, body, nil)
}

func (m *Monitor) tellBy(by time.Time, op wire.Op, body func(*wire.Message), fds []int) {
	if m.link < 0 {
		return
	}
	m.message.Begin(wire.Header{Kind: wire.Event, Op: op, FDs: len(fds)})
	body(&m.message)
	if len(fds) > 0 {
		m.sendToSupervisor(fds)
		return
	}
	b, err := m.message.Bytes()
	if err != nil {
		return // a text that does not fit is not worth more than its absence
	}
	m.news = append(m.news, bytes.Clone(b))
	if !m.due.IsZero() && !by.Before(m.due) {
		return
	}
	m.due = by
	m.loop.stop(m.flush)
	m.flush = nil
	if wait := time.Until(by); wait > 0 {
		m.flush = m.loop.after(wait, m.flushNews)
	} else {
		m.loop.later(m.flushNews)
	}
}

func (m *Monitor) flushNews() {
	if m.due.IsZero() {
		return
	}
	m.loop.stop(m.flush)
	m.flush, m.due = nil, time.Time{}
	news := m.news
	m.news = nil
	for _, b := range news {
		m.deliver(b, nil)
	}
	// Each time is paid for by an interval, of which a quiet monitor has saved
	// some up.
	m.told = m.told.Add(newsInterval)
	if saved := time.Now().Add(-newsBurst * newsInterval); m.told.Before(saved) {
		m.told = saved
	}
}
