package main

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// These tests need no machine and no privilege; `test/vm/selftest` boots the lane itself.

func TestArchiveFollowsLinksLikeTheKernel(t *testing.T) {
	a := newArchive()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(a.add("usr/bin", node{mode: typeDir | 0o755}))
	must(a.add("bin", node{mode: typeLink | 0o777, content: []byte("usr/bin")}))
	must(a.add("/opt/tools", node{mode: typeLink | 0o777, content: []byte("/bin")}))
	must(a.add("/opt/tools/sh", node{mode: typeFile | 0o755, content: []byte("one")}))
	must(a.add("/bin", node{mode: typeDir | 0o700}))
	if n := a.nodes["usr/bin/sh"]; string(n.content) != "one" {
		t.Errorf("/opt/tools/sh is not at /usr/bin/sh: %v", a.nodes)
	}
	if a.nodes["bin"].mode&typeMask != typeLink {
		t.Error("a directory replaced the link /bin")
	}
	must(a.add("/bin/sh", node{mode: typeFile | 0o755, content: []byte("two")}))
	if n := a.nodes["usr/bin/sh"]; string(n.content) != "two" {
		t.Error("the later file did not replace the earlier one")
	}
	if err := a.add("/bin/sh/x", node{mode: typeFile}); err == nil {
		t.Error("a file became a directory")
	}
	if err := a.add("/usr/bin", node{mode: typeFile}); err == nil {
		t.Error("a directory became a file")
	}
	must(a.add("loop", node{mode: typeLink, content: []byte("loop")}))
	if err := a.add("loop/x", node{mode: typeFile}); err == nil {
		t.Error("a loop of links was followed to an end")
	}
}

func TestArchiveIsWhatCpioReads(t *testing.T) {
	a := newArchive()
	for name, text := range map[string]string{"a/one": "1", "a/four": "4444", "a/five": "55555", "none": ""} {
		if err := a.add(name, node{mode: typeFile | 0o644, content: []byte(text)}); err != nil {
			t.Fatal(err)
		}
	}
	var packed bytes.Buffer
	if err := a.write(&packed); err != nil {
		t.Fatal(err)
	}
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		t.Skip("no busybox to read the archive with; the self-test has the kernel read one")
	}
	dir := t.TempDir()
	unpack := exec.Command(busybox, "cpio", "-id")
	unpack.Dir, unpack.Stdin = dir, &packed
	if out, err := unpack.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for name, want := range map[string]string{"a/one": "1", "a/four": "4444", "a/five": "55555", "none": ""} {
		if got, err := os.ReadFile(filepath.Join(dir, name)); err != nil || string(got) != want {
			t.Errorf("%s is %q, %v; want %q", name, got, err, want)
		}
	}
}

func TestTreeKeepsLinksAndModes(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "program"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(dir, "program"), 0o755|os.ModeSetuid); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("program", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	a := newArchive()
	if err := a.addTree(dir, "/t"); err != nil {
		t.Fatal(err)
	}
	if m := a.nodes["t/program"].mode; m != typeFile|0o4755 {
		t.Errorf("program has mode %o", m)
	}
	if n := a.nodes["t/link"]; n.mode&typeMask != typeLink || string(n.content) != "program" {
		t.Errorf("link is %+v", n)
	}
}

func TestFrames(t *testing.T) {
	var wire bytes.Buffer
	w := &frameWriter{out: &wire}
	w.write(frameStdout, []byte("hello"))
	w.write(frameBooted, nil)
	if kind, body, err := readFrame(&wire); kind != frameStdout || string(body) != "hello" || err != nil {
		t.Errorf("%q %q %v", kind, body, err)
	}
	if kind, body, err := readFrame(&wire); kind != frameBooted || len(body) != 0 || err != nil {
		t.Errorf("%q %q %v", kind, body, err)
	}
	if _, _, err := readFrame(strings.NewReader("o\xff\xff\xff\xff")); err == nil || !strings.Contains(err.Error(), "at most") {
		t.Errorf("a frame of 4 GiB: %v", err)
	}
}

func TestClosure(t *testing.T) {
	sleep, err := exec.LookPath("sleep")
	if err != nil {
		t.Fatal(err)
	}
	closure, err := elfClosure(context.Background(), sleep)
	if err != nil {
		t.Fatal(err)
	}
	interpreter, err := elfInterpreter(sleep)
	if err != nil || interpreter == "" {
		t.Skipf("%s is static here", sleep)
	}
	if closure[0] != interpreter || !strings.Contains(strings.Join(closure, " "), "/libc.so") {
		t.Errorf("%s needs %v", sleep, closure)
	}
	if _, err := elfClosure(context.Background(), "lane_test.go"); err == nil || !strings.Contains(err.Error(), "lane_test.go") {
		t.Errorf("a source file has a closure: %v", err)
	}
}

func TestOptions(t *testing.T) {
	t.Setenv("BULKHEAD_VM_CACHE", t.TempDir())
	o, err := parseOptions(strings.Fields("--memory 2G --timeout 90 --user --file a=/b --env X=1=2 -- sh -c true"))
	if err != nil {
		t.Fatal(err)
	}
	if o.memory != 2048 || o.timeout.Seconds() != 90 || !o.job.User || o.files[0] != (handIn{"file", "a", "/b"}) || o.job.Env[0] != "X=1=2" || len(o.job.Command) != 3 {
		t.Errorf("%+v", o)
	}
	if d, err := parseTimeout("2m"); d.Minutes() != 2 || err != nil {
		t.Errorf("2m is %v, %v", d, err)
	}
	for _, wrong := range []string{"", "--", "sh -c true", "--memory 2 -- x", "--memory G -- x", "--timeout 0 -- x", "--file a -- x", "--file a=b -- x", "--env X -- x"} {
		if o, err := parseOptions(strings.Fields(wrong)); err == nil {
			t.Errorf("%q was understood as %+v", wrong, o)
		}
	}
}
