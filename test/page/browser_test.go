package page

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// browser is a chromium that is driven by the DevTools protocol over two pipes:
// no port, nothing that another process could meet.
type browser struct {
	t       *testing.T
	orders  *os.File
	mutex   sync.Mutex
	number  int
	answers map[int]chan answer
	session string
	told    []event
}

type answer struct {
	Result json.RawMessage
	Error  *struct{ Message string }
}

// event is what the browser tells of itself.
type event struct {
	Method string
	Params json.RawMessage
}

const patience = 30 * time.Second

func newBrowser(t *testing.T) *browser {
	t.Helper()
	path, err := exec.LookPath("chromium")
	if err != nil {
		t.Skip("chromium is not installed; test/page/packages.txt names its package")
	}
	theirs, orders, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	answers, theirAnswers, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	directory, err := os.MkdirTemp("", "page-test-")
	if err != nil {
		t.Fatal(err)
	}
	// Chromium refuses to run as root with its own sandbox; what it is shown
	// here was written by this test.
	c := exec.Command(path, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
		"--disable-background-networking", "--disable-component-update", "--remote-debugging-pipe", "--user-data-dir="+directory, "about:blank")
	c.ExtraFiles = []*os.File{theirs, theirAnswers}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	theirs.Close()
	theirAnswers.Close()
	b := &browser{t: t, orders: orders, answers: map[int]chan answer{}}
	read := make(chan struct{})
	go func() { b.read(answers); close(read) }()
	t.Cleanup(func() {
		b.send("", "Browser.close", nil)
		timer := time.AfterFunc(patience, func() { c.Process.Kill() })
		c.Wait()
		timer.Stop()
		orders.Close()
		<-read
		answers.Close()
		// Its helpers may write for a moment longer than it lives.
		for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
			if err := os.RemoveAll(directory); err == nil || time.Now().After(deadline) {
				break
			}
		}
	})
	return b
}

func (b *browser) read(from *os.File) {
	lines := bufio.NewReader(from)
	for {
		line, err := lines.ReadBytes(0)
		if err != nil {
			return
		}
		var m struct {
			ID int
			answer
			event
		}
		if json.Unmarshal(line[:len(line)-1], &m) != nil {
			continue
		}
		b.mutex.Lock()
		if waiting := b.answers[m.ID]; waiting != nil && m.ID != 0 {
			waiting <- m.answer
			delete(b.answers, m.ID)
		} else {
			b.told = append(b.told, m.event)
		}
		b.mutex.Unlock()
	}
}

func (b *browser) send(session, method string, parameters any) chan answer {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	b.number++
	m := map[string]any{"id": b.number, "method": method}
	if parameters != nil {
		m["params"] = parameters
	}
	if session != "" {
		m["sessionId"] = session
	}
	line, err := json.Marshal(m)
	if err != nil {
		b.t.Fatal(err)
	}
	waiting := make(chan answer, 1)
	b.answers[b.number] = waiting
	b.orders.Write(append(line, 0))
	return waiting
}

// do asks and waits; result may be nil.
func (b *browser) do(method string, parameters, result any) {
	b.t.Helper()
	select {
	case a := <-b.send(b.session, method, parameters):
		if a.Error != nil {
			b.t.Fatalf("chromium: %s: %s", method, a.Error.Message)
		}
		if result != nil {
			if err := json.Unmarshal(a.Result, result); err != nil {
				b.t.Fatalf("chromium: %s: %v", method, err)
			}
		}
	case <-time.After(patience):
		b.t.Fatalf("chromium does not answer %s", method)
	}
}

type object = map[string]any

// open shows a file and waits until it is loaded.
func (b *browser) open(file string) {
	b.t.Helper()
	b.session = ""
	var target struct{ TargetID string }
	b.do("Target.createTarget", object{"url": "about:blank"}, &target)
	var attached struct{ SessionID string }
	b.do("Target.attachToTarget", object{"targetId": target.TargetID, "flatten": true}, &attached)
	b.session = attached.SessionID
	for _, domain := range []string{"Page", "Runtime", "Log", "Network"} {
		b.do(domain+".enable", nil, nil)
	}
	b.do("Page.navigate", object{"url": "file://" + file}, nil)
	for deadline := time.Now().Add(patience); !b.happened("Page.loadEventFired"); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			b.t.Fatalf("%s is not loaded", file)
		}
	}
}

func (b *browser) happened(method string) bool {
	return len(b.events(method)) > 0
}

func (b *browser) events(method string) []string {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	var all []string
	for _, e := range b.told {
		if e.Method == method {
			all = append(all, string(e.Params))
		}
	}
	return all
}

// value evaluates an expression in the page.
func (b *browser) value(expression string, result any) {
	b.t.Helper()
	var r struct {
		Result           struct{ Value json.RawMessage }
		ExceptionDetails json.RawMessage
	}
	b.do("Runtime.evaluate", object{"expression": expression, "returnByValue": true}, &r)
	if r.ExceptionDetails != nil {
		b.t.Fatalf("chromium: %s: %s", expression, r.ExceptionDetails)
	}
	if err := json.Unmarshal(r.Result.Value, result); err != nil {
		b.t.Fatalf("chromium: %s is %s: %v", expression, r.Result.Value, err)
	}
}

// look makes the window so wide, light or dark, on a screen or on paper.
func (b *browser) look(width int, scheme, media string) {
	b.t.Helper()
	b.do("Emulation.setDeviceMetricsOverride", object{"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": false}, nil)
	b.do("Emulation.setEmulatedMedia", object{"media": media, "features": []object{{"name": "prefers-color-scheme", "value": scheme}}}, nil)
}

// picture keeps what is shown where PAGE_TEST_PICTURES says, for people.
func (b *browser) picture(name string) {
	directory := os.Getenv("PAGE_TEST_PICTURES")
	if directory == "" {
		return
	}
	const most = 8000 // pixels that chromium makes a picture of
	var size [2]int
	b.value("[document.documentElement.scrollWidth, document.documentElement.scrollHeight]", &size)
	var shot struct{ Data []byte }
	b.do("Page.captureScreenshot", object{"captureBeyondViewport": true, "clip": object{"x": 0, "y": 0, "width": size[0], "height": min(size[1], most), "scale": 1}}, &shot)
	if err := os.WriteFile(filepath.Join(directory, fmt.Sprintf("%s.png", name)), shot.Data, 0o644); err != nil {
		b.t.Fatal(err)
	}
}
