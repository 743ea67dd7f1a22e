package monitor

import (
	"fmt"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// loop waits for descriptors and deadlines. Everything the monitor decides,
// it decides on this one goroutine, one event after the other: there is no
// state that two could see differently. Only calls that may block for long
// run elsewhere, and they come back through post.
type loop struct {
	epoll   int
	wake    int // eventfd: something was posted
	sources map[int]source
	serial  int32
	counts  map[owner]int // of turns in this round
	timers  []*timer      // few: one for each deadline, unsorted
	soon    []func()
	done    bool

	mutex  sync.Mutex
	posted []func()
}

// source is what to call for a descriptor, and whose turn that is.
type source struct {
	f      func(events uint32)
	events uint32
	owner  owner
	serial int32 // of all sources that ever were
}

type timer struct {
	at  time.Time
	run func()
}

func newLoop() (*loop, error) {
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("epoll_create1: %w", err)
	}
	wake, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		unix.Close(epoll)
		return nil, fmt.Errorf("eventfd: %w", err)
	}
	l := &loop{epoll: epoll, wake: wake, sources: map[int]source{}, counts: map[owner]int{}}
	return l, l.add(wake, unix.EPOLLIN, l.runPosted)
}

// add calls f whenever one of the events is there for fd.
func (l *loop) add(fd int, events uint32, f func(events uint32)) error {
	l.serial++
	event := unix.EpollEvent{Events: events, Fd: int32(fd), Pad: l.serial}
	if err := unix.EpollCtl(l.epoll, unix.EPOLL_CTL_ADD, fd, &event); err != nil {
		return fmt.Errorf("epoll_ctl: %w", err)
	}
	l.sources[fd] = source{f: f, events: events, serial: l.serial}
	return nil
}

// pause leaves fd's events alone until it is resumed, also its end.
func (l *loop) pause(fd int) { unix.EpollCtl(l.epoll, unix.EPOLL_CTL_DEL, fd, nil) }

// resume goes on with a source that was paused, if it is still there: later,
// where the kernel has no memory for it now.
func (l *loop) resume(fd int) {
	s, ok := l.sources[fd]
	if !ok {
		return
	}
	switch unix.EpollCtl(l.epoll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: s.events, Fd: int32(fd), Pad: s.serial}) {
	case unix.ENOMEM, unix.ENOSPC:
		l.after(resumeAgain, func() {
			if now, ok := l.sources[fd]; ok && now.serial == s.serial {
				l.resume(fd)
			}
		})
	}
}

const resumeAgain = 10 * time.Millisecond

// remove forgets fd, which stays open.
func (l *loop) remove(fd int) {
	delete(l.sources, fd)
	unix.EpollCtl(l.epoll, unix.EPOLL_CTL_DEL, fd, nil)
}

// close forgets fd and closes it; -1 is nothing.
func (l *loop) close(fd int) {
	if fd < 0 {
		return
	}
	if _, ok := l.sources[fd]; ok {
		// Explicitly: a copy of the descriptor elsewhere would keep the
		// registration alive after the close.
		l.remove(fd)
	}
	unix.Close(fd)
}

// after runs f once, d from now, unless it is stopped before.
func (l *loop) after(d time.Duration, f func()) *timer {
	t := &timer{at: time.Now().Add(d), run: f}
	l.timers = append(l.timers, t)
	return t
}

// stop makes sure that a timer does not run; nil is no timer.
func (l *loop) stop(t *timer) {
	for i, other := range l.timers {
		if other == t && t != nil {
			last := len(l.timers) - 1
			l.timers[i] = l.timers[last]
			l.timers[last] = nil
			l.timers = l.timers[:last]
			return
		}
	}
}

// later runs f when this round's events are served: nobody waits for it.
func (l *loop) later(f func()) { l.soon = append(l.soon, f) }

func (l *loop) runLater() {
	for len(l.soon) > 0 {
		soon := l.soon
		l.soon = nil
		for _, f := range soon {
			f()
		}
	}
}

// post runs f on the loop; any goroutine may call it.
func (l *loop) post(f func()) {
	l.mutex.Lock()
	l.posted = append(l.posted, f)
	l.mutex.Unlock()
	one := [8]byte{1}
	unix.Write(l.wake, one[:])
}

func (l *loop) runPosted(uint32) {
	var b [8]byte
	unix.Read(l.wake, b[:])
	l.mutex.Lock()
	posted := l.posted
	l.posted = nil
	l.mutex.Unlock()
	for _, f := range posted {
		f()
	}
}

// run serves until done is set.
func (l *loop) run() error {
	var events [64]unix.EpollEvent
	for !l.done {
		l.runLater() // what was put off before the first round, or by the last
		n, err := unix.EpollWait(l.epoll, events[:], l.timeout())
		if err != nil && err != unix.EINTR {
			return fmt.Errorf("epoll_wait: %w", err)
		}
		l.serve(events[:max(n, 0)])
		l.expire()
	}
	return nil
}

// timeout is the time to the next deadline in milliseconds, -1 without one.
func (l *loop) timeout() int {
	if len(l.timers) == 0 {
		return -1
	}
	next := l.timers[0].at
	for _, t := range l.timers[1:] {
		if t.at.Before(next) {
			next = t.at
		}
	}
	// Rounded up, or the loop would spin through the last millisecond.
	return int(max(0, time.Until(next)+time.Millisecond-1) / time.Millisecond)
}

func (l *loop) expire() {
	now := time.Now()
	for i := 0; i < len(l.timers); {
		t := l.timers[i]
		if t.at.After(now) {
			i++
			continue
		}
		l.stop(t)
		t.run()
		i = 0 // it may have started or stopped others
	}
}
