package daemons

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// rsyslogSettings are for Debian's configuration with the changes that the
// profile asks for, and a socket of the test's own.
func rsyslogSettings(t *testing.T) (settings []string, port, socket, logs string) {
	t.Helper()
	port, logs = freePort(t), directory(t, "daemon")
	place := directory(t, "root")
	socket = filepath.Join(place, "log")
	b, err := os.ReadFile("/etc/rsyslog.conf")
	if err != nil {
		t.Fatal(err)
	}
	for _, change := range []struct{ from, to string }{
		{`(?m)^module\(load="imklog"\).*$`, ``},
		{`(?m)^\$File(Owner|Group) .*$`, ``},
		{`(?m)^\$IncludeConfig .*$`, ``}, // what other packages bring
		{`/var/log/`, logs + "/"},
		{`(?m)^module\(load="imuxsock"\).*$`, `module(load="imuxsock" SysSock.Name="` + socket + `")`},
	} {
		pattern := regexp.MustCompile(change.from)
		if !pattern.Match(b) {
			t.Fatalf("Debian's rsyslog.conf has nothing like %s", change.from)
		}
		b = pattern.ReplaceAllLiteral(b, []byte(change.to))
	}
	return []string{
		"variables.port=" + port, "variables.socket=" + socket, "variables.logs=" + logs,
		"variables.configuration=" + file(t, filepath.Join(place, "rsyslog.conf"), string(b), 0o644),
	}, port, socket, logs
}

func TestRsyslog(t *testing.T) {
	long(t)
	needs(t, "rsyslog", "bsdutils")
	settings, port, socket, logs := rsyslogSettings(t)
	a := start(t, "rsyslog", settings...)
	// Each round sends anew: a message that comes before the daemon has its
	// UDP socket waits there, but one before the socket's file exists is lost.
	written := func(name, text string, arguments ...string) {
		t.Helper()
		a.await("the line in "+name, func() error {
			if _, err := command("logger", arguments...); err != nil {
				return err
			}
			b, err := os.ReadFile(filepath.Join(logs, name))
			if err == nil && !strings.Contains(string(b), text) {
				err = fmt.Errorf("%s does not say %q", name, text)
			}
			return err
		})
	}
	written("user.log", "by the socket", "-u", socket, "-p", "user.info", "by the socket")
	written("auth.log", "by UDP", "-d", "-n", "127.0.0.1", "-P", port, "-p", "auth.info", "by UDP")
	if b, err := os.ReadFile(filepath.Join(logs, "user.log")); err != nil || strings.Contains(string(b), "by UDP") {
		t.Errorf("the lines are not sorted by what they are about: %v: %s", err, b)
	}

	// As logrotate does it: a new file, after SIGHUP.
	if err := os.Rename(filepath.Join(logs, "user.log"), filepath.Join(logs, "user.log.1")); err != nil {
		t.Fatal(err)
	}
	a.reload()
	written("user.log", "after the rotation", "-u", socket, "-p", "user.info", "after the rotation")
	// The name service's cache, and another syslog: it is the one itself.
	a.denials("connect(...) connect unix:/var/run/nscd/socket", "connect(...) connect unix-datagram:/dev/log")
	a.stop()
	if _, err := os.Lstat(socket); err == nil {
		t.Errorf("the socket %s is still there", socket)
	}
}

func TestRsyslogWalls(t *testing.T) {
	long(t)
	needs(t, "rsyslog")
	settings, _, _, _ := rsyslogSettings(t)
	walls(t, "rsyslog", settings...)
}
