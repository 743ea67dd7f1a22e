package daemons

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"
)

// lighttpdSettings are for Debian's configuration with the changes that the
// profile asks for, and a log of the test's own.
func lighttpdSettings(t *testing.T) (settings []string, port, configuration, root string) {
	t.Helper()
	port, configuration, root = freePort(t), directory(t, "root"), directory(t, "root")
	logs := directory(t, "www-data")
	b, err := os.ReadFile("/etc/lighttpd/lighttpd.conf")
	if err != nil {
		t.Fatal(err)
	}
	for _, change := range []struct{ from, to string }{
		{`(?m)^include_shell .*use-ipv6.*$`, ``},
		{`(?m)^include_shell .*create-mime.*$`, ``},
		{`(?m)^server\.document-root .*$`, `server.document-root = "` + root + `"`},
		{`(?m)^server\.errorlog .*$`, `server.errorlog = "` + logs + `/error.log"`},
	} {
		pattern := regexp.MustCompile(change.from)
		if !pattern.Match(b) {
			t.Fatalf("Debian's lighttpd.conf has no line like %s", change.from)
		}
		b = pattern.ReplaceAll(b, []byte(change.to))
	}
	replace(t, filepath.Join(configuration, "lighttpd.conf"), string(b))
	types, err := exec.Command("/usr/share/lighttpd/create-mime.conf.pl").Output()
	if err != nil {
		t.Fatal(err)
	}
	file(t, filepath.Join(configuration, "mime.conf"), string(types), 0o644)
	return []string{
		"variables.port=" + port, "variables.configuration=" + configuration,
		"variables.root=" + root, "variables.logs=" + logs,
	}, port, configuration, root
}

func TestLighttpd(t *testing.T) {
	long(t)
	needs(t, "lighttpd", "curl", "perl", "media-types")
	settings, port, configuration, root := lighttpdSettings(t)
	file(t, filepath.Join(root, "page.html"), "a page of lighttpd's\n", 0o644)
	file(t, filepath.Join(root, "drawing.svg"), "<svg/>\n", 0o644)
	a := start(t, "lighttpd", settings...)
	curl := func(want, path string) {
		t.Helper()
		a.expect(want, "curl", "-sS", "-i", "--max-time", "20", "http://127.0.0.1:"+port+path)
	}
	curl("a page of lighttpd's", "/page.html")
	curl("Content-Type: image/svg+xml", "/drawing.svg")
	curl("404 Not Found", "/nothing-here")
	curl("Server: lighttpd/1.4", "/page.html")

	b, err := os.ReadFile(filepath.Join(configuration, "lighttpd.conf"))
	if err != nil {
		t.Fatal(err)
	}
	before := a.worker().PID
	replace(t, filepath.Join(configuration, "lighttpd.conf"), string(b)+"\nserver.tag = \"reloaded\"\n")
	a.reload()
	curl("Server: reloaded", "/page.html")
	if now := a.worker().PID; now != before {
		t.Errorf("reloading replaced the process %d by %d", before, now)
	}
	a.denials()
	a.stop()
}

func TestLighttpdWalls(t *testing.T) {
	long(t)
	needs(t, "lighttpd", "perl", "media-types")
	settings, _, _, _ := lighttpdSettings(t)
	walls(t, "lighttpd", settings...)
}
