package files

import (
	"bytes"
	"context"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"bulkhead/test/loopback"

	"golang.org/x/sys/unix"
)

// patience bounds what a program may take; a machine that is emulated takes longer.
var patience = flag.Duration("patience", 2*time.Minute, "how long a program may take")

// site is a directory of the host with a policy and what it grants.
type site struct {
	t    *testing.T
	dir  string
	name string
}

func newSite(t *testing.T, packages ...string) *site {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("this test needs root: it looks at who owns what a component makes")
	}
	for _, name := range packages {
		status, err := exec.Command("dpkg-query", "-W", "-f", "${db:Status-Abbrev}", name).Output()
		if err != nil || !strings.HasPrefix(string(status), "ii") {
			t.Fatalf("the Debian package %s is not installed: run make setup-test", name)
		}
	}
	// Not in /tmp, which components have of their own.
	directory, err := os.MkdirTemp("/var/tmp", "test-files-")
	if err == nil {
		err = os.Chmod(directory, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(directory) })
	s := &site{t: t, dir: directory, name: "test-files-" + strings.ToLower(t.Name()[4:]) + "-" + strconv.Itoa(os.Getpid())}
	s.mkdir("data")
	return s
}

func (s *site) mkdir(name string) {
	s.t.Helper()
	if err := os.MkdirAll(filepath.Join(s.dir, name), 0o755); err != nil {
		s.t.Fatal(err)
	}
}

func (s *site) write(name, content string) {
	s.t.Helper()
	if err := os.WriteFile(filepath.Join(s.dir, name), []byte(content), 0o644); err != nil {
		s.t.Fatal(err)
	}
}

func (s *site) read(name string) string {
	s.t.Helper()
	b, err := os.ReadFile(filepath.Join(s.dir, name))
	if err != nil {
		s.t.Error(err)
	}
	return string(b)
}

// policy writes a policy; in its text + is the site's directory.
func (s *site) policy(text string) string {
	s.t.Helper()
	text = "application: " + s.name + "\n" + strings.ReplaceAll(text, "+/", s.dir+"/")
	s.write("policy.yaml", text)
	return filepath.Join(s.dir, "policy.yaml")
}

func (s *site) command(ctx context.Context, arguments ...string) *exec.Cmd {
	s.t.Helper()
	program, err := filepath.Abs("../../bin/sandbox")
	if err != nil {
		s.t.Fatal(err)
	}
	command := exec.CommandContext(ctx, program, arguments...)
	command.Cancel = func() error { return command.Process.Signal(unix.SIGTERM) }
	command.WaitDelay = *patience
	return command
}

// run runs an application to its end and returns what its only component wrote,
// and what Bulkhead said.
func (s *site) run(text string) (output, said string) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), *patience)
	defer cancel()
	command := s.command(ctx, "run", s.policy(text))
	var out, err bytes.Buffer
	command.Stdout, command.Stderr = &out, &err
	if failure := command.Run(); failure != nil {
		s.t.Errorf("%v\n%s\n%s", failure, &out, &err)
	}
	var lines []string
	for line := range strings.Lines(out.String()) {
		_, text, _ := strings.Cut(line, "| ")
		lines = append(lines, strings.TrimRight(text, "\n"))
	}
	return strings.Join(lines, "\n"), err.String()
}

func (s *site) expect(got, want string) {
	s.t.Helper()
	if got != strings.TrimSpace(want) {
		s.t.Errorf("it wrote\n%s\nnot\n%s", got, strings.TrimSpace(want))
	}
}

// noDenials says that nothing of files was refused.
func (s *site) noDenials(said string, but ...string) {
	s.t.Helper()
lines:
	for line := range strings.Lines(said) {
		if !strings.Contains(line, ": denied: ") || strings.Contains(line, "socket(AF_UNIX") || strings.Contains(line, "denied: set") {
			continue
		}
		for _, known := range but {
			if strings.Contains(line, known) {
				continue lines
			}
		}
		s.t.Error(line)
	}
}

const sqlite = `
grants:
  data: {directory: +/data, access: read-write}
components:
  sqlite:
    command:
      - /usr/bin/sqlite3
      - -init
      - /dev/null
      - +/data/test.db
      - |
        PRAGMA journal_mode=MODE;
        CREATE TABLE t(a INTEGER PRIMARY KEY, b TEXT);
        BEGIN; INSERT INTO t(b) VALUES('one'), ('two'); COMMIT;
        BEGIN; DELETE FROM t; ROLLBACK;
        INSERT INTO t(b) SELECT b || a FROM t;
        SELECT count(*), group_concat(b) FROM t;
        VACUUM;
        PRAGMA integrity_check;
    grants: [data]
    transparent: true
    restart: never
`

