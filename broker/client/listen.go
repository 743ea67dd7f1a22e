package client

import (
	"os"
	"strconv"
	"strings"
	"syscall"
)

// ListenFiles returns the listening sockets that were granted at start, by
// grant name, for net.FileListener and net.FilePacketConn; none when there
// are none. It reads LISTEN_FDS, LISTEN_FDNAMES and LISTEN_PID
// (sd_listen_fds(3)) and is called once in the life of a process.
func ListenFiles() map[string]*os.File {
	files := map[string]*os.File{}
	if os.Getenv("LISTEN_PID") != strconv.Itoa(os.Getpid()) {
		return files
	}
	count, err := strconv.Atoi(os.Getenv("LISTEN_FDS"))
	if err != nil {
		return files
	}
	names := strings.Split(os.Getenv("LISTEN_FDNAMES"), ":")
	for i := range count {
		name := "unknown" // sd_listen_fds_with_names(3) calls it so
		if i < len(names) && names[i] != "" {
			name = names[i]
		}
		syscall.CloseOnExec(3 + i)
		files[name] = os.NewFile(uintptr(3+i), name)
	}
	return files
}
