package reach

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Refusal is one address that a program refused.
type Refusal struct {
	Component uint32
	Protocol  uint8
	Use       Use
	Port      uint16
	IP        netip.Addr
	Pid       int // of the process, in the kernel's first pid namespace
}

// RefusalSize is the size of a refusal in the ring: a key, and the pid.
const RefusalSize = KeySize + 8

// RingSize is the size of the ring's data; a power of two, whole pages.
const RingSize = 16 << 10

// Refusals reads the kernel's ring buffer of what was refused
// (Documentation/bpf/ringbuf.rst). Each record has a head of eight bytes, the
// first four of which are its length and two flags, and ends at a multiple of
// eight. The data is mapped twice in a row, so that no record is in two pieces.
type Refusals struct {
	FD       int
	consumer []byte // one page, the reader's position
	producer []byte // one page, the writers' position, then the data, twice
}

const (
	recordBusy    = 1 << 31
	recordDiscard = 1 << 30
	recordHead    = 8
)

// MapRefusals maps the ring behind a descriptor.
func MapRefusals(fd int) (*Refusals, error) {
	page := os.Getpagesize()
	consumer, err := unix.Mmap(fd, 0, page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("map the ring of refused addresses: %w", err)
	}
	producer, err := unix.Mmap(fd, int64(page), page+2*RingSize, unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		unix.Munmap(consumer)
		return nil, fmt.Errorf("map the ring of refused addresses: %w", err)
	}
	return &Refusals{FD: fd, consumer: consumer, producer: producer}, nil
}

// Next returns the next refusal, and false when there is none.
func (r *Refusals) Next() (Refusal, bool) {
	read := (*uint64)(unsafe.Pointer(&r.consumer[0]))
	written := (*uint64)(unsafe.Pointer(&r.producer[0]))
	data := r.producer[len(r.producer)-2*RingSize:]
	for {
		at := atomic.LoadUint64(read)
		if at == atomic.LoadUint64(written) {
			return Refusal{}, false
		}
		record := data[at%RingSize:]
		head := atomic.LoadUint32((*uint32)(unsafe.Pointer(&record[0])))
		if head&recordBusy != 0 {
			return Refusal{}, false // being written; the writer wakes the reader
		}
		length := uint64(head &^ (recordBusy | recordDiscard))
		refusal, ok := parseRefusal(record[recordHead : recordHead+min(length, RefusalSize)])
		atomic.StoreUint64(read, at+(recordHead+length+7)&^7)
		if head&recordDiscard == 0 && ok {
			return refusal, true
		}
	}
}

func parseRefusal(b []byte) (Refusal, bool) {
	if len(b) != RefusalSize {
		return Refusal{}, false
	}
	return Refusal{
		Component: binary.NativeEndian.Uint32(b[0:]),
		Protocol:  b[4],
		Use:       Use(b[5]),
		Port:      binary.BigEndian.Uint16(b[6:]),
		IP:        netip.AddrFrom16([16]byte(b[8:24])).Unmap(),
		Pid:       int(binary.NativeEndian.Uint64(b[24:]) >> 32),
	}, true
}
