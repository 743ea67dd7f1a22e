package monitor

import (
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"bulkhead/broker/wire"
	"bulkhead/policy/plan"
)

// place is a granted directory with a secret beside it.
func place(t testing.TB) (granted, secret string) {
	t.Helper()
	root := t.TempDir()
	granted, secret = filepath.Join(root, "granted"), filepath.Join(root, "secret")
	must := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.MkdirAll(filepath.Join(granted, "sub"), 0o755))
	must(os.WriteFile(secret, []byte("secret"), 0o644))
	must(os.WriteFile(filepath.Join(granted, "file"), []byte("text"), 0o644))
	must(os.Symlink("file", filepath.Join(granted, "inside")))
	must(os.Symlink("../secret", filepath.Join(granted, "relative")))
	must(os.Symlink(secret, filepath.Join(granted, "absolute")))
	must(os.Symlink("/proc/self/root"+secret, filepath.Join(granted, "magic")))
	must(unix.Mkfifo(filepath.Join(granted, "fifo"), 0o644))
	return granted, secret
}

func TestOpenDirectoryGrant(t *testing.T) {
	granted, _ := place(t)
	const (
		r  = plan.Read
		rw = plan.Read | plan.Write
		a  = plan.Append
	)
	for _, c := range []struct {
		name   string
		access plan.Access
		path   string
		flags  int
		want   syscall.Errno
	}{
		{"a file", r, "file", unix.O_RDONLY, 0},
		{"a symbolic link that stays inside", r, "inside", unix.O_RDONLY, 0},
		{"through a directory and back", r, "sub/../file", unix.O_RDONLY, 0},
		{"nothing", r, "nothing", unix.O_RDONLY, unix.ENOENT},
		{"the directory itself", r, "", unix.O_RDONLY, unix.EISDIR},
		{"the directory by a dot", r, ".", unix.O_RDONLY, unix.EISDIR},
		{"a directory", r, "sub", unix.O_RDONLY, unix.EISDIR},
		{"a directory as a path", r, "sub", unix.O_PATH, unix.EINVAL},
		{"the parent", r, "../secret", unix.O_RDONLY, unix.EXDEV},
		{"the parent by a detour", r, "sub/../../secret", unix.O_RDONLY, unix.EXDEV},
		{"an absolute path", r, "/etc/passwd", unix.O_RDONLY, unix.EXDEV},
		{"a relative link that leaves", r, "relative", unix.O_RDONLY, unix.EXDEV},
		{"an absolute link", r, "absolute", unix.O_RDONLY, unix.EXDEV},
		{"a magic link", r, "magic", unix.O_RDONLY, unix.EXDEV},
		{"a FIFO, which would block", r, "fifo", unix.O_RDONLY, unix.EACCES},
		{"a FIFO without blocking", rw, "fifo", unix.O_RDWR | unix.O_NONBLOCK, unix.EACCES},
		{"writing where one may read", r, "file", unix.O_WRONLY, unix.EACCES},
		{"truncating where one may read", r, "file", unix.O_RDONLY | unix.O_TRUNC, unix.EACCES},
		{"making where one may read", r, "new", unix.O_RDONLY | unix.O_CREAT, unix.EACCES},
		{"writing", rw, "file", unix.O_RDWR, 0},
		{"making", rw, "new", unix.O_WRONLY | unix.O_CREAT | unix.O_EXCL, 0},
		{"making once more", rw, "new", unix.O_WRONLY | unix.O_CREAT | unix.O_EXCL, unix.EEXIST},
		{"making through a link that leaves", rw, "relative", unix.O_WRONLY | unix.O_CREAT, unix.EXDEV},
		{"appending", a, "file", unix.O_WRONLY | unix.O_APPEND, 0},
		{"writing where one may append", a, "file", unix.O_WRONLY, unix.EACCES},
		{"truncating where one may append", a, "file", unix.O_WRONLY | unix.O_APPEND | unix.O_TRUNC, unix.EACCES},
		{"reading where one may append", a, "file", unix.O_RDONLY, unix.EACCES},
		{"an unknown flag", rw, "file", unix.O_RDWR | unix.O_TMPFILE, unix.EINVAL},
		{"the fourth access mode", rw, "file", 3, unix.EINVAL},
	} {
		g := &plan.Grant{Kind: plan.GrantDirectory, Path: granted, Access: c.access}
		fd, errno := asked{g, c.path, c.flags, 0o600}.open(lookup{})
		if errno != c.want {
			t.Errorf("%s: %v, want %v", c.name, errno, c.want)
		}
		if errno == 0 {
			if flags, _ := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); flags&unix.FD_CLOEXEC == 0 {
				t.Errorf("%s: it survives an exec", c.name)
			}
			unix.Close(fd)
		}
	}
}

func TestNewFilesBelongToTheDirectorysOwner(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give files away")
	}
	granted, _ := place(t)
	if err := os.Chown(granted, 12345, 54321); err != nil {
		t.Fatal(err)
	}
	g := &plan.Grant{Kind: plan.GrantDirectory, Path: granted, Access: plan.Read | plan.Write}
	fd, errno := asked{g, "mine", unix.O_WRONLY | unix.O_CREAT, 0o640}.open(lookup{})
	if errno != 0 {
		t.Fatal(errno)
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		t.Fatal(err)
	}
	if st.Uid != 12345 || st.Gid != 54321 || st.Mode&0o7777 != 0o640 {
		t.Errorf("it belongs to %d:%d with mode %o", st.Uid, st.Gid, st.Mode&0o7777)
	}
}

