package program

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sort"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"bulkhead/broker/client"
	"bulkhead/test/e2e/outcome"
)

// requests are what ask understands; each returns what came of it.
var requests = map[string]func(*client.Broker, []string) string{
	"open": func(b *client.Broker, a []string) string { // GRANT PATH FLAGS
		f, err := b.Open(a[0], dash(a[1]), flags(a[2]), 0o640)
		if err != nil {
			return outcome.Of(err)
		}
		defer f.Close()
		return "ok"
	},
	"write": func(b *client.Broker, a []string) string { // GRANT PATH FLAGS TEXT
		f, err := b.Open(a[0], dash(a[1]), flags(a[2]), 0o640)
		if err != nil {
			return outcome.Of(err)
		}
		defer f.Close()
		_, err = f.WriteString(strings.Join(a[3:], " "))
		return outcome.Of(err)
	},
	"read": func(b *client.Broker, a []string) string { // GRANT PATH
		f, err := b.Open(a[0], dash(a[1]), os.O_RDONLY, 0)
		if err != nil {
			return outcome.Of(err)
		}
		defer f.Close()
		text, err := io.ReadAll(f)
		if err != nil {
			return outcome.Of(err)
		}
		return strconv.Quote(string(text))
	},
	"connect": func(b *client.Broker, a []string) string { // GRANT
		c, err := b.Connect(a[0])
		if err != nil {
			return outcome.Of(err)
		}
		defer c.Close()
		fmt.Fprintf(c, "hello")
		answer, err := io.ReadAll(c)
		if err != nil {
			return outcome.Of(err)
		}
		return strconv.Quote(string(answer))
	},
	"listen": func(b *client.Broker, a []string) string { // GRANT: serves one connection
		l, err := b.Listen(a[0])
		if err != nil {
			return outcome.Of(err)
		}
		defer l.Close()
		fmt.Println("listening")
		c, err := l.Accept()
		if err != nil {
			return outcome.Of(err)
		}
		defer c.Close()
		_, err = io.WriteString(c, "served")
		return outcome.Of(err)
	},
	"accept": func(b *client.Broker, a []string) string { // GRANT: serves one connection
		c, err := b.Accept(a[0])
		if err != nil {
			return outcome.Of(err)
		}
		defer c.Close()
		_, err = io.WriteString(c, "served")
		return outcome.Of(err)
	},
	"drop":   func(b *client.Broker, a []string) string { return outcome.Of(b.Drop(a[0])) },
	"seal":   func(b *client.Broker, a []string) string { return outcome.Of(b.Seal(a...)) },
	"ready":  func(b *client.Broker, _ []string) string { return outcome.Of(b.Ready()) },
	"status": func(b *client.Broker, a []string) string { return outcome.Of(b.Status(strings.Join(a, " "))) },
	"store": func(b *client.Broker, a []string) string { // NAME TEXT
		r, w, err := os.Pipe()
		if err != nil {
			return outcome.Of(err)
		}
		io.WriteString(w, strings.Join(a[1:], " "))
		w.Close()
		defer r.Close()
		return outcome.Of(b.Store(a[0], r))
	},
	"fetch": func(b *client.Broker, a []string) string { // NAME
		files, err := b.Fetch(a[0])
		if err != nil {
			return outcome.Of(err)
		}
		text, _ := io.ReadAll(files[0])
		for _, f := range files {
			f.Close()
		}
		return fmt.Sprintf("%d %q", len(files), text)
	},
	"start":  start,
	"many":   many,
	"cancel": cancel,
	"load":   load,
	"opens":  opens,
	"sleep": func(_ *client.Broker, a []string) string {
		d, _ := time.ParseDuration(a[0])
		time.Sleep(d)
		return "done"
	},
}

// ask makes requests, one an argument, and prints "REQUEST: OUTCOME" for each.
func ask(arguments []string) int {
	b, err := client.Dial()
	if err != nil {
		fmt.Println("dial:", err)
		return 1
	}
	for _, line := range arguments {
		words := strings.Fields(line)
		if words[0] == "every" {
			onChange(strings.Join(words[1:], " "), func() string { return requests[words[1]](b, words[2:]) })
		}
		f := requests[words[0]]
		if f == nil {
			fmt.Println("unknown request:", line)
			return 99
		}
		fmt.Printf("%s: %s\n", line, f(b, words[1:]))
	}
	return 0
}

// dash lets an empty path be written as a word.
func dash(s string) string {
	if s == "-" {
		return ""
	}
	return s
}

func flags(letters string) int {
	all := 0
	switch {
	case strings.Contains(letters, "rw"):
		all = os.O_RDWR
	case strings.Contains(letters, "w"):
		all = os.O_WRONLY
	}
	for letter, flag := range map[string]int{
		"a": os.O_APPEND, "c": os.O_CREATE, "t": os.O_TRUNC, "x": os.O_EXCL,
		"p": unix.O_PATH, "d": unix.O_DIRECTORY, "n": unix.O_NONBLOCK,
	} {
		if strings.Contains(letters, letter) {
			all |= flag
		}
	}
	return all
}

