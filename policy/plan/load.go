package plan

import (
	"errors"
	"fmt"
	"syscall"
)

// Load reads a plan from a sealed memfd, which is mapped: a copy of some megabytes
// would stay with the reader for as long as its heap does not shrink. part, which
// may be nil, takes from each component what the reader has no use for.
func Load(fd int, part func(*Component)) (*Plan, error) {
	var st syscall.Stat_t
	if err := syscall.Fstat(fd, &st); err != nil {
		return nil, fmt.Errorf("read the plan: %w", err)
	}
	if st.Size > MaximumSize {
		return nil, errors.New("read the plan: it is too large")
	}
	b, err := syscall.Mmap(fd, 0, int(st.Size), syscall.PROT_READ, syscall.MAP_PRIVATE)
	if err != nil {
		return nil, fmt.Errorf("read the plan: %w", err)
	}
	defer syscall.Munmap(b)
	p, err := DecodeParts(b, part)
	if err != nil {
		return nil, fmt.Errorf("read the plan: %w", err)
	}
	return p, nil
}
