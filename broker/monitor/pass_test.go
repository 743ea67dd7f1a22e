package monitor

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"bulkhead/policy/plan"
	"bulkhead/sandbox/worker"
)

func TestMatches(t *testing.T) {
	for _, c := range []struct {
		pattern, text string
		want          bool
	}{
		{"*", "", true}, {"*", "anything/at all", true}, {"", "", true}, {"", "x", false},
		{"LD_*", "LD_PRELOAD", true}, {"LD_*", "LD", false}, {"a?c", "abc", true}, {"a?c", "ac", false},
		{"*.conf", "/etc/a.conf", true}, {"*.conf", "a.conf.d", false}, {"a*b*c", "a1b2b3c", true}, {"a*b*c", "a1b2", false},
		{"--timeout=*", "--timeout=", true}, {"[a]", "a", false}, {"**", "x", true}, {"a*", "ba", false},
	} {
		if got := matches(c.pattern, c.text); got != c.want {
			t.Errorf("%q matches %q: %v", c.pattern, c.text, got)
		}
	}
}

// A pattern costs no more than its length times the text's, whatever it is.
func FuzzMatches(f *testing.F) {
	f.Add("a*b?c", "aabbcc")
	f.Add(strings.Repeat("*a", 20), strings.Repeat("a", 50)+"b")
	f.Fuzz(func(t *testing.T, pattern, text string) {
		if len(pattern)*len(text) > 1<<16 {
			return
		}
		got := matches(pattern, text)
		if !strings.ContainsAny(pattern, "*?") && got != (pattern == text) {
			t.Errorf("%q matches %q: %v", pattern, text, got)
		}
		if matches("*"+pattern+"*", text) != true && got {
			t.Errorf("%q matches %q, but not with * round it", pattern, text)
		}
	})
}

func helper(pass plan.Pass) *plan.Component {
	return &plan.Component{
		Name: "helper", Environment: []string{"PATH=/bin"}, Pass: pass,
		Replaces: []plan.Replaced{
			{Path: "/lib/named", Program: "/lib/named", Arguments: []string{"/lib/named"}, Named: true},
			{Path: "/lib/script", Program: "/bin/sh", Arguments: []string{"/bin/sh", "/lib/script"}},
		},
	}
}

func TestFill(t *testing.T) {
	all := plan.Pass{Arguments: []string{"*"}, Environment: []string{"*"}, Withheld: []string{"LD_*", "SECRET"}}
	some := plan.Pass{Arguments: []string{"-v", "--size=*"}, Environment: []string{"LANG", "LD_PRELOAD", "SECRE*"}, Withheld: all.Withheld, KeepDirectory: true, KeepUmask: true}
	environment := []string{"PATH=/caller", "LANG=C", "LD_PRELOAD=x.so", "LD_LIBRARY_PATH=/x", "SECRET=s", "SANDBOX_BROKER_FD=4", "LISTEN_PID=2", "odd", "EMPTY="}
	for name, c := range map[string]struct {
		pass      plan.Pass
		path      string
		arguments []string
		want      worker.Process
		err       bool
	}{
		"all": {all, "/lib/named", []string{"called", "a", "", "b"}, worker.Process{
			Program: "/lib/named", Directory: "/caller", Arguments: []string{"called", "a", "", "b"}, Umask: 0o22,
			Environment: []string{"PATH=/bin", "LANG=C", "odd", "EMPTY="}}, false},
		"a script is not called what it is": {all, "/lib/script", []string{"called", "a"}, worker.Process{
			Program: "/bin/sh", Directory: "/caller", Arguments: []string{"/bin/sh", "/lib/script", "a"}, Umask: 0o22,
			Environment: []string{"PATH=/bin", "LANG=C", "odd", "EMPTY="}}, false},
		"some": {some, "/lib/named", []string{"called", "--size=3", "-v"}, worker.Process{
			Program: "/lib/named", Arguments: []string{"called", "--size=3", "-v"}, Umask: worker.NoUmask,
			// What steers code passes by its name alone.
			Environment: []string{"PATH=/bin", "LANG=C", "LD_PRELOAD=x.so"}}, false},
		"one argument too many": {some, "/lib/named", []string{"called", "-v", "-x"}, worker.Process{}, true},
		"none": {plan.Pass{}, "/lib/named", []string{"called", "-x"}, worker.Process{
			Program: "/lib/named", Directory: "/caller", Arguments: []string{"called"}, Umask: 0o22, Environment: []string{"PATH=/bin"}}, false},
		"nobody":         {plan.Pass{}, "/lib/named", nil, worker.Process{Program: "/lib/named", Directory: "/caller", Arguments: []string{"/lib/named"}, Umask: 0o22, Environment: []string{"PATH=/bin"}}, false},
		"another's path": {all, "/lib/other", []string{"x"}, worker.Process{}, true},
	} {
		t.Run(name, func(t *testing.T) {
			got := worker.Process{Umask: 0o22}
			err := fill(&got, helper(c.pass), c.path, &given{arguments: c.arguments, environment: environment, directory: "/caller"})
			if (err != nil) != c.err {
				t.Fatalf("the error is %v", err)
			}
			if err == nil && (got.Program != c.want.Program || got.Directory != c.want.Directory || got.Umask != c.want.Umask ||
				!slices.Equal(got.Arguments, c.want.Arguments) || !slices.Equal(got.Environment, c.want.Environment)) {
				t.Errorf("got  %+v\nwant %+v", got, c.want)
			}
		})
	}
}

