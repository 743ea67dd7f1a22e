package supervisor

import (
	"fmt"
	"sync"

	"golang.org/x/sys/unix"
)

// hand is a pipe by way of which output looks at what stands in others, which
// tee(2) copies between pipes only. It is empty again after each use.
type hand struct {
	mu   sync.Mutex
	made bool
	ends [2]int
}

func (h *hand) open() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.made {
		return nil
	}
	if err := unix.Pipe2(h.ends[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		return fmt.Errorf("make a pipe to look at others with: %w", err)
	}
	h.made = true
	return nil
}

// look copies what stands first in a pipe into b.
func (h *hand) look(fd int, b []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	n, err := unix.Tee(fd, h.ends[1], len(b), unix.SPLICE_F_NONBLOCK)
	if err != nil || n == 0 {
		return 0, err
	}
	return int(n), h.empty(b[:n])
}

// drop takes n bytes out of a pipe, by way of b. Not by a read of the pipe
// itself: one of a part of a packet (O_DIRECT, pipe(2)) loses the rest of it.
func (h *hand) drop(fd, n int, b []byte) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	for n > 0 {
		moved, err := unix.Splice(fd, nil, h.ends[1], nil, n, unix.SPLICE_F_NONBLOCK)
		if err == unix.EINTR {
			continue
		}
		if err == nil && moved == 0 {
			err = unix.EPIPE // somebody else has taken it
		}
		if err == nil {
			err = h.empty(b[:moved])
		}
		if err != nil {
			return err
		}
		n -= int(moved)
	}
	return nil
}

// empty reads all that is in it, which is as much as b.
func (h *hand) empty(b []byte) error {
	for len(b) > 0 {
		n, err := unix.Read(h.ends[0], b)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}
