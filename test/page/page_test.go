package page

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"bulkhead/broker/inspect"
	"bulkhead/policy/plan"
)

//go:embed measure.js
var measure string

// looks are the ways in which a page is looked at.
var looks = []struct {
	name   string
	width  int
	scheme string
	media  string
}{
	{"desk", 1280, "light", "screen"}, {"night", 1280, "dark", "screen"}, {"tablet", 800, "dark", "screen"},
	{"telephone", 360, "light", "screen"}, {"paper", 720, "dark", "print"},
}

// check opens a page and finds nothing wrong in any look.
func (b *browser) check(name, file string) {
	b.t.Helper()
	b.open(file)
	for _, l := range looks {
		b.look(l.width, l.scheme, l.media)
		b.picture(name + "-" + l.name)
		var wrong []string
		b.value(measure, &wrong)
		for _, w := range wrong {
			b.t.Errorf("%s, %s: %s", name, l.name, w)
		}
	}
	for _, kind := range []string{"Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded"} {
		for _, text := range b.events(kind) {
			b.t.Errorf("%s: the browser complains: %s", name, text)
		}
	}
	for _, text := range b.events("Network.requestWillBeSent") {
		var r struct{ Request struct{ URL string } }
		if json.Unmarshal([]byte(text), &r); !strings.HasPrefix(r.Request.URL, "file://"+file) {
			b.t.Errorf("%s: the page asks for %s", name, r.Request.URL)
		}
	}
}

// edges are the lines of the drawing, as FROM>TO.
func (b *browser) edges() []string {
	b.t.Helper()
	var all []string
	b.value(`[...document.querySelectorAll('path.edge:not(.tip)')].map(e => e.dataset.from + '>' + e.dataset.to)`, &all)
	slices.Sort(all)
	return all
}

func (b *browser) texts(selector string) []string {
	b.t.Helper()
	var all []string
	b.value(fmt.Sprintf(`[...document.querySelectorAll(%q)].map(e => e.textContent)`, selector), &all)
	return all
}

// hostile is what a process may call itself and its files. Were any of it
// more than text, the title of the page would be another, or the browser would
// complain.
const hostile = `"><script>document.title='owned'</script><img src=x onerror=document.title='owned'></title></svg></style>{{.Title}}` + "\x1b[31m\u202e"

// TestApplication: a running application, one of whose files has a hostile
// name, and whose plan is made to lie.
func TestApplication(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("starts an application: run as root")
	}
	sandbox := built(t)
	b := newBrowser(t)
	store := filepath.Join(openDirectory(t), "store")
	if err := os.Mkdir(store, 0o777); err != nil {
		t.Fatal(err)
	}
	os.Chmod(store, 0o777)
	name := fmt.Sprintf("page-test-%d", os.Getpid())
	run(t, sandbox, name, fmt.Sprintf(`
grants:
  door: {listen: "unix:%[1]s/door"}
  store: {directory: %[1]s, access: read-write}
components:
  front:
    extends: python
    command: [/usr/bin/python3, -c, 'import os, sys, time; f = open(os.environ["ODD"], "w"); print("open", flush=True); time.sleep(1e6)']
    environment: {ODD: '%[1]s/<script>alert(1)<!--'}
    grants: [door, store]
    files: {write: [%[1]s]}
    may-start: [back]
    limits: {memory: 64M, processes: 4}
  back: {extends: parser, command: [/bin/cat], start: per-request}
  side: {command: [/bin/sleep, "100000"], grants: [store], limits: {memory: 16M, processes: 4}}
`, store))
	page := filepath.Join(t.TempDir(), "page.html")
	write := func(arguments ...string) {
		t.Helper()
		if out, err := exec.Command(sandbox, append([]string{"inspect", "--html", page}, arguments...)...).CombinedOutput(); err != nil || len(out) > 0 {
			t.Fatalf("inspect --html: %v\n%s", err, out)
		}
	}
	odd := "<script>alert(1)<!--"
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		write(name)
		if text, _ := os.ReadFile(page); strings.Contains(string(text), "&lt;script&gt;alert(1)") {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("no descriptor of %q is shown", odd)
		}
	}
	b.check("application", page)
	want := []string{
		"door>monitor", "front>back", "monitor>front", "monitor>front", "monitor>side", "store>monitor", "supervisor>monitor",
	}
	if got := b.edges(); !slices.Equal(got, want) {
		t.Errorf("the drawing has the edges %v, want %v", got, want)
	}
	if got := b.texts("a.box .name"); !slices.Equal(got, []string{"front", "back", "side", "supervisor"}) {
		t.Errorf("the drawing has the compartments %v", got)
	}
	if got := len(b.texts("a.box .wall")); got != 3*13 {
		t.Errorf("the drawing has %d walls, want 13 of each of three compartments that run", got)
	}
	if got := len(b.texts(".wall.no, .hull.broken, .thing.unexplained")); got != 0 {
		t.Errorf("%d things are said to be wrong", got)
	}
	if got := b.texts(".verdict"); len(got) != 1 || !strings.Contains(got[0], "has what the policy asks for") {
		t.Errorf("the verdict is %v", got)
	}
	if shown := strings.Join(b.texts("td code"), "\n"); !strings.Contains(shown, odd) {
		t.Errorf("the file's name is not shown as it is")
	}

	lie(t, name, func(p *plan.Plan) { p.Grants[0].Address += "x" })
	b = newBrowser(t)
	write(name)
	b.check("drift", page)
	if got := b.edges(); !slices.ContainsFunc(got, func(e string) bool {
		return strings.HasPrefix(e, "descriptor ") && strings.HasSuffix(e, ">front")
	}) {
		t.Errorf("no edge leads past the monitor: %v", got)
	}
	if got := b.texts(".hull.broken"); len(got) != 1 {
		t.Errorf("%d compartments are marked, want one", len(got))
	}
	if got := b.texts(".verdict"); len(got) != 1 || !strings.Contains(got[0], "1 difference") {
		t.Errorf("the verdict is %v", got)
	}
	if status := exec.Command(sandbox, "inspect", "--verify", "--html", page, name).Run(); status == nil || status.Error() != "exit status 1" {
		t.Errorf("--verify with --html: %v, want status 1", status)
	}

	// With --watch the file is always whole, and the browser asks for it again.
	watch := exec.Command(sandbox, "inspect", "--html", page, "--watch", "--interval", "100ms", name)
	if err := watch.Start(); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		text, err := os.ReadFile(page)
		if err != nil || !strings.HasSuffix(string(text), "</html>\n") {
			t.Fatalf("half a page is there while it is watched: %v", err)
		}
		if strings.Contains(string(text), `http-equiv="refresh" content="1"`) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("--watch does not write the page")
		}
	}
	watch.Process.Kill()
	watch.Wait()

	b = newBrowser(t)
	write(fmt.Sprint(os.Getpid()))
	b.check("process", page)
	if got := b.texts("a.box .name"); len(got) != 1 || got[0] != "page.test" {
		t.Errorf("the process is %v", got)
	}
	if info, err := os.Stat(page); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the page is %v, %v; want it for its owner alone", info.Mode(), err)
	}
}