// Whatever a caller's memory holds, what is passed on is what the plan says.
func FuzzFill(f *testing.F) {
	f.Add([]byte("argv0\x00one\x00\x00"), []byte("A=b\x00LD_PRELOAD=x\x00"))
	f.Add([]byte{}, []byte("no zero at the end"))
	f.Add([]byte("\x00\x00\x00"), []byte("=\x00==\x00"))
	f.Fuzz(func(t *testing.T, arguments, environment []byte) {
		c := helper(plan.Pass{Arguments: []string{"a*", ""}, Environment: []string{"*"}, Withheld: []string{"LD_*"}})
		var p worker.Process
		if err := fill(&p, c, "/lib/named", &given{arguments: texts(arguments), environment: texts(environment)}); err != nil {
			return
		}
		if p.Program != "/lib/named" || p.Environment[0] != "PATH=/bin" {
			t.Errorf("the plan's word does not stand: %+v", p)
		}
		for i, argument := range p.Arguments {
			if i > 0 && argument != "" && argument[0] != 'a' || strings.Contains(argument, "\x00") {
				t.Errorf("the argument %q passed", argument)
			}
		}
		for _, variable := range p.Environment[1:] {
			if strings.HasPrefix(variable, "LD_") || strings.HasPrefix(variable, "PATH=") || strings.Contains(variable, "\x00") {
				t.Errorf("the variable %q passed", variable)
			}
		}
	})
}

func TestExamine(t *testing.T) {
	memory, err := memoryDevice()
	if err != nil {
		t.Fatal(err)
	}
	directory := t.TempDir()
	open := func(path string, flags int) int {
		fd, err := unix.Open(path, flags|unix.O_CLOEXEC, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		return fd
	}
	made := func(fd int, err error) int {
		if err != nil {
			t.Fatal(err)
		}
		return fd
	}
	unlinked := open(filepath.Join("/dev/shm", "bulkhead-test-"+itoa(os.Getpid())), unix.O_RDWR|unix.O_CREAT)
	os.Remove(filepath.Join("/dev/shm", "bulkhead-test-"+itoa(os.Getpid())))
	for name, c := range map[string]struct {
		fd    int
		kind  plan.Descriptors
		named bool
	}{
		"a file":                           {open(filepath.Join(directory, "file"), unix.O_RDWR|unix.O_CREAT), plan.PassFiles, false},
		"a file without a name on a tmpfs": {unlinked, plan.PassFiles, false},
		"memory":                           {made(unix.MemfdCreate("x", unix.MFD_CLOEXEC)), plan.PassMemory, false},
		"sealable memory":                  {made(unix.MemfdCreate("x", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)), plan.PassMemory, false},
		"a device":                         {open("/dev/null", unix.O_RDWR), plan.PassDevices, false},
		"an eventfd":                       {made(unix.Eventfd(0, unix.EFD_CLOEXEC)), plan.PassEvents, false},
		"epoll":                            {made(unix.EpollCreate1(unix.EPOLL_CLOEXEC)), plan.PassEvents, false},
		"inotify":                          {made(unix.InotifyInit1(unix.IN_CLOEXEC)), plan.PassEvents, false},
		"a pidfd":                          {made(unix.PidfdOpen(os.Getpid(), 0)), 0, false},
		"a path":                           {open("/etc/passwd", unix.O_PATH), 0, false},
		"a directory":                      {open("/etc", unix.O_RDONLY|unix.O_DIRECTORY), 0, false},
		"a named directory":                {open(directory, unix.O_RDONLY|unix.O_DIRECTORY), 0, true},
		"a named directory's path":         {open(directory, unix.O_PATH|unix.O_DIRECTORY), 0, false},
		"/proc":                            {open("/proc/self/status", unix.O_RDONLY), 0, false},
		"/sys":                             {open("/sys/kernel/mm", unix.O_RDONLY), 0, false},
		"a namespace":                      {open("/proc/self/ns/net", unix.O_RDONLY), 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			defer unix.Close(c.fd)
			if got := examine(c.fd, 9, []string{directory}, memory); got.kind != c.kind || got.named != c.named {
				t.Errorf("it is %q, kind %d, named %v", got.what, got.kind, got.named)
			}
		})
	}
}
