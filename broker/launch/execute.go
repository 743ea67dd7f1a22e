package launch

import (
	"os"
	"runtime"
	"syscall"
)

// execute starts a program in /, with an environment of its own and these
// descriptors from 0 on; sys may be nil. It returns the pid of a child that is to be
// waited for. os.StartProcess would fork once more first, to see whether pidfds work.
func execute(command, environment []string, files []*os.File, sys *syscall.SysProcAttr) (int, error) {
	attributes := &syscall.ProcAttr{Dir: "/", Env: environment, Sys: sys}
	for _, file := range files {
		attributes.Files = append(attributes.Files, file.Fd())
	}
	pid, err := syscall.ForkExec(command[0], command, attributes)
	runtime.KeepAlive(files)
	if err != nil {
		return 0, &os.PathError{Op: "fork/exec", Path: command[0], Err: err}
	}
	return pid, nil
}

// await waits for a child and says how it ended; one that is not there has ended.
func await(pid int) (status syscall.WaitStatus) {
	for {
		if _, err := syscall.Wait4(pid, &status, 0, nil); err != syscall.EINTR {
			return status
		}
	}
}
