// Package injector makes system calls of a process that runs fail. strace can
// do so too, but puts call number -1 in the place of the one that fails, for
// which a process with a filter of its own is killed; here it is getpid, which
// every filter of the broker's allows, and the process finds the error in its
// register as if the kernel had put it there.
//
//	injector.go  what the test says, and what it hears
//	tracer.go    the stops of the threads
//	role.go      who a process is that comes of one that is traced
//	key.go       which calls fail, and how they are named
package injector

import (
	"bufio"
	"fmt"
	"os"
	"sort"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// injector is what the tracer and the one who tells it what to do share.
type injector struct {
	mutex  sync.Mutex
	counts map[string]int // of calls, since count
	key    string         // of the call that is to fail, "" for none
	after  int            // so many more that do not
	errno  unix.Errno
	hit    string // what failed
	tell   bool   // the counts at the end
}

// Main traces process PID until it ends or standard input does. With "-follow
// LIBEXEC" it follows those that come of it too, and lets calls fail of the
// programs of LIBEXEC that are written in C; a key is then ROLE/CALL, as
// "worker.web/mount", and several processes may be given, as PID=ROLE where that is
// known. It answers each
// line with one: "count" begins to count calls, "counts" says how many of which
// there were since, "tell" lets it say so at the end, "fail KEY N ERRNO" lets the N-th from now on fail, and
// "hit" says which did.
func Main(arguments []string) int {
	libexec := ""
	if len(arguments) > 2 && arguments[0] == "-follow" {
		libexec, arguments = arguments[1], arguments[2:]
	}
	processes := map[int]string{}
	for _, argument := range arguments {
		number, role, _ := strings.Cut(argument, "=")
		pid, _ := strconv.Atoi(number)
		processes[pid] = role
	}
	in := &injector{counts: map[string]int{}}
	traced := make(chan error)
	go func() { traced <- in.trace(processes, libexec, func() { go in.obey() }) }()
	if err := <-traced; err != nil {
		fmt.Fprintln(os.Stderr, "injector:", err)
		return 1
	}
	switch in.mutex.Lock(); {
	case in.tell:
		fmt.Println(in.counted())
	case in.hit != "": // nobody can ask any more
		fmt.Println(in.hit)
	}
	return 0
}

func (in *injector) obey() {
	fmt.Println("traced")
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		fmt.Println(in.answer(strings.Fields(lines.Text())))
	}
	os.Exit(0) // the kernel lets go of what was traced
}

func (in *injector) answer(words []string) string {
	in.mutex.Lock()
	defer in.mutex.Unlock()
	switch {
	case len(words) == 1 && words[0] == "count":
		in.counts = map[string]int{}
		return "ok"
	case len(words) == 1 && words[0] == "counts":
		return in.counted()
	case len(words) == 1 && words[0] == "tell":
		in.counts, in.tell = map[string]int{}, true
		return "ok"
	case len(words) == 4 && words[0] == "fail":
		n, err := strconv.Atoi(words[2])
		errno, err2 := strconv.Atoi(words[3])
		if err != nil || err2 != nil {
			break
		}
		in.key, in.after, in.errno, in.hit = words[1], n-1, unix.Errno(errno), ""
		return "ok"
	case len(words) == 1 && words[0] == "hit":
		hit := in.hit
		in.key, in.hit = "", ""
		return hit
	}
	return "what?"
}

func (in *injector) counted() string {
	var all []string
	for key, n := range in.counts {
		all = append(all, key+"="+strconv.Itoa(n))
	}
	sort.Strings(all)
	return strings.Join(all, " ")
}

// fails says whether a call that begins is the one that is to fail, and with
// what.
func (in *injector) fails(pid int, role string, c call) (unix.Errno, bool) {
	key, detail := c.key(pid, role != "")
	if key == "" {
		return 0, false
	}
	if role != "" {
		key = role + "/" + key
	}
	in.mutex.Lock()
	defer in.mutex.Unlock()
	in.counts[key]++
	if key != in.key {
		return 0, false
	}
	if in.after--; in.after >= 0 {
		return 0, false
	}
	in.key, in.hit = "", key+" "+detail
	return in.errno, true
}
