package main

import (
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"bulkhead/broker/launch"
	"bulkhead/policy"
)

func upCommand() *cobra.Command {
	var idempotent bool
	c := &cobra.Command{
		Use: "up DIRECTORY", GroupID: "run",
		Short: "Run every policy in a directory, and follow what changes there",
		Long: `up runs the application of each *.yaml file in DIRECTORY, each with a broker of
its own, and stays in the foreground. A file that is added starts an
application, one that is removed stops it, one that is changed is applied to
what runs, as sandbox reload does: components about which nothing changed run on
untouched. A file with mistakes, or one that cannot be applied, changes nothing:
what ran goes on. An application that fails is started again, after 1s at first and
1m at most; one that ended with status 0 stays down until its file changes.
SIGTERM and SIGINT stop all of them in order; SIGHUP looks at the files again,
for what they include from elsewhere.`,
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, arguments []string) error { return up(arguments[0], idempotent) },
	}
	c.Flags().BoolVar(&idempotent, "idempotent", false, "succeed without doing anything when the directory is up already")
	return c
}

// settleTime is how long a directory must be quiet before it is read: editors
// and copies write in many steps.
const settleTime = 150 * time.Millisecond

// follower is one `sandbox up`. One goroutine, that of run, owns it.
type follower struct {
	directory string
	program   string
	kept      map[string]*upkeep // by file
	events    chan func()
	stopping  bool
}

func up(directory string, idempotent bool) error {
	directory, err := filepath.Abs(directory)
	if err != nil {
		return err
	}
	// Held as long as this process lives, however it ends.
	lock, err := os.OpenFile(directory, os.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return fmt.Errorf("follow the policies in a directory: %w; sandbox up DIRECTORY follows all in it, sandbox run FILE runs one", err)
	}
	defer lock.Close()
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		if err != unix.EWOULDBLOCK {
			return fmt.Errorf("lock %s: %w", directory, err)
		}
		if !idempotent {
			return fmt.Errorf("%s is up already; stop that sandbox up first, or use --idempotent if that is fine", directory)
		}
		fmt.Fprintf(os.Stderr, "sandbox: %s is up already\n", directory)
		return nil
	}
	programs, err := launch.Find()
	if err != nil {
		return err
	}
	changes, err := watchDirectory(directory)
	if err != nil {
		return err
	}
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, unix.SIGTERM, unix.SIGINT, unix.SIGHUP)
	f := &follower{directory: directory, program: programs.Sandbox, kept: map[string]*upkeep{}, events: make(chan func(), 16)}
	return f.run(changes, signals)
}

func (f *follower) run(changes <-chan struct{}, signals <-chan os.Signal) error {
	if err := f.scan(); err != nil {
		return err
	}
	if len(f.kept) == 0 {
		complain(fmt.Errorf("there is no *.yaml in %s yet; what is put there is run", f.directory))
	}
	for !f.stopping || len(f.kept) > 0 {
		select {
		case event := <-f.events:
			event()
		case <-changes:
			if err := f.scan(); err != nil {
				complain(err)
			}
		case s := <-signals:
			if s == unix.SIGHUP {
				if err := f.scan(); err != nil {
					complain(err)
				}
				continue
			}
			if f.stopping { // asked twice: the brokers know what that means
				for _, u := range f.kept {
					u.stop()
				}
			}
			f.stopping = true
		}
		f.reconcile()
	}
	return nil
}

// policyFiles are the policies in a directory.
func policyFiles(directory string) ([]string, error) {
	entries, err := os.ReadDir(directory)
	if err != nil {
		return nil, err
	}
	var files []string
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), ".yaml") && !strings.HasPrefix(e.Name(), ".") && !e.IsDir() {
			files = append(files, filepath.Join(directory, e.Name()))
		}
	}
	return files, nil
}

// scan reads all policies.
func (f *follower) scan() error {
	files, err := policyFiles(f.directory)
	if err != nil {
		return err
	}
	names := map[string]string{}
	for _, file := range files {
		u := f.kept[file]
		if u == nil {
			u = &upkeep{file: file}
			f.kept[file] = u
		}
		if err := f.read(u, names); err != nil {
			if u.wrong != err.Error() {
				complain(err)
				if u.wrong = err.Error(); u.running != "" {
					complain(fmt.Errorf("%s: application %q goes on as it was", file, u.runName))
				}
			}
			continue
		}
		u.wrong = ""
	}
	for file, u := range f.kept {
		if !slices.Contains(files, file) {
			u.want, u.wrong = "", ""
		}
	}
	f.reconcile()
	return nil
}

