package wire

import "syscall"

// tries is how often memory that is not to be had for a packet is asked for.
const tries = 5

// Retry makes a call that sends or takes a packet, again where a signal interrupted
// it, and a few times where the kernel had no memory for it: then the packet is
// where it was, and there may be some in a moment.
func Retry(call func() error) error {
	for left := tries; ; {
		err := call()
		switch err {
		case syscall.EINTR:
			continue
		case syscall.ENOMEM, syscall.ENOBUFS:
			if left--; left > 0 {
				continue
			}
		}
		return err
	}
}
