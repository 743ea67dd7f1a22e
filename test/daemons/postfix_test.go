package daemons

import (
	"fmt"
	"net"
	"net/smtp"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// postfix is a Postfix of Debian's programs and of a configuration, a queue
// and a mailbox of the test's own.
type postfix struct {
	dir, port string
}

// postfixPrograms are those that a delivery takes beside master.
var postfixPrograms = []string{"smtpd", "cleanup", "qmgr", "pickup", "rewrite", "local", "proxymap"}

func newPostfix(t *testing.T) *postfix {
	t.Helper()
	p := &postfix{dir: directory(t, "root"), port: freePort(t)}
	etc := filepath.Join(p.dir, "etc")
	if err := os.CopyFS(etc, os.DirFS("/etc/postfix")); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"data", "mail", "queue", "log"} {
		if err := os.Mkdir(filepath.Join(p.dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	give(t, filepath.Join(p.dir, "data"), "postfix")
	give(t, filepath.Join(p.dir, "log"), "postfix")
	if err := os.Chmod(filepath.Join(p.dir, "mail"), 0o1777); err != nil {
		t.Fatal(err)
	}
	// Debian's defaults but for names, places and the port.
	file(t, filepath.Join(etc, "main.cf"), fmt.Sprintf(`compatibility_level = 3.6
queue_directory = %[1]s/queue
data_directory = %[1]s/data
mail_spool_directory = %[1]s/mail
myhostname = mail.test
mydestination = mail.test
mynetworks = 127.0.0.0/8
inet_interfaces = 127.0.0.1
alias_maps =
alias_database =
biff = no
maillog_file = %[1]s/log/mail.log
maillog_file_prefixes = %[1]s
smtpd_peername_lookup = no
smtpd_client_connection_count_limit = 300
default_process_limit = 220
`, p.dir), 0o644)
	services, err := os.ReadFile("/etc/postfix/master.cf")
	if err != nil {
		t.Fatal(err)
	}
	replaced := strings.Replace(string(services), "\nsmtp      inet", "\n127.0.0.1:"+p.port+" inet", 1)
	file(t, filepath.Join(etc, "master.cf"), replaced, 0o644)
	if got, err := command("postfix", "-c", etc, "check"); err != nil {
		t.Fatal(err, got)
	}
	if err := os.Remove(filepath.Join(p.dir, "log", "mail.log")); err != nil && !os.IsNotExist(err) {
		t.Fatal(err) // what check wrote is root's
	}
	return p
}

// policy writes a policy that builds on the profile as an administrator's would.
func (p *postfix) policy(t *testing.T, more string) string {
	t.Helper()
	profile, err := filepath.Abs("../../profiles/postfix.yaml")
	if err != nil {
		t.Fatal(err)
	}
	relative, err := filepath.Rel(p.dir, profile)
	if err != nil {
		t.Fatal(err)
	}
	return file(t, filepath.Join(p.dir, "policy.yaml"), fmt.Sprintf(`include: %[1]s
application: replaced
variables:
  port: "%[2]s"
  configuration: %[3]s/etc
  queue: %[3]s/queue
  data: %[3]s/data
  mail: %[3]s/mail
components:
  local: {become: [daemon]}
  postlogd: {files: {write: ["%[3]s/log"]}}
`, relative, p.port, p.dir)+more, 0o644)
}

func (p *postfix) send(subject string) error {
	return smtp.SendMail("127.0.0.1:"+p.port, nil, "someone@test", []string{"daemon@mail.test"},
		[]byte("Subject: "+subject+"\r\n\r\nbody\r\n"))
}

// mailbox is what has been delivered.
func (p *postfix) mailbox() string {
	b, _ := os.ReadFile(filepath.Join(p.dir, "mail", "daemon")) // not there yet: nothing has
	return string(b)
}

// logged is what the programs have said.
func (p *postfix) logged() string {
	b, _ := os.ReadFile(filepath.Join(p.dir, "log", "mail.log")) // not there yet: they have said nothing
	return string(b)
}

func (p *postfix) delivered(subject string) func() error {
	return func() error {
		if !strings.Contains(p.mailbox(), "Subject: "+subject+"\n") {
			return fmt.Errorf("%q is not in the mailbox", subject)
		}
		return nil
	}
}

// Mail comes in by SMTP and goes to a mailbox, and each program on its way is
// in a compartment of its own.
func TestPostfix(t *testing.T) {
	long(t)
	needs(t, "postfix")
	p := newPostfix(t)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the log of Postfix:\n%s", p.logged())
		}
	})
	a := startPolicy(t, p.policy(t, ""), "master")
	a.await("an answer", func() error { return p.send("first") })
	a.await("the first mail", p.delivered("first"))

	components := append([]string{"master"}, postfixPrograms...)
	running := a.running(components...)
	namespaces := map[string]string{}
	for _, component := range components {
		user, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/user", running[component].PID))
		if err != nil {
			t.Error(err)
		}
		if other, taken := namespaces[user]; taken {
			t.Errorf("%s and %s share a compartment", component, other)
		}
		namespaces[user] = component
	}
	// The numbers in the log are those that master knows.
	if strings.Contains(p.logged(), "postfix/smtpd[2]") || !strings.Contains(p.logged(), "postfix/smtpd[") {
		t.Errorf("the log has other pids than master knows:\n%s", p.logged())
	}

	// Killed helpers are replaced as master does it.
	a.kill(running, "smtpd", "qmgr", "cleanup")
	a.await("an answer after the kills", func() error { return p.send("second") })
	a.await("the second mail", p.delivered("second"))

	// 200 sessions at once.
	var all sync.WaitGroup
	failed := make(chan error, 200)
	for i := range 200 {
		all.Go(func() {
			if err := p.send(fmt.Sprintf("parallel %d", i)); err != nil {
				failed <- err
			}
		})
	}
	all.Wait()
	close(failed)
	for err := range failed {
		t.Errorf("a session among 200: %v", err)
	}
	for i := range 200 {
		a.await("all mails", p.delivered(fmt.Sprintf("parallel %d", i)))
	}

	// master's own reload: it reads master.cf again and tells its helpers.
	a.reload()
	a.await("the reload in the log", func() error {
		if !strings.Contains(p.logged(), "reload -- version") {
			return fmt.Errorf("no word of it in the log")
		}
		return nil
	})
	a.await("an answer after the reload", func() error { return p.send("third") })
	a.await("the third mail", p.delivered("third"))
	a.denials()
	a.stop()
}

