package daemons

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// cgiSite is a directory with two programs and what each of them may read.
func cgiSite(t *testing.T) (settings []string, port, programs, secrets string) {
	t.Helper()
	port, programs, secrets = freePort(t), directory(t, "root"), directory(t, "root")
	root := directory(t, "root")
	file(t, filepath.Join(root, "index.html"), "a page\n", 0o644)
	for _, name := range []string{"hello", "search"} {
		file(t, filepath.Join(secrets, name), "what "+name+" may read\n", 0o644)
		file(t, filepath.Join(programs, name), `#!/bin/sh
printf 'Content-Type: text/plain\n\n'
echo "$REQUEST_METHOD of $SCRIPT_NAME with $QUERY_STRING in $PWD"
read -r line && echo "a body of ${#line}"
for f in `+secrets+`/hello `+secrets+`/search `+root+`/index.html; do
	read -r line <$f && echo "$line"
done 2>/dev/null
echo "${LD_PRELOAD-no} ${LIGHTTPD-no} variables of the server's"
case $QUERY_STRING in
status) echo; exit 7 ;;
hang) while :; do :; done ;;
esac
`, 0o755)
	}
	return []string{
		"variables.port=" + port, "variables.programs=" + programs, "variables.root=" + root,
		"variables.logs=" + directory(t, "www-data"),
		"components.cgi.files.read=[" + secrets + "/hello]",
		"components.search.start=on-exec",
		"components.search.replaces=" + programs + "/search",
		"components.search.files.read=[" + secrets + "/search]",
		"components.search.limits.cpu-time=1s",
		"components.lighttpd.may-start=[cgi, search]",
	}, port, programs, secrets
}

// Each CGI program has what its own component has, and none has what the
// server has.
func TestLighttpdCGI(t *testing.T) {
	long(t)
	needs(t, "lighttpd", "curl")
	settings, port, programs, _ := cgiSite(t)
	a := start(t, "lighttpd-cgi", settings...)
	a.component = "lighttpd"
	url := "http://127.0.0.1:" + port
	curl := func(want string, arguments ...string) {
		t.Helper()
		a.expect(want, "curl", append([]string{"-sS", "--max-time", "20"}, arguments...)...)
	}
	curl("a page", url+"/")
	for _, name := range []string{"hello", "search"} {
		curl(fmt.Sprintf("GET of /cgi-bin/%s with a=b in %s\nwhat %s may read\nno no variables of the server's\n", name, programs, name), url+"/cgi-bin/"+name+"?a=b")
		curl("a body of 12\n", "--data-binary", "of a request\n", url+"/cgi-bin/"+name)
	}
	// Larger than what goes without a file.
	large := file(t, filepath.Join(directory(t, "root"), "body"), strings.Repeat("x", 90_000)+"\n", 0o644)
	curl("a body of 90000\n", "--data-binary", "@"+large, url+"/cgi-bin/hello")
	// Its limit ends it, and costs its own request only.
	curl("GET of /cgi-bin/search", url+"/cgi-bin/search?hang")
	a.await("the end of what hangs", func() error {
		if !strings.Contains(a.output.String(), "component search: worker") || !strings.Contains(a.output.String(), "cpu-time limit of 1s reached") {
			return fmt.Errorf("no word of it")
		}
		return nil
	})
	curl("GET of /cgi-bin/search", url+"/cgi-bin/search?x")
	if got, err := command("curl", "-sS", "--max-time", "60", "-o", "/dev/null", "-w", "%{http_code}", url+"/cgi-bin/nothing"); err != nil || got != "404" {
		t.Errorf("a program that is not there: %q, %v", got, err)
	}
	if _, err := os.Stat(filepath.Join(programs, "hello")); err != nil {
		t.Fatal(err)
	}
	a.denials()
	a.stop()
}
