package wire

import "syscall"

// Rights are the descriptors in a packet's control messages (unix(7),
// SCM_RIGHTS). Where those are malformed, none is kept.
func Rights(control []byte) ([]int, error) {
	if len(control) == 0 {
		return nil, nil
	}
	messages, err := syscall.ParseSocketControlMessage(control)
	if err != nil {
		return nil, err
	}
	var fds []int
	for i := range messages {
		got, err := syscall.ParseUnixRights(&messages[i])
		if err != nil {
			for _, fd := range fds {
				syscall.Close(fd)
			}
			return nil, err
		}
		fds = append(fds, got...)
	}
	return fds, nil
}