// What was taken over in smtpd's place reaches nothing that is the queue
// manager's, or anybody else's.
func TestPostfixTakenOver(t *testing.T) {
	long(t)
	needs(t, "postfix", "python3")
	p := newPostfix(t)
	script := file(t, filepath.Join(p.dir, "hostile.py"), hostile([][2]string{
		{"speak to cleanup", `connect("public/cleanup")`},
		{"list the queue", `lambda: os.listdir("` + p.dir + `/queue/active")`},
		{"read the mailbox", `lambda: open("` + p.dir + `/mail/daemon").read()`},
		{"write a mailbox", `lambda: open("` + p.dir + `/mail/x", "w")`},
		{"speak to qmgr", `connect("public/qmgr")`},
		{"speak to pickup", `connect("public/pickup")`},
		{"speak to local", `connect("private/local")`},
		{"speak to smtp", `connect("private/smtp")`},
		{"listen", `lambda: socket.socket(socket.AF_UNIX).bind("private/local")`},
		{"connect outside", `lambda: socket.create_connection(("127.0.0.1", ` + p.port + `))`},
		{"become daemon", `lambda: os.setuid(1)`},
		{"read shadow", `lambda: open("/etc/shadow").read()`},
		{"execute local", `lambda: os.execv("/usr/lib/postfix/sbin/local", ["local"])`},
	}), 0o644)
	a := startPolicy(t, p.policy(t, `
  smtpd:
    extends: python
    command: [/usr/bin/python3, `+script+`]
    files: {read: [`+script+`]}
`), "master")
	a.takenOver("speak to cleanup", func() {
		if connection, err := net.DialTimeout("tcp", "127.0.0.1:"+p.port, time.Second); err == nil {
			connection.Close()
		}
	})
	a.stop()
}

// hostile is a program in Python that makes attempts, each with its name, and
// says how they went.
func hostile(attempts [][2]string) string {
	var all strings.Builder
	all.WriteString(`
import os, socket
def attempt(what, f):
    try:
        f()
        print("did:", what, flush=True)
    except OSError:
        print("refused:", what, flush=True)
def connect(name):
    def f():
        s = socket.socket(socket.AF_UNIX)
        s.connect(name)
    return f
`)
	for _, a := range attempts {
		fmt.Fprintf(&all, "attempt(%q, %s)\n", a[0], a[1])
	}
	all.WriteString("print('all attempts made', flush=True)\n")
	return all.String()
}

// takenOver provokes the hostile program and checks that of its attempts only
// one went well: what its place is for.
func (a *application) takenOver(allowed string, provoke func()) {
	a.t.Helper()
	a.await("all attempts", func() error {
		provoke()
		if !strings.Contains(a.output.String(), "all attempts made") {
			return fmt.Errorf("not yet")
		}
		return nil
	})
	did, refused := 0, 0
	for line := range strings.Lines(a.output.String()) {
		if _, what, ok := strings.Cut(strings.TrimSpace(line), "did: "); ok {
			if did++; what != allowed {
				a.t.Errorf("a program in %s's place could %s", a.component, what)
			}
		}
		if strings.Contains(line, "refused: ") {
			refused++
		}
	}
	if did == 0 || refused == 0 {
		a.t.Errorf("%d attempts went well, %d were refused", did, refused)
	}
}
