package docs

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"bulkhead/test/transcript"
)

// patience bounds each command, and the wait for what one in the background
// prints.
const patience = 30 * time.Second

// command is a line of a block and what the page says that it prints.
type command struct {
	line     string
	expected []string
	more     bool // a line "…" stands there: it may print more
}

var policyName = regexp.MustCompile(`\A# ([a-z-]+\.yaml)\n`)

// TestConsole runs the commands of every "console run" block, in order, in a
// directory that has the page's policies.
//
// The comparison is loose, so that a page can show what one machine printed:
// numbers may differ, blanks may be more or fewer, and the order of lines is
// not looked at, because two streams come together. Each line of the page must
// be printed; a line that the page has not may be printed only where it says "…".
func TestConsole(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("the commands of the pages start applications: run as root")
	}
	bin, err := filepath.Abs(filepath.Join(root, "bin"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(bin, "sandbox")); err != nil {
		t.Fatalf("the launcher that the pages are about is not built, run make build: %v", err)
	}
	alone(t)
	ran := 0
	for _, p := range pages(t) {
		var blocks []block
		directory := t.TempDir()
		for _, b := range p.blocks {
			if name := policyName.FindStringSubmatch(b.text); b.kind == "yaml" && name != nil {
				if err := os.WriteFile(filepath.Join(directory, name[1]), []byte(b.text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if b.kind == "console run" {
				blocks = append(blocks, b)
			}
		}
		for _, b := range blocks {
			ran++
			runBlock(t, p, b, directory, bin)
		}
	}
	if ran == 0 {
		t.Error("no commands were found: the pages have changed their shape")
	}
}

// alone waits until nobody else on this machine runs the commands of the pages:
// their applications and ports have the names that the pages give them.
func alone(t *testing.T) {
	t.Helper()
	lock, err := os.OpenFile(filepath.Join(os.TempDir(), "bulkhead-pages.lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { lock.Close() })
	for {
		if err = unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != unix.EINTR {
			break
		}
	}
	if err != nil {
		t.Fatalf("lock %s: %v", lock.Name(), err)
	}
}

func runBlock(t *testing.T, p page, b block, directory, bin string) {
	t.Helper()
	var background []*process
	defer func() {
		for _, started := range background {
			started.end()
		}
	}()
	for _, c := range parse(b.text) {
		line, behind := strings.CutSuffix(c.line, " &")
		started, err := start(line, directory, bin)
		if err != nil {
			t.Errorf("%s:%d: # %s: %v", p.path, b.line, c.line, err)
			return
		}
		var wrong string
		if behind {
			background = append(background, started)
			wrong = c.compare(started.text)
			for deadline := time.Now().Add(patience); wrong != "" && time.Now().Before(deadline) && !started.over(); {
				time.Sleep(20 * time.Millisecond)
				wrong = c.compare(started.text)
			}
		} else {
			select {
			case <-started.done:
			case <-time.After(patience):
				started.end()
				t.Errorf("%s:%d: # %s did not end", p.path, b.line, c.line)
			}
			wrong = c.compare(started.text)
		}
		if wrong != "" {
			t.Errorf("%s:%d: # %s\n%s\nit prints:\n%s", p.path, b.line, c.line, wrong, started.said.String())
		}
	}
}

// parse splits a block into commands and what they print.
func parse(text string) []command {
	var all []command
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		if typed, ok := strings.CutPrefix(line, "# "); ok {
			all = append(all, command{line: typed})
			continue
		}
		if len(all) == 0 {
			continue
		}
		c := &all[len(all)-1]
		switch strings.TrimSpace(line) {
		case "…":
			c.more = true
		case "":
		default:
			c.expected = append(c.expected, line)
		}
	}
	return all
}

// compare says what is wrong with what was printed, "" for nothing.
func (c command) compare(said func() string) string {
	var lines []string
	for line := range strings.Lines(said()) {
		if line = strings.TrimSpace(line); line != "" {
			lines = append(lines, line)
		}
	}
	for _, expected := range c.expected {
		pattern := loose(expected)
		found := -1
		for i, line := range lines {
			if pattern.MatchString(line) {
				found = i
				break
			}
		}
		if found < 0 {
			return "it does not print: " + expected
		}
		lines = append(lines[:found], lines[found+1:]...)
	}
	if len(lines) > 0 && !c.more {
		return "the page does not show: " + strings.Join(lines, "\n")
	}
	return ""
}

var (
	number = regexp.MustCompile(`[0-9][0-9.,]*(ms|µs|ns|us|s|m|h|K|M|G)?\b`)
	blanks = regexp.MustCompile(`\s+`)
)

// meanwhile is what else a line may say on a busy machine, where more time passes
// between two commands: what is started is running after ten seconds, and what
// was handed out is told a moment after it was.
var meanwhile = map[string]string{
	"started for": "(started|running) for",
	"handed out$": `handed out( last \S+)?$`,
}

// loose makes a pattern of a line: any number for a number, blanks for blanks,
// and what may be so meanwhile.
func loose(line string) *regexp.Regexp {
	line = blanks.ReplaceAllString(strings.TrimSpace(line), " ")
	var b strings.Builder
	b.WriteString("^")
	at := 0
	for _, found := range number.FindAllStringIndex(line, -1) {
		b.WriteString(regexp.QuoteMeta(line[at:found[0]]))
		b.WriteString(`[0-9][0-9.,]*(ms|µs|ns|us|s|m|h|K|M|G)?`)
		at = found[1]
	}
	b.WriteString(regexp.QuoteMeta(line[at:]) + "$")
	pattern := b.String()
	for from, to := range meanwhile {
		pattern = strings.ReplaceAll(pattern, from, to)
	}
	return regexp.MustCompile(strings.ReplaceAll(pattern, " ", `\s+`))
}

// process is a command that runs, with both of its streams in one.
type process struct {
	command *exec.Cmd
	done    chan struct{}
	said    transcript.Transcript
}

func start(line, directory, bin string) (*process, error) {
	p := &process{command: exec.Command("bash", "-c", line), done: make(chan struct{})}
	p.command.Dir = directory
	p.command.Env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"), "NO_COLOR=1")
	p.command.Stdout, p.command.Stderr = &p.said, &p.said
	// A group of its own, to end all of it. bash executes a lone command in
	// its own place, so a signal meets sandbox itself.
	p.command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := p.command.Start(); err != nil {
		return nil, err
	}
	go func() {
		p.command.Wait()
		close(p.done)
	}()
	return p, nil
}

// text is what it has said, as root says it who works in his home directory.
func (p *process) text() string {
	return strings.ReplaceAll(p.said.String(), p.command.Dir, "/root")
}

func (p *process) over() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// end asks the process to end, and makes it.
func (p *process) end() {
	for _, signal := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
		if p.over() {
			return
		}
		syscall.Kill(-p.command.Process.Pid, signal)
		select {
		case <-p.done:
		case <-time.After(patience):
		}
	}
}