func TestSQLite(t *testing.T) {
	for _, mode := range []string{"delete", "truncate", "persist", "wal"} {
		t.Run(mode, func(t *testing.T) {
			s := newSite(t, "sqlite3")
			s.name = "test-files-sqlite-" + mode + "-" + strconv.Itoa(os.Getpid())
			got, said := s.run(strings.Replace(sqlite, "MODE", mode, 1))
			s.expect(got, mode+"\n4|one,two,one1,two2\nok")
			s.noDenials(said)
			// Another program, outside, finds what it wrote.
			b, err := exec.Command("/usr/bin/sqlite3", s.dir+"/data/test.db", "PRAGMA integrity_check; SELECT count(*) FROM t").CombinedOutput()
			if err != nil || string(b) != "ok\n4\n" {
				t.Errorf("outside it is %q, %v", b, err)
			}
		})
	}
}

const git = `
grants:
  data: {directory: +/data, access: read-write}
  book: {directory: +/book}
components:
  git:
    command: [/bin/bash, +/script]
    environment:
      {PATH: /usr/bin, HOME: +/data, GIT_AUTHOR_NAME: me, GIT_AUTHOR_EMAIL: me@example, GIT_COMMITTER_NAME: me, GIT_COMMITTER_EMAIL: me@example}
    files:
      read: [/usr/share/git-core, +/script]
      execute: [/usr/bin/git, /usr/lib/git-core, /bin/bash]
    grants: [data, book]
    transparent: true
    restart: never
`

func TestGit(t *testing.T) {
	s := newSite(t, "git")
	// What it clones is somebody else's, and only to be read.
	s.write("data/.gitconfig", "[safe]\n\tdirectory = *\n")
	s.mkdir("book")
	s.write("book/moby", "Call me Ishmael.\n")
	for _, arguments := range [][]string{{"init", "-q"}, {"add", "."}, {"-c", "user.name=x", "-c", "user.email=x", "commit", "-qm", "a book"}} {
		command := exec.Command("/usr/bin/git", arguments...)
		command.Dir = s.dir + "/book"
		if b, err := command.CombinedOutput(); err != nil {
			t.Fatalf("%s, %v", b, err)
		}
	}
	s.write("script", `set -e
cd DIR/data
git init -q repo
cd repo
echo one >a; git add .; git commit -qm first
echo two >>a; git commit -qam second
git mv a b; git commit -qm third
git status --short
git log --format=%s
git tag old HEAD~1; git checkout -q old; git checkout -q -; git branch side; git merge -q side
git gc -q
git fsck --strict
cd ..
git clone -q repo copy
git -C copy log --format=%s -1
git clone -q DIR/book book
read line <book/moby; echo $line
git -C book log --format=%s
`)
	script := strings.ReplaceAll(s.read("script"), "DIR", s.dir)
	s.write("script", script)
	got, said := s.run(git)
	s.expect(got, "third\nsecond\nfirst\nthird\nCall me Ishmael.\na book")
	s.noDenials(said, "symlink(...)") // git tries whether it can make one, and remembers that it cannot
	if b, err := exec.Command("/usr/bin/git", "-c", "safe.directory=*", "-C", s.dir+"/data/repo", "fsck", "--strict").CombinedOutput(); err != nil {
		t.Errorf("outside it is %s, %v", b, err)
	}
}

const coreutils = `
grants:
  data: {directory: +/data, access: read-write}
components:
  tools:
    command: [/bin/bash, -e, +/script]
    environment: {PATH: "/usr/bin:/bin", LC_ALL: C}
    files:
      read: +/script
      temporary: /tmp
      execute: [/bin/bash, /usr/bin/mkdir, /usr/bin/cp, /usr/bin/mv, /usr/bin/ls, /usr/bin/rm, /usr/bin/find, /usr/bin/tar, /usr/bin/sed, /usr/bin/ln,
        /usr/bin/cat, /usr/bin/install, /usr/bin/chmod, /usr/bin/touch, /usr/bin/stat, /usr/bin/realpath, /usr/bin/rmdir, /usr/bin/truncate, /usr/bin/du, /usr/bin/sort, /bin/busybox]
    grants: [data]
    transparent: true
    restart: never
`

