package learn

import (
	"encoding/base64"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Three files of one directory are its files: the next run may use another.

func TestGzip(t *testing.T) {
	x := begin(t, "gzip")
	for _, name := range []string{"a", "b", "c"} {
		x.observed("", "/usr/bin/gzip", "-c", x.file("in/"+name, strings.Repeat(name, 1000)))
	}
	x.file("in/other", strings.Repeat("other ", 5000))
	x.learnt("/in/c", "/in/other")
	packed := x.run("", nil)
	unpack := exec.Command("/usr/bin/gzip", "-dc")
	unpack.Stdin = strings.NewReader(packed)
	if out, err := unpack.Output(); err != nil || len(out) != 30000 {
		t.Errorf("what it packed is not what it read: %d bytes, %v", len(out), err)
	}
}

func TestTar(t *testing.T) {
	x := begin(t, "tar")
	x.file("tree/one", "1")
	x.file("tree/sub/two", "2")
	x.observed("", "/usr/bin/tar", "-cf", x.file("out/first.tar", ""), "-C", x.directory, "tree")
	x.observed("", "/usr/bin/tar", "-cf", filepath.Join(x.directory, "out/new.tar"), "-C", x.directory, "tree")
	for _, name := range []string{"tree/three", "tree/sub/deeper/four"} {
		x.file(name, name)
	}
	x.learnt("new.tar", "later.tar")
	x.run("", nil)
	out, err := exec.Command("/usr/bin/tar", "-tf", filepath.Join(x.directory, "out/later.tar")).Output()
	if err != nil || !strings.Contains(string(out), "tree/sub/deeper/four") {
		t.Errorf("the archive has %q, %v", out, err)
	}
}

func TestAwk(t *testing.T) {
	x := begin(t, "busybox-static")
	x.user = "nobody" // as another than root it gives up what it has
	x.observed("a b\n", "/usr/bin/busybox", "awk", "{print $2}")
	x.learnt("{print $2}", "{n += $1} END {print length($0) + n - 2}")
	if out := x.run("1\n2\n39\n", nil); out != "42\n" {
		t.Errorf("it printed %q", out)
	}
}

func TestSqlite(t *testing.T) {
	x := begin(t, "sqlite3")
	database := filepath.Join(x.file("db/README", ""), "../data.db")
	x.observed("create table t (a, b); insert into t values (1, 2); select * from t;", "/usr/bin/sqlite3", database)
	x.observed("begin; update t set a = 3; rollback; delete from t where a = 9;", "/usr/bin/sqlite3", database)
	x.learnt()
	if out := x.run("create index i on t (a); insert into t select a + 10, b from t; vacuum; select sum(a) from t;", nil); out != "12\n" {
		t.Errorf("it printed %q", out)
	}
}

func TestGit(t *testing.T) {
	x := begin(t, "git")
	repository := filepath.Join(x.directory, "repository")
	git := func(arguments ...string) []string {
		return append([]string{"/usr/bin/git", "-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "safe.directory=*", "-C", repository}, arguments...)
	}
	if err := os.Mkdir(repository, 0o755); err != nil {
		t.Fatal(err)
	}
	x.observed("", git("init", "-q")...)
	x.file("repository/first", "1\n")
	x.observed("", git("add", ".")...)
	x.observed("", git("commit", "-q", "-m", "first")...)
	x.file("repository/sub/second", "2\n")
	x.observed("", git("add", ".")...)
	x.observed("", git("commit", "-q", "-m", "second")...)
	x.file("repository/first", "3\n")
	x.learnt(`second]`, `third, "-a"]`)
	x.run("", nil)
	out, err := exec.Command("/usr/bin/git", "-c", "safe.directory=*", "-C", repository, "log", "--oneline").Output()
	if err != nil || strings.Count(string(out), "\n") != 3 {
		t.Errorf("the log has %q, %v", out, err)
	}
}

// pixels is a picture of 8 by 8 points in the format of the netpbm tools.
func pixels(value byte) string {
	return "P5\n8 8\n255\n" + strings.Repeat(string([]byte{value}), 64)
}

func TestDjpeg(t *testing.T) {
	x := begin(t, "libjpeg-turbo-progs")
	picture := func(name string, value byte) string {
		pack := exec.Command("/usr/bin/cjpeg")
		pack.Stdin = strings.NewReader(pixels(value))
		out, err := pack.Output()
		if err != nil {
			t.Fatal(err)
		}
		return x.file(name, string(out))
	}
	for i, name := range []string{"a.jpg", "b.jpg", "c.jpg"} {
		x.observed("", "/usr/bin/djpeg", "-pnm", picture("in/"+name, byte(50*i)))
	}
	picture("in/other.jpg", 200)
	x.learnt("c.jpg", "other.jpg")
	if out := x.run("", nil); !strings.HasPrefix(out, "P5\n8 8\n") {
		t.Errorf("it wrote %q", base64.StdEncoding.EncodeToString([]byte(out)))
	}
}

func TestCurl(t *testing.T) {
	x := begin(t, "curl")
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.Write([]byte("this is " + r.URL.Path)) }))
	defer server.Close()
	x.observed("", "/usr/bin/curl", "-sS", server.URL+"/first")
	x.learnt(server.URL+"/first", server.URL+"/other")
	if out := x.run("", nil); out != "this is /other" {
		t.Errorf("it printed %q", out)
	}
}
