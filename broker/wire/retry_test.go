package wire

import (
	"slices"
	"syscall"
	"testing"
)

func TestRetry(t *testing.T) {
	for _, c := range []struct {
		what  string
		fails []error // the calls, until one is nil
		want  error
		calls int
	}{
		{"at once", nil, nil, 1},
		{"interrupted often", slices.Repeat([]error{syscall.EINTR}, 50), nil, 51},
		{"no memory for a moment", []error{syscall.ENOMEM, syscall.EINTR, syscall.ENOBUFS}, nil, 4},
		{"no memory", slices.Repeat([]error{syscall.ENOBUFS}, 50), syscall.ENOBUFS, tries},
		{"a full socket", []error{syscall.EAGAIN}, syscall.EAGAIN, 1},
	} {
		calls := 0
		err := Retry(func() error {
			if calls++; calls <= len(c.fails) {
				return c.fails[calls-1]
			}
			return nil
		})
		if err != c.want || calls != c.calls {
			t.Errorf("%s: %v after %d calls; want %v after %d", c.what, err, calls, c.want, c.calls)
		}
	}
}