func TestTools(t *testing.T) {
	s := newSite(t, "busybox-static") // the others are essential to Debian
	s.write("script", strings.ReplaceAll(`cd DIR/data
mkdir -p a/b/c; echo 1 >a/1; echo 2 >a/b/2
cp -a a copy; cp -p a/1 one
mv copy/b b; mv b/2 /tmp/2; cat /tmp/2; mv /tmp/2 back
ls -R
find . -type f | sort
chmod 640 one; touch -d @86400 one; stat -c '%a %Y %U' one
ln one two; stat -c %h two
mkdir -m 711 m; install -d -m 700 n/o; stat -c %a m n/o; rmdir m n/o n
tar cf x.tar a one; tar tf x.tar | sort; mkdir x; tar xpf x.tar -C x; cat x/a/b/2
sed -i s/1/one/ one; cat one; truncate -s 2 one; stat -c %s one
realpath a/../one
ln -s one soft 2>/tmp/why || echo no symbolic links
rm -r a b; rm -rf copy; find x -delete; du -s . >/tmp/du
busybox mkdir -p p/q; busybox cp one p/q/; busybox mv p r; busybox ls r/q; busybox find r | sort; busybox rm -r r
ls
rmdir DIR 2>/tmp/why || echo not that
`, "DIR", s.dir))
	got, said := s.run(coreutils)
	s.expect(strings.ReplaceAll(got, s.dir, "+"), `
2
.:
a
b
back
copy
one

./a:
1
b

./a/b:
2
c

./a/b/c:

./b:
c

./b/c:

./copy:
1
./a/1
./a/b/2
./back
./copy/1
./one
640 86400 worker
2
711
700
a/
a/1
a/b/
a/b/2
a/b/c/
one
2
one
2
+/data/one
no symbolic links
one
r
r/q
r/q/one
back
one
two
x.tar
not that`)
	s.noDenials(said, "symlinkat(...)", "rmdir(...)")
}

const server = `
grants:
  www:   {directory: +/www}
  data:  {directory: +/data, access: read-write}
  http:  {listen: "tcp:127.0.0.1:HTTP"}
  fetch: {connect: "tcp:127.0.0.1:HTTP"}
  redis: {listen: "tcp:127.0.0.1:REDIS"}
components:
  http:
    extends: python
    command: [/usr/bin/python3, -m, http.server, --bind, 127.0.0.1, --directory, +/www, "HTTP"]
    grants: [www, {http: {at-start: false}}]
    transparent: true
  curl:
    command: [/usr/bin/curl, -sSf, --retry, "100", --retry-delay, "1", --retry-connrefused, -o, +/data/got, "http://127.0.0.1:HTTP/sub/page"]
    grants: [data, fetch]
    transparent: true
    restart: never
    essential: false
    after: http
  redis:
    command: [/usr/bin/redis-server, --dir, +/data, --port, "REDIS", --bind, 127.0.0.1, --appendonly, "yes"]
    grants: [data, {redis: {at-start: false}}]
    transparent: true
`

// Servers: Python's http.server on a directory that it may only read, curl
// that fetches into another, redis that saves there.
func TestServers(t *testing.T) {
	s := newSite(t, "python3", "curl", "redis-server", "redis-tools")
	s.mkdir("www/sub")
	s.write("www/sub/page", "a page\n")
	http, redis := loopback.Port(t), loopback.Port(t)
	policy := s.policy(strings.NewReplacer("HTTP", http, "REDIS", redis).Replace(server))
	ctx, cancel := context.WithTimeout(context.Background(), *patience)
	defer cancel()
	command := s.command(ctx, "run", policy)
	var out bytes.Buffer
	command.Stdout, command.Stderr = &out, &out
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		command.Process.Signal(unix.SIGTERM)
		command.Wait()
		s.noDenials(out.String())
		if t.Failed() {
			t.Logf("%s", &out)
		}
	}()
	s.await("the list of the directory", func() bool {
		b, err := exec.Command("/usr/bin/curl", "-sf", "http://127.0.0.1:"+http+"/").Output()
		return err == nil && strings.Contains(string(b), `<a href="sub/">sub/</a>`)
	})
	s.await("what curl fetched", func() bool {
		b, err := os.ReadFile(s.dir + "/data/got")
		return err == nil && string(b) == "a page\n"
	})
	ask := func(arguments ...string) string {
		b, _ := exec.Command("/usr/bin/redis-cli", append([]string{"-p", redis}, arguments...)...).CombinedOutput()
		return strings.TrimSpace(string(b))
	}
	s.await("redis", func() bool { return ask("set", "key", "value") == "OK" })
	if got := ask("save"); got != "OK" {
		t.Errorf("save: %s", got)
	}
	if got := ask("bgrewriteaof"); !strings.HasPrefix(got, "Background") {
		t.Errorf("bgrewriteaof: %s", got)
	}
	s.await("the rewritten log", func() bool { return strings.Contains(ask("info", "persistence"), "aof_rewrite_in_progress:0") })
	if !strings.HasPrefix(s.read("data/dump.rdb"), "REDIS") {
		t.Error("there is no dump")
	}
	// Files of other components' that are not granted are not there.
	b, _ := exec.Command("/usr/bin/curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "--path-as-is", "http://127.0.0.1:"+http+"/../data/got").Output()
	if string(b) != "404" {
		t.Errorf("a way out answers %s", b)
	}
}
