package e2e

import (
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// filesSite makes what transparentFiles grants, beside a secret.
func filesSite(t *testing.T, a *Application) {
	t.Helper()
	for _, directory := range []string{"store/sub/deep", "books/shelf", "out"} {
		if err := os.MkdirAll(filepath.Join(a.Dir, directory), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	a.File("store/file", "text")
	a.File("store/sub/deep/file", "deep")
	a.File("books/moby", "Call me Ishmael.")
	a.File("books/shelf/book", "a book")
	a.File("log", "begun\n")
	a.File("out/secret", "secret")
	for link, to := range map[string]string{
		"store/inside": "sub/deep/file", "store/relative": "../out/secret", "store/absolute": a.Dir + "/out/secret",
		"store/magic": "/proc/self/root" + a.Dir + "/out/secret", "store/way": "sub/deep", "store/out": "../out",
		"store/nowhere": "nothing", "store/round": "round",
	} {
		if err := os.Symlink(to, filepath.Join(a.Dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	if err := unix.Mkfifo(a.Dir+"/store/fifo", 0o666); err != nil {
		t.Fatal(err)
	}
}

const transparentFiles = `
application: {{NAME}}
grants:
  store: {directory: "{{DIR}}/store", access: read-write}
  books: {directory: "{{DIR}}/books"}
  log:   {file: "{{DIR}}/log", access: append}
components:
  web:
    command:
      - {{PROGRAM}}
      - program
      - files
STEPS
    grants: [store, books, log: {at-start: false}]
    transparent: true
    restart: never
`

// runFiles lets an unmodified program take steps and compares what each gives.
// A step's paths are written from the application's directory on: +/store.
func runFiles(t *testing.T, name string, prepare func(*Application), steps [][2]string) *Application {
	t.Helper()
	a := New(t, name)
	filesSite(t, a)
	if prepare != nil {
		prepare(a)
	}
	var list strings.Builder
	var want []string
	for _, step := range steps {
		did := strings.ReplaceAll(step[0], "+", a.Dir)
		list.WriteString("      - '" + did + "'\n")
		want = append(want, did+": "+strings.ReplaceAll(step[1], "+", a.Dir))
	}
	a.Write(strings.Replace(transparentFiles, "STEPS\n", list.String(), 1)).Run()
	a.ExpectStatus(0)
	expectLines(t, a.Lines("web"), want...)
	return a
}

// Opening by the host's path gives what the grant says, with the flags and the
// errno that a program expects.
func TestTransparentOpen(t *testing.T) {
	a := runFiles(t, "files-open", nil, [][2]string{
		{"open +/store/file read", `file "text"`},
		{"open +/store/file read,cloexec", `file "text" cloexec`},
		{"open +/store/file read,nonblock", `file "text" nonblock`},
		{"open +/store/./sub/..//file read", `file "text"`},
		{"open +/store/inside read", `file "deep"`},
		{"open +/store/inside read,nofollow", "ELOOP"},
		{"open +/store/round read", "ELOOP"},
		{"open +/store/nothing read", "ENOENT"},
		{"open +/store/nowhere read", "ENOENT"},
		{"open +/store/file/x read", "ENOTDIR"},
		{"open +/store/file/ read", "ENOTDIR"},
		{"open +/store/file read,directory", "ENOTDIR"},
		{"open +/store/sub write", "EISDIR"},
		{"open +/store/sub read,create", "EISDIR"},
		{"open +/store/" + strings.Repeat("x", 256) + " read", "ENAMETOOLONG"},
		{"open +/store/new both,new 0640 one", `file "one"`},
		{"open +/store/new both,new", "EEXIST"},
		{"open +/store/nowhere write,new", "EEXIST"},
		{"open +/store/new write,append,create 0600 two", "file append"},
		{"open +/store/new read", `file "onetwo"`},
		{"open +/store/new both,truncate", `file ""`},
		{"open +/store read,nothing", "directory"},
		{"open +/store/sub read,directory", "directory"},
		{"open +/store both,temporary 0600 three", `file "three"`},
		{"open +/books/moby read", `file "Call me Ishmael."`},
		{"open +/books/moby write", "EACCES"},
		{"open +/books/moby read,truncate", "EACCES"},
		{"open +/books/moby read,create", `file "Call me Ishmael."`},
		{"open +/books/new write,create", "EACCES"},
		{"open +/log write,append 0 more", "file append"},
		{"open +/log write", "EACCES"},
		{"open +/log write,append,truncate", "EACCES"},
		{"open +/log read", "EACCES"},
		// What would be a way out, or is no file.
		{"open +/store/relative read", "EACCES"},
		{"open +/store/absolute read", "EACCES"},
		{"open +/store/magic read", "EACCES"},
		{"open +/store/out/secret read", "EACCES"},
		{"open +/store/../out/secret read", "ENOENT"},
		{"open +/store/sub/../../out/secret read", "ENOENT"},
		{"open +/out/secret read", "ENOENT"},
		{"open +/store/fifo read", "EACCES"},
		{"open +/store/fifo both,nonblock", "EACCES"},
		{"open +/store/file path", "EACCES"},
		{"open /etc/shadow read", "ENOENT"},
		{"descend +/store/sub/deep", "dev etc lib lib64 proc run tmp usr var"},
	})
	expectFile(t, a.Dir+"/log", "begun\nmore")
	expectFile(t, a.Dir+"/store/new", "")
	st, err := os.Stat(a.Dir + "/store/new")
	if err != nil {
		t.Fatal(err)
	}
	if st.Mode().Perm() != 0o640 {
		t.Errorf("the new file has the mode %v", st.Mode())
	}
	if owner := ownerOf(st); owner == 0 || owner == 65534 {
		t.Errorf("the new file belongs to %d, not to the component's user", owner)
	}
	for _, line := range []string{
		"denied: openat(...) write " + a.Dir + "/books/moby: EACCES; to allow it: grants.books.access: read-write",
		"denied: openat(...) leave " + a.Dir + "/store/relative: EACCES; to allow it: a grant for what the link or mount there leads to",
	} {
		if !strings.Contains(a.Err.String(), line) {
			t.Errorf("it does not say\n\t%s", line)
		}
	}
}

// Directories are stand-ins: the kernel's own names, the granted content.
func TestTransparentDirectories(t *testing.T) {
	runFiles(t, "files-directory", nil, [][2]string{
		{"list +/books", "moby shelf"},
		{"list +/store/sub", "deep"},
		{"list +/store/way", "file"},
		{"chdir +/store", "ok"},
		{"getcwd", "+/store"},
		{"open file read", `file "text"`},
		{"open ./sub/../file read", `file "text"`},
		{"chdir sub/deep", "ok"},
		{"getcwd", "+/store/sub/deep"},
		{"list .", "file"},
		{"list ..", "deep"},
		{"open ../../file read", `file "text"`},
		{"open ../../../log read", "EACCES"},
		{"open ../../../out/secret read", "ENOENT"},
		{"chdir +/store/way", "ok"},
		{"getcwd", "+/store/sub/deep"},
		{"relative +/store/sub deep/file", `file "deep"`},
		{"relative +/store/sub ../file", `file "text"`},
		{"relative +/store/way file", `file "deep"`},
		{"relative +/store/file x", "ENOTDIR"},
		{"chdir +/store/out", "EACCES"},
		{"chdir +/store/file", "ENOTDIR"},
		{"chdir +/store/nothing", "ENOENT"},
	})
}

// A call that has to wait holds up the program that made it, as it would
// without us, and nobody else: not the loop, and not another component.
func TestTransparentOpenWaits(t *testing.T) {
	a := New(t, "files-lease")
	filesSite(t, a)
	// Whoever opens a file with a lease waits until its holder gives it up.
	holder, err := os.OpenFile(a.Dir+"/store/file", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer holder.Close()
	signal.Ignore(unix.SIGIO)
	defer signal.Reset(unix.SIGIO)
	if _, err := unix.FcntlInt(holder.Fd(), unix.F_SETLEASE, unix.F_WRLCK); err != nil {
		t.Fatal(err)
	}
	a.Write(`
application: {{NAME}}
grants:
  store: {directory: "{{DIR}}/store", access: read-write}
components:
  patient:
    command: [{{PROGRAM}}, program, files, "open {{DIR}}/store/file read,nonblock", "open {{DIR}}/store/file read"]
    grants: [store]
    transparent: true
    restart: never
  other:
    command: [{{PROGRAM}}, program, files, "open {{DIR}}/store/inside read", "open {{DIR}}/store/other write,new", "list {{DIR}}/store/sub"]
    grants: [store]
    transparent: true
    restart: never
    after: patient
`).Run()
	a.Expect(a.Out, "store/sub: deep")
	if lines := a.Lines("patient"); len(lines) != 1 || !strings.HasSuffix(lines[0], ": EAGAIN") {
		t.Errorf("before the lease is given up it wrote %q", lines)
	}
	if _, err := unix.FcntlInt(holder.Fd(), unix.F_SETLEASE, unix.F_UNLCK); err != nil {
		t.Fatal(err)
	}
	a.Expect(a.Out, `store/file read: file "text"`)
	a.ExpectStatus(0)
}

// The kernel answers an open with 0, the program's standard input, when a signal
// interrupts the monitor while it injects the descriptor; the monitor's runtime, and
// children of it that end, send it signals all the time.
func TestTransparentOpenAmidSignals(t *testing.T) {
	a := New(t, "files-signals")
	filesSite(t, a)
	a.Write(`
application: {{NAME}}
grants:
  store: {directory: "{{DIR}}/store"}
components:
  web:
    command: [{{PROGRAM}}, program, files, "again {{DIR}}/store/file 5000", "list {{DIR}}/store/sub"]
    grants: [store]
    transparent: true
    restart: never
  calm: {command: [{{BUSYBOX}}, sleep, "1000"]}
`).Run()
	// To the loop's own thread, as Go's runtime does when it wants to preempt.
	sent := 0
	for begun := time.Now(); !strings.Contains(a.Out.String(), "store/sub: ") && a.running() && time.Since(begun) < time.Minute; {
		for range 1000 {
			if err := unix.Tgkill(a.Pid(), a.Pid(), unix.SIGURG); err != nil {
				t.Fatal(err)
			}
			sent++
		}
	}
	a.Expect(a.Out, "store/sub: deep")
	a.Expect(a.Out, "store/file 5000: ok")
	t.Logf("%d signals", sent)
	a.Stop()
}

// The working directory that the policy names, a file that is made, and what
// inspect says of stand-ins.
func TestTransparentInspect(t *testing.T) {
	a := New(t, "files-inspect")
	filesSite(t, a)
	a.Write(`
application: {{NAME}}
grants:
  store: {directory: "{{DIR}}/store"}
  made:  {file: "{{DIR}}/made", access: append, create: true, mode: 0640}
components:
  web:
    command: [{{BUSYBOX}}, sh, -c, "echo text >>{{DIR}}/made; exec 7<sub 8<file; pwd; exec {{BUSYBOX}} sleep 1000"]
    files: {execute: [{{BUSYBOX}}]}
    directory: "{{DIR}}/store"
    grants: [store, made: {at-start: false}]
    transparent: true
`).Run().Ready()
	a.Expect(a.Out, a.Dir+"/store")
	expectFile(t, a.Dir+"/made", "text\n")
	if st, err := os.Stat(a.Dir + "/made"); err != nil || st.Mode().Perm() != 0o640 {
		t.Errorf("%v, %v", st, err)
	}
	b, err := exec.Command(a.site.Sandbox, "inspect", a.Name, "--verify").CombinedOutput()
	if err != nil {
		t.Errorf("drift: %s, %v", b, err)
	}
	b, err = exec.Command(a.site.Sandbox, "inspect", a.Name, "web").CombinedOutput()
	for _, want := range []string{"its own root: stands for the grant store", "grant store: " + a.Dir + "/store/file"} {
		if err != nil || !strings.Contains(string(b), want) {
			t.Errorf("%q is not in, %v:\n%s", want, err, b)
		}
	}
	a.Stop()
}

func expectFile(t *testing.T, path, want string) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Error(err)
	} else if string(b) != want {
		t.Errorf("%s holds %q, not %q", path, b, want)
	}
}

func ownerOf(info os.FileInfo) uint32 { return info.Sys().(*syscall.Stat_t).Uid }

// What is asked of files that are not opened.
func TestTransparentAttributes(t *testing.T) {
	own := func(a *Application) {
		// The component's user is somebody whom the host does not know: what
		// belongs to root belongs to nobody there.
		if err := os.Chmod(a.Dir+"/store/file", 0o604); err != nil {
			t.Fatal(err)
		}
	}
	a := runFiles(t, "files-attributes", own, [][2]string{
		{"stat +/store/file", "0100604 65534:65534 4"},
		{"lstat +/store/inside", "0120777 65534:65534 13"},
		{"stat +/store/inside", "0100644 65534:65534 4"},
		{"oldstat +/store/file", "0100604 65534:65534 4"},
		{"statx +/store/file", "0100604 65534:65534 4"},
		{"stat +/store", "040755 65534:65534 0"},
		{"stat +/store/nothing", "ENOENT"},
		{"stat +/store/file/x", "ENOTDIR"},
		{"stat +/store/relative", "EACCES"},
		{"lstat +/store/relative", "0120777 65534:65534 13"},
		{"stat +/out/secret", "ENOENT"},
		{"stat +/log", "0100644 65534:65534 6"},
		{"same +/store/file", "true"},
		{"same +/store/sub/deep", "true"},
		{"same +/store/way", "true"},
		{"access +/store/file read", "ok"},
		{"access +/store/file write", "ok"},
		{"access +/store/file execute", "EACCES"},
		{"access +/store/sub execute", "ok"},
		{"access +/books/moby write", "EACCES"},
		{"access +/books/nothing exists", "ENOENT"},
		{"access +/log write", "ok"},
		{"access +/log read", "EACCES"},
		{"readlink +/store/way", "sub/deep"},
		{"readlink +/store/absolute", "+/out/secret"},
		{"readlink +/store/file", "EINVAL"},
		{"open +/store/mine write,new 0666", "file"},
		{"stat +/store/mine", "0100644 1000:1000 0"},
		{"umask 077", "ok"},
		{"mkdir +/store/ours 0777", "ok"},
		{"stat +/store/ours", "040700 1000:1000 0"},
		{"chmod +/store/mine 0640", "ok"},
		{"stat +/store/mine", "0100640 1000:1000 0"},
		{"chmod +/store/mine 04755", "EPERM"},
		{"chmod +/store/file 0600", "EPERM"},
		{"chmod +/books/moby 0600", "EACCES"},
		{"fchmod +/store/mine 0600", "ok"},
		{"fchmod +/store/mine 04600", "EPERM"},
		{"fchmod +/store/ours 0711", "ok"},
		{"stat +/store/ours", "040711 1000:1000 0"},
		{"fchmod +/store/ours 02711", "EPERM"},
		{"through +/store/ours 0750", "ok"},
		{"stat +/store/ours", "040750 1000:1000 0"},
		{"fchmod +/store/sub 0700", "EPERM"},
		{"fchown +/store/ours 1000 1000", "ok"},
		{"fchown +/store/ours 0 0", "EPERM"},
		{"fchmod +/books 0700", "EACCES"},
		{"flags +/store/mine", "EINVAL EINVAL EINVAL EINVAL EINVAL"},
		{"mkdir +/store/sticky 01777", "ok"},
		{"stat +/store/sticky", "041700 1000:1000 0"},
		{"open +/store/way read,directory,nofollow", "ENOTDIR"},
		{"link +/store/mine +/store/new/", "ENOENT"},
		{"chown +/store/mine 1000 1000", "ok"},
		{"chown +/store/mine 0 0", "EPERM"},
		{"touch +/store/mine 86400", "ok"},
		{"touch +/store/file 86400", "EPERM"},
		{"touch +/books/moby 86400", "EACCES"},
		{"truncate +/store/file 2", "ok"},
		{"open +/store/file read", `file "te"`},
		{"truncate +/log 0", "EACCES"},
		{"truncate +/books/moby 0", "EACCES"},
	})
	expectFile(t, a.Dir+"/log", "begun\n")
	if st, err := os.Stat(a.Dir + "/store/mine"); err != nil || st.ModTime().Unix() != 86400 {
		t.Errorf("%v, %v", st.ModTime(), err)
	}
}

// Names beneath a granted directory.
func TestTransparentNames(t *testing.T) {
	a := runFiles(t, "files-names", nil, [][2]string{
		{"mkdir +/store/new 0755", "ok"},
		{"mkdir +/store/new 0755", "EEXIST"},
		{"mkdir +/store/no/new 0755", "ENOENT"},
		{"mkdir +/store 0755", "EEXIST"},
		{"mkdir +/books/new 0755", "EACCES"},
		{"mkdir +/new 0755", "EPERM"},
		{"chdir +/store/new", "ok"},
		{"open here write,new 0644 text", "file"},
		{"rename +/store/new +/store/sub/moved", "ok"},
		{"getcwd", "+/store/sub/moved"},
		{"open here read", `file "text"`},
		{"rename here ../../there", "ok"},
		{"rename ../../there +/log", "EXDEV"},
		{"rename +/store/there +/books/there", "EXDEV"},
		{"rename +/store/there +/outside", "EXDEV"},
		{"rename +/books/moby +/books/dick", "EACCES"},
		{"rename +/store +/store/x", "EBUSY"},
		{"rename +/store/there +/store/out/x", "EACCES"},
		{"replace-not +/store/there +/store/file", "EEXIST"},
		{"exchange +/store/there +/store/file", "ok"},
		{"open +/store/file read", `file "text"`},
		{"rmdir +/store/sub/moved", "ok"},
		{"getcwd", "ENOENT"},
		{"open x read", "ENOENT"},
		{"chdir +/store", "ok"},
		{"rmdir sub", "ENOTEMPTY"},
		{"rmdir file", "ENOTDIR"},
		{"rmdir +/store", "EBUSY"},
		{"unlink sub", "EISDIR"},
		{"unlink file/", "ENOTDIR"},
		{"unlink relative", "ok"},
		{"unlink file", "ok"},
		{"unlink +/books/moby", "EACCES"},
		{"unlink +/log", "EACCES"},
		{"unlink +/out/secret", "EPERM"},
		{"unlink out/secret", "EACCES"},
		{"link there other", "ok"},
		{"open other read", `file "text"`},
		{"link there other", "EEXIST"},
		{"unlink other", "ok"},
		{"link inside other", "EPERM"},
		{"link +/out/secret other", "EXDEV"},
		{"link +/books/moby other", "EXDEV"},
		{"link out/secret other", "EACCES"},
		{"link +/books/moby +/books/other", "EACCES"},
		{"symlink /etc/shadow other", "EPERM"},
		{"mkfifo other", "EPERM"},
		{"list +/store/sub", "deep"},
	})
	expectFile(t, a.Dir+"/store/there", "text")
	expectFile(t, a.Dir+"/out/secret", "secret")
}