// read compiles a file. Its warnings are told when it is run.
func (f *follower) read(u *upkeep, names map[string]string) error {
	mark := markOf(u.file)
	loaded, err := policy.Load(u.file, policy.Options{})
	if loaded == nil {
		return err
	}
	p, _, failed := policy.Compile(loaded, policy.LocalHost())
	if failed != nil {
		return failed
	}
	if err != nil {
		return err
	}
	if other := names[p.Application]; other != "" {
		return fmt.Errorf("%s: the application %q is that of %s already", u.file, p.Application, other)
	}
	names[p.Application] = u.file
	print, err := fingerprint(p)
	if err != nil {
		return err
	}
	if print != u.want {
		u.waiting, u.delay = false, 0 // a new chance
	}
	u.want, u.name, u.mark = print, p.Application, mark
	return nil
}

// reconcile starts and stops what is not as it should be.
func (f *follower) reconcile() {
	for file, u := range f.kept {
		want := u.want
		if f.stopping {
			want = ""
		}
		if u.running == "" && want != "" && want != u.done && !u.waiting && !u.changes {
			f.start(u) // what ran already may be another than the file says, which is the next step's matter
		}
		switch {
		case u.changes && !f.stopping:
			// Then it is looked at again.
		case u.running != "" && u.running != want && !u.ending && want != "" && u.name == u.runName:
			if u.refused != u.last() {
				u.reload(f.program, func(was reading, ok bool) { f.events <- func() { f.reloaded(u, was, ok) } })
			}
		case u.running != "" && u.running != want && !u.ending:
			u.stop()
		case u.running == "" && want == "" && u.wrong == "" || u.running == "" && f.stopping:
			delete(f.kept, file)
		}
	}
}

func (f *follower) start(u *upkeep) {
	if err := u.start(f.program, func(status int) { f.events <- func() { f.ended(u, status) } }); err != nil {
		complain(err)
		f.again(u)
	}
}

// reloaded is called when a changed file was applied, or was not. Where it has been
// changed meanwhile, nobody knows what of it was applied, until it is read again.
func (f *follower) reloaded(u *upkeep, was reading, ok bool) {
	u.changes = false
	switch {
	case u.running == "": // it has ended meanwhile
	case ok && markOf(u.file) != was.mark:
		u.running, u.refused = unknown, was
	case ok:
		u.running = was.says
	default:
		u.refused = was
		complain(fmt.Errorf("%s: application %q goes on as it was; it is tried again when the file changes", u.file, u.runName))
	}
}

// ended is called when nothing of an application is left.
func (f *follower) ended(u *upkeep, status int) {
	asked, was := u.ending, u.running
	u.running, u.ending = "", false
	switch {
	case asked:
	case status == 0:
		u.done = was
		fmt.Fprintf(os.Stderr, "sandbox: application %s has ended; it is started again when %s changes\n", u.runName, u.file)
	default:
		f.again(u)
	}
}

// again starts an application after its delay.
func (f *follower) again(u *upkeep) {
	if !u.since.IsZero() && time.Since(u.since) > upStable {
		u.delay = 0
	}
	u.delay = min(max(2*u.delay, upDelayFirst), upDelayLast)
	u.waiting = true
	want := u.want
	fmt.Fprintf(os.Stderr, "sandbox: application %s is started again in %s\n", u.name, u.delay)
	time.AfterFunc(u.delay, func() {
		f.events <- func() {
			if u.want == want {
				u.waiting = false
			}
		}
	})
}

// watchDirectory tells of changes in a directory and in the drop-in
// directories beside its policies, once it is quiet (inotify(7)).
func watchDirectory(directory string) (<-chan struct{}, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("follow %s: %w", directory, err)
	}
	const events = unix.IN_CLOSE_WRITE | unix.IN_MOVED_FROM | unix.IN_MOVED_TO | unix.IN_DELETE | unix.IN_CREATE
	watch := func() error {
		_, err := unix.InotifyAddWatch(fd, directory, events|unix.IN_ONLYDIR)
		dropIns, _ := filepath.Glob(filepath.Join(directory, "*.d"))
		for _, d := range dropIns {
			unix.InotifyAddWatch(fd, d, events|unix.IN_ONLYDIR) // one that is no directory is none of ours
		}
		return err
	}
	if err := watch(); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("follow %s: %w", directory, err)
	}
	file := os.NewFile(uintptr(fd), "inotify")
	changes := make(chan struct{}, 1)
	go func() {
		var b [16 << 10]byte
		for {
			if _, err := file.Read(b[:]); err != nil {
				return
			}
			for {
				file.SetReadDeadline(time.Now().Add(settleTime))
				if _, err := file.Read(b[:]); err != nil {
					break
				}
			}
			file.SetReadDeadline(time.Time{})
			watch() // a drop-in directory may be new
			select {
			case changes <- struct{}{}:
			default:
			}
		}
	}()
	return changes, nil
}