// Somebody swaps a file of the directory for a link to the secret all the
// time: what is opened is never the secret.
func TestOpenRace(t *testing.T) {
	granted, secret := place(t)
	var stop atomic.Bool
	done := make(chan struct{})
	go func() {
		defer close(done)
		link, file := filepath.Join(granted, "l"), filepath.Join(granted, "f")
		for !stop.Load() {
			os.Symlink(secret, link)
			os.Rename(link, filepath.Join(granted, "swapped"))
			os.WriteFile(file, []byte("text"), 0o644)
			os.Rename(file, filepath.Join(granted, "swapped"))
		}
	}()
	g := &plan.Grant{Kind: plan.GrantDirectory, Path: granted, Access: plan.Read | plan.Write}
	opened := 0
	// Longer where the other side has not had its turn.
	end := time.Now().Add(time.Minute)
	for n := 0; n < 20000 || opened == 0 && time.Now().Before(end); n++ {
		fd, errno := asked{g, "swapped", unix.O_RDONLY, 0}.open(lookup{})
		if errno != 0 {
			continue
		}
		opened++
		file := os.NewFile(uintptr(fd), "swapped")
		b, err := io.ReadAll(file)
		file.Close()
		if err != nil || string(b) == "secret" {
			t.Fatalf("it read %q, %v", b, err)
		}
	}
	stop.Store(true)
	<-done
	if opened == 0 {
		t.Error("it was never opened: the race was not run")
	}
}

// What stands at the name that an administrator has granted as a file may be
// something else by now: it is not handed out, and looking does not wait for it.
func TestOpenFileGrant(t *testing.T) {
	granted, secret := place(t)
	name := filepath.Join(granted, "granted")
	m := newTalker(t).m
	for _, c := range []struct {
		name  string
		place func() error
		want  syscall.Errno
	}{
		{"a file", func() error { return os.WriteFile(name, nil, 0o644) }, 0},
		{"a link to a file beside it", func() error { return os.Symlink("file", name) }, 0},
		{"a link that leaves its directory", func() error { return os.Symlink(secret, name) }, unix.EXDEV},
		{"a directory", func() error { return os.Mkdir(name, 0o755) }, unix.EISDIR},
		{"a FIFO that nobody writes to", func() error { return unix.Mkfifo(name, 0o644) }, unix.EACCES},
		{"nothing", func() error { return nil }, unix.ENOENT},
	} {
		if err := c.place(); err != nil {
			t.Fatal(err)
		}
		for kind, l := range map[string]lookup{"on the loop": m.soon(), "elsewhere": {}} {
			g := &plan.Grant{Kind: plan.GrantFile, Path: name, Access: plan.Read}
			fd, errno := asked{grant: g}.open(l)
			if errno == unix.EAGAIN && l.held != nil {
				continue // the kernel had to go elsewhere for it
			}
			if errno != c.want {
				t.Errorf("%s, %s: %v, want %v", c.name, kind, errno, c.want)
			}
			if errno == 0 {
				if flags, _ := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0); flags&^0o100000 != unix.O_RDONLY {
					t.Errorf("%s, %s: its flags are %#o, and only the kernel's own O_LARGEFILE was to be there", c.name, kind, flags)
				}
				unix.Close(fd)
			}
		}
		os.Remove(name)
	}
	m.roots.forget()
}

// The holder of a lease on a file holds up whoever opens it, for as long as
// /proc/sys/fs/lease-break-time says: the worker that asks, and nobody else.
func TestLeaseHoldsUpNobodyElse(t *testing.T) {
	k := newTalker(t)
	g := &k.m.plan.Grants[0]
	if err := os.WriteFile(filepath.Join(g.Path, "leased"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	broken := make(chan os.Signal, 1)
	signal.Notify(broken, unix.SIGIO)
	defer signal.Stop(broken)
	holder, err := unix.Open(filepath.Join(g.Path, "leased"), unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(holder)
	if _, err := unix.FcntlInt(uintptr(holder), unix.F_SETLEASE, unix.F_WRLCK); err != nil {
		t.Fatal(err)
	}
	var m wire.Message
	m.Begin(wire.Header{Kind: wire.Request, Op: wire.Open, ID: 7})
	open("store", "leased")(&m)
	packet, err := m.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	k.send(packet) // comes back although the lease stands
	<-broken
	file := &plan.Grant{Kind: plan.GrantFile, Path: filepath.Join(g.Path, "leased"), Access: plan.Read | plan.Write}
	if _, errno := openGrant(file); errno != unix.EAGAIN {
		t.Errorf("at the start of a worker: %v", errno)
	}
	if n := k.w.component.waiting; n != 1 {
		t.Fatalf("%d opens wait elsewhere", n)
	}
	if errno, got := k.ask(wire.Ready, nothing); errno != 0 {
		t.Errorf("the next request: %v, %v", errno, got)
	}
	if _, err := unix.FcntlInt(uintptr(holder), unix.F_SETLEASE, unix.F_UNLCK); err != nil {
		t.Fatal(err)
	}
	fd, errno := openGrant(file)
	if errno != 0 {
		t.Errorf("at the start of a worker, without the lease: %v", errno)
	} else if flags, _ := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0); flags&^0o100000 != unix.O_RDWR {
		t.Errorf("at the start of a worker its flags are %#o", flags)
	}
	unix.Close(fd)
	k.posted()
	b, control := make([]byte, wire.MaximumSize), make([]byte, 64)
	n, cn, _, _, err := unix.Recvmsg(k.socket, b, control, unix.MSG_DONTWAIT|unix.MSG_CMSG_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	fds, err := wire.Rights(control[:cn])
	if err != nil || len(fds) != 1 {
		t.Fatalf("the answer has %d descriptors, %v", len(fds), err)
	}
	closeAll(fds)
	if h, _, err := wire.Parse(b[:n], 1); err != nil || h.Status != 0 {
		t.Errorf("the answer is %+v, %v", h, err)
	}
}
