package daemons

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// newDovecot writes a configuration with one user, and the policy that builds
// on the profile. more is appended to the policy's components.
func newDovecot(t *testing.T, more string) (dir, port, policy string) {
	t.Helper()
	dir, port = directory(t, "root"), freePort(t)
	for name, owner := range map[string]string{"mail": "mail", "state": "root", "run": "root", "run/login": "root", "run/token-login": "root", "run/empty": "root"} {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
		give(t, filepath.Join(dir, name), owner)
	}
	give(t, file(t, filepath.Join(dir, "users"), "alice:{PLAIN}secret\n", 0o600), "dovecot")
	configuration := file(t, filepath.Join(dir, "dovecot.conf"), fmt.Sprintf(`protocols = imap
listen = 127.0.0.1
base_dir = %[1]s/run
state_dir = %[1]s/state
log_path = /dev/stderr
ssl = no
disable_plaintext_auth = no
mail_location = maildir:%[1]s/mail/%%u
first_valid_uid = 1
passdb {
  driver = passwd-file
  args = %[1]s/users
}
userdb {
  driver = static
  args = uid=mail gid=mail home=%[1]s/mail/%%u
}
service imap-login {
  inet_listener imap {
    port = %[2]s
  }
  inet_listener imaps {
    port = 0
  }
}
`, dir, port), 0o644)
	policy = file(t, filepath.Join(dir, "policy.yaml"), fmt.Sprintf(`include: dovecot
application: replaced
variables: {port: "%[2]s", configuration: %[3]s, file: %[3]s, base: %[1]s/run, state: %[1]s/state}
components:
  imap: {become: [mail], files: {write: [%[1]s/mail]}}
  auth: {files: {read: [%[1]s/users]}}
`, dir, port, configuration)+more, 0o644)
	return dir, port, policy
}

// imapSession logs in, sends commands and returns all that was answered.
func imapSession(port string, commands ...string) (string, error) {
	connection, err := net.DialTimeout("tcp", "127.0.0.1:"+port, patience/3)
	if err != nil {
		return "", err
	}
	defer connection.Close()
	connection.SetDeadline(time.Now().Add(patience / 3))
	answers := bufio.NewReader(connection)
	var all strings.Builder
	line := func() (string, error) {
		s, err := answers.ReadString('\n')
		all.WriteString(s)
		return s, err
	}
	if _, err := line(); err != nil {
		return all.String(), err
	}
	for i, command := range append([]string{"LOGIN alice secret"}, commands...) {
		fmt.Fprintf(connection, "a%d %s\r\n", i, command)
		for {
			s, err := line()
			if err != nil {
				return all.String(), err
			}
			if strings.HasPrefix(s, "+") { // go on with the literal
				fmt.Fprint(connection, "Subject: kept\r\n\r\nbody\r\n\r\n")
			}
			if after, ok := strings.CutPrefix(s, fmt.Sprintf("a%d ", i)); ok {
				if !strings.HasPrefix(after, "OK") {
					return all.String(), fmt.Errorf("%s: %s", command, s)
				}
				break
			}
		}
	}
	return all.String(), nil
}

// A user logs in and fetches mail; the process that spoke to the world before
// the login is not the one that sees the mail, nor the one that knows passwords.
func TestDovecot(t *testing.T) {
	long(t)
	needs(t, "dovecot-imapd")
	_, port, policy := newDovecot(t, "")
	a := startPolicy(t, policy, "master")
	const kept = "Subject: kept\r\n\r\nbody\r\n"
	a.await("a login", func() error {
		_, err := imapSession(port, "LOGOUT")
		return err
	})
	if got, err := imapSession(port, fmt.Sprintf("APPEND INBOX {%d}", len(kept)), "SELECT INBOX", "FETCH 1 BODY[TEXT]"); err != nil || !strings.Contains(got, "body") {
		t.Errorf("the session said %q: %v", got, err)
	}
	// Somebody who has not logged in: imap-login ends with its connection.
	stranger, err := net.Dial("tcp", "127.0.0.1:"+port)
	if err != nil {
		t.Fatal(err)
	}
	defer stranger.Close()
	if _, err := bufio.NewReader(stranger).ReadString('\n'); err != nil {
		t.Error(err)
	}
	a.kill(a.running("master", "config", "log", "anvil", "stats", "auth", "login"), "auth", "login", "config", "anvil")
	a.await("a login after the kills", func() error {
		got, err := imapSession(port, "SELECT INBOX", "FETCH 1 BODY[TEXT]")
		if err == nil && !strings.Contains(got, "body") {
			err = fmt.Errorf("it said %q", got)
		}
		return err
	})
	a.reload()
	a.await("a login after a reload", func() error {
		_, err := imapSession(port, "SELECT INBOX")
		return err
	})
	// auth does without the pids of its peers; master looks for addresses.
	a.denials("getsockopt", "socket(AF_INET, SOCK_DGRAM")
	a.stop()
}

// What was taken over in imap-login's place, which speaks to anybody, reaches
// neither mail nor passwords.
func TestDovecotTakenOver(t *testing.T) {
	long(t)
	needs(t, "dovecot-imapd", "python3")
	dir, _, _ := newDovecot(t, "")
	script := file(t, filepath.Join(dir, "hostile.py"), "", 0o644)
	dir, port, policy := newDovecot(t, `
  login:
    extends: python
    command: [/usr/bin/python3, `+script+`]
    files: {read: [`+script+`]}
`)
	file(t, script, hostile([][2]string{
		{"speak to auth", `connect("` + dir + `/run/auth-client")`},
		{"read the passwords", `lambda: open("` + dir + `/users").read()`},
		{"see the mail", `lambda: os.listdir("` + dir + `/mail")`},
		{"write mail", `lambda: open("` + dir + `/mail/x", "w")`},
		{"speak as a session to auth", `connect("` + dir + `/run/auth-master")`},
		{"ask auth about users", `connect("` + dir + `/run/auth-userdb")`},
		{"steer the daemon", `connect("` + dir + `/run/doveadm-server")`},
		{"write as the log", `connect("` + dir + `/run/log-errors")`},
		{"become mail", `lambda: os.setuid(8)`},
		{"connect outside", `lambda: socket.create_connection(("127.0.0.1", ` + port + `))`},
		{"execute imap", `lambda: os.execv("/usr/lib/dovecot/imap", ["imap"])`},
	}), 0o644)
	a := startPolicy(t, policy, "master")
	a.takenOver("speak to auth", func() {
		if connection, err := net.DialTimeout("tcp", "127.0.0.1:"+port, time.Second); err == nil {
			connection.Close()
		}
	})
	a.stop()
}