// start starts COMPONENT with a text on its standard input and a pipe as its
// output, waits for it, and says how it ended and what it wrote.
func start(b *client.Broker, a []string) string {
	in, feed, err := os.Pipe()
	if err != nil {
		return outcome.Of(err)
	}
	sink, out, err := os.Pipe()
	if err != nil {
		return outcome.Of(err)
	}
	// Fd makes a file blocking again, which os.Pipe made otherwise: filters
	// like tr do not expect EAGAIN.
	in.Fd()
	out.Fd()
	w, err := b.Start(a[0], map[int]*os.File{0: in, 1: out})
	in.Close()
	out.Close()
	if err != nil {
		feed.Close()
		sink.Close()
		return outcome.Of(err)
	}
	go func() {
		io.WriteString(feed, strings.Join(a[1:], " "))
		feed.Close()
	}()
	text, _ := io.ReadAll(sink)
	sink.Close()
	return wait(w) + ", wrote " + strconv.Quote(string(text))
}

func wait(w *client.Worker) string {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	r, err := w.Wait(ctx)
	if err != nil {
		return outcome.Of(err)
	}
	return fmt.Sprintf("%s; limit %q", r, r.Limit())
}

// cancel starts COMPONENT and cancels it.
func cancel(b *client.Broker, a []string) string {
	w, err := b.Start(a[0], nil)
	if err != nil {
		return outcome.Of(err)
	}
	if err := w.Cancel(); err != nil {
		return outcome.Of(err)
	}
	return wait(w)
}

// many starts N workers of COMPONENT from as many goroutines and counts what
// came of it.
func many(b *client.Broker, a []string) string {
	n, _ := strconv.Atoi(a[1])
	counts := map[string]int{}
	var mutex sync.Mutex
	var group sync.WaitGroup
	for range n {
		group.Go(func() {
			w, err := b.Start(a[0], nil)
			what := outcome.Of(err)
			if err == nil {
				what = wait(w)
			}
			mutex.Lock()
			counts[what]++
			mutex.Unlock()
		})
	}
	group.Wait()
	return tally(counts)
}

// load keeps N workers of COMPONENT coming without end, whatever becomes of
// them.
func load(b *client.Broker, a []string) string {
	n, _ := strconv.Atoi(a[1])
	var group sync.WaitGroup
	for range n {
		group.Go(func() {
			for {
				w, err := b.Start(a[0], nil)
				if errors.Is(err, client.ErrGone) {
					return
				}
				if err != nil {
					time.Sleep(5 * time.Millisecond)
					continue
				}
				wait(w)
			}
		})
	}
	group.Wait()
	return "over"
}

// opens opens GRANT PATH N times, one after the other.
func opens(b *client.Broker, a []string) string {
	n, _ := strconv.Atoi(a[2])
	counts := map[string]int{}
	for range n {
		f, err := b.Open(a[0], dash(a[1]), os.O_RDONLY, 0)
		if err == nil {
			f.Close()
		}
		counts[outcome.Of(err)]++
	}
	return tally(counts)
}

func tally(counts map[string]int) string {
	var all []string
	for what, n := range counts {
		all = append(all, fmt.Sprintf("%d %s", n, what))
	}
	sort.Strings(all)
	return strings.Join(all, "; ")
}

// dial uses the network as any program does: each argument is NETWORK ADDRESS,
// or listen NETWORK ADDRESS.
func dial(arguments []string) int {
	for _, line := range arguments {
		words := strings.Fields(line)
		if words[0] == "every" {
			onChange(strings.Join(words[1:], " "), func() string { return dialed(words[1], words[2]) })
		}
		if words[0] == "listen" {
			l, err := net.Listen(words[1], words[2])
			fmt.Printf("%s: %s\n", line, outcome.Of(err))
			if err == nil {
				go func() {
					for {
						c, err := l.Accept()
						if err != nil {
							return
						}
						io.WriteString(c, "served\n")
						c.Close()
					}
				}()
			}
			continue
		}
		fmt.Printf("%s: %s\n", line, dialed(words[0], words[1]))
	}
	time.Sleep(time.Hour)
	return 0
}

// dialed connects, says hello and returns a line of answer.
func dialed(network, address string) string {
	c, err := net.Dial(network, address)
	if err != nil {
		return outcome.Of(err)
	}
	defer c.Close()
	io.WriteString(c, "hello")
	text, _ := bufio.NewReader(c).ReadString('\n')
	return strconv.Quote(text)
}

// onChange does the same again and again and prints what came of it when that
// is not what came of it before.
func onChange(what string, do func() string) {
	for last := ""; ; time.Sleep(100 * time.Millisecond) {
		if now := do(); now != last {
			fmt.Printf("%s: %s\n", what, now)
			last = now
		}
	}
}
