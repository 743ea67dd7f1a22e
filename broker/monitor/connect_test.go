package monitor

import (
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"bulkhead/broker/wire"
	"bulkhead/policy/plan"
)

// As Run does: the main thread cannot end.
func init() { runtime.LockOSThread() }

// A server sees the component behind a connection and not the monitor.
func TestConnectIsMadeByTheComponent(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("an ordinary user's broker and components are one user")
	}
	path := filepath.Join(t.TempDir(), "socket") // in a directory that only root enters
	listener, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(listener)
	if err := unix.Bind(listener, &unix.SockaddrUnix{Name: path}); err != nil {
		t.Fatal(err)
	}
	if err := unix.Listen(listener, 1); err != nil {
		t.Fatal(err)
	}
	var fd int
	done := make(chan error)
	go func() {
		connected, errno := (&Monitor{}).connect(identity{12345, 54321}, &plan.Grant{Kind: plan.GrantConnect, Network: "unix", Address: path})
		fd = connected
		if errno != 0 {
			done <- errno
		}
		close(done)
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	accepted, _, err := unix.Accept4(listener, unix.SOCK_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(accepted)
	peer, err := unix.GetsockoptUcred(accepted, unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil {
		t.Fatal(err)
	}
	if peer.Uid != 12345 || peer.Gid != 54321 {
		t.Errorf("the server sees %d:%d", peer.Uid, peer.Gid)
	}
	// The thread that had the other ids ends with its goroutine; nobody else
	// got them.
	for range 1000 {
		if len(strangers(t, 12345)) == 0 {
			return
		}
		time.Sleep(time.Millisecond)
	}
	t.Errorf("threads %v are still somebody else", strangers(t, 12345))
}

// strangers are the threads of this process with another user's id.
func strangers(t *testing.T, uid uint32) []string {
	t.Helper()
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, task := range tasks {
		var st unix.Stat_t
		if err := unix.Stat("/proc/self/task/"+task.Name(), &st); err == nil && st.Uid == uid {
			found = append(found, task.Name())
		}
	}
	return found
}

func TestListenIsNotForWorkersOfConnections(t *testing.T) {
	k := newTalker(t)
	k.m.listeners[2] = 0
	if errno, got := k.ask(wire.Listen, text("port")); errno != 0 || len(got) != 1 {
		t.Errorf("a component that listens: %v", errno)
	} else {
		closeAll(got)
	}
	k.w.component.Start = plan.PerConnection
	if errno, _ := k.ask(wire.Listen, text("port")); errno != unix.EPERM {
		t.Errorf("a component that gets connections: %v", errno)
	}
}

func TestListenersAreOpenedAgain(t *testing.T) {
	k := newTalker(t)
	bound := func(at unix.Sockaddr) int {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		if err := unix.Bind(fd, at); err != nil {
			t.Fatal(err)
		}
		return fd
	}
	// A port that is bound by its number, as grants are, stays bound.
	free := bound(&unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}})
	at, err := unix.Getsockname(free)
	if err != nil {
		t.Fatal(err)
	}
	unix.Close(free)
	fd := bound(at)
	defer unix.Close(fd)
	if err := unix.Listen(fd, 1); err != nil {
		t.Fatal(err)
	}
	k.m.listeners[2] = fd
	unix.Shutdown(fd, unix.SHUT_RDWR)
	k.m.reopenListeners(k.w.component)
	client, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(client)
	if err := unix.Connect(client, at); err != nil {
		t.Errorf("connect after a shutdown: %v", err)
	}
}