// TestHostileNames: every text of a report is hostile.
func TestHostileNames(t *testing.T) {
	r := &inspect.Report{}
	fill(reflect.ValueOf(r).Elem(), 0)
	for k := range r.Applications[0].Components { // some fields have a meaning to the page
		c := &r.Applications[0].Components[k]
		c.Exposure.Word, c.Workers[0].Processes[0].Role = "safe", "program"
		c.Workers[0].Processes[0].Descriptors[0].From = ""
		c.Drift[0].Subject, c.Drift[0].PID, c.Workers[0].Processes[0].PID = "descriptor 7", 7, 7
		c.Workers[0].Processes[0].Descriptors[0].Number = 7
	}
	r.Process.Exposure.Word = "safe"
	process := *r
	process.Applications = nil
	r.Process = nil
	for name, report := range map[string]*inspect.Report{"hostile application": r, "hostile process": &process} {
		b := newBrowser(t)
		file := filepath.Join(t.TempDir(), "page.html")
		out, err := os.Create(file)
		if err != nil {
			t.Fatal(err)
		}
		if err := (&inspect.Page{Report: report}).Write(out); err != nil {
			t.Fatal(err)
		}
		if err := out.Close(); err != nil {
			t.Fatal(err)
		}
		b.check(name, file)
		var title string
		if b.value("document.title", &title); !strings.HasPrefix(title, "Bulkhead: ") {
			t.Errorf("the title is %q", title)
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, mark := range []string{"<script", "<img", "\x1b", "\u202e", "ZgotmplZ"} {
			if strings.Contains(string(text), mark) {
				t.Errorf("%s: %q is in the page", name, mark)
			}
		}
	}
}

// fill gives every text of a report a hostile value and every list one element.
func fill(v reflect.Value, depth int) {
	switch v.Kind() {
	case reflect.String:
		v.SetString(hostile)
	case reflect.Struct:
		for k := range v.NumField() {
			if v.Type().Field(k).IsExported() {
				fill(v.Field(k), depth+1)
			}
		}
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			return
		}
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(v.Index(0), depth+1)
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), depth+1)
	}
}

// TestManyComponents: a large drawing is as right as a small one.
func TestManyComponents(t *testing.T) {
	b := newBrowser(t)
	a := inspect.Application{Name: "many", State: "running"}
	a.Components = append(a.Components, inspect.Component{Name: "monitor", State: "running"})
	for k := range 60 {
		c := inspect.Component{Name: fmt.Sprintf("component-%02d-with-a-name-that-is-long-enough-to-be-cut", k), Program: "/usr/lib/x86_64-linux-gnu/" + strings.Repeat("deep/", k) + "программа-日本語", State: "running"}
		for g := range k % 7 {
			c.Grants = append(c.Grants, inspect.GrantUse{Name: fmt.Sprintf("grant-%d", (k+g)%23), Kind: []string{"listen", "file", "directory", "connect", "device"}[(k+g)%23%5], Right: strings.Repeat("read and write ", 9), Open: k, Count: 1 << 40})
		}
		if k > 0 {
			c.MayStart = []string{a.Components[k/2+1].Name}
		}
		a.Components = append(a.Components, c)
	}
	file := filepath.Join(t.TempDir(), "page.html")
	out, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := (&inspect.Page{Report: &inspect.Report{Applications: []inspect.Application{a}}}).Write(out); err != nil {
		t.Fatal(err)
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
	b.check("many", file)
	if got := len(b.texts("a.box")); got != 60 {
		t.Errorf("%d compartments are drawn, want 60", got)
	}
	if got := len(b.texts("path.starts")); got != 59 {
		t.Errorf("%d edges of may-start are drawn, want 59", got)
	}
}
