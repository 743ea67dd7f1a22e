package daemons

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// sshSite is a server with a key of its own and one account, which logs in
// with a key: the user games, with a home directory and a shell here.
func sshSite(t *testing.T) (settings []string, login func(key string, command ...string) *exec.Cmd) {
	t.Helper()
	port, keys, home := freePort(t), directory(t, "root"), directory(t, "games")
	for _, key := range []string{"ssh_host_ed25519_key", "good", "bad"} {
		if out, err := command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", filepath.Join(keys, key)); err != nil {
			t.Fatal(out, err)
		}
	}
	if out, err := command("install", "-D", "-m", "600", "-o", "games", filepath.Join(keys, "good.pub"), filepath.Join(home, ".ssh/authorized_keys")); err != nil {
		t.Fatal(out, err)
	}
	give(t, filepath.Join(home, ".ssh"), "games")
	accounts := fmt.Sprintf(`root:x:0:0::/:/usr/sbin/nologin\nsshd:x:110:65534::/run/sshd:/usr/sbin/nologin\ngames:x:5:60::%s:/bin/dash\n`, home)
	login = func(key string, command ...string) *exec.Cmd {
		return exec.Command("ssh", append([]string{"-F", "none", "-T", "-i", filepath.Join(keys, key), "-p", port, "-o", "BatchMode=yes",
			"-o", "IdentitiesOnly=yes", "-o", "IdentityAgent=none", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null",
			"-o", "LogLevel=ERROR", "-o", "ConnectTimeout=60", "games@127.0.0.1", "--"}, command...)...)
	}
	return []string{
		"variables.port=" + port, "variables.keys=" + keys, "components.session.become=[games]",
		"components.session.files.write=[" + home + "]",
		"components.session.files.execute=[/bin/dash, /usr/bin/id, /usr/bin/cat, /usr/bin/ls]",
		`components.session.files.content={"/etc/passwd": "` + accounts + `", "/etc/group": "root:x:0:\ngames:x:60:\nnogroup:x:65534:\n"}`,
	}, login
}

// Who listens and who serves a connection are two components, and a login with
// a key runs a command as it does anywhere.
func TestSSHD(t *testing.T) {
	long(t)
	needs(t, "openssh-server", "openssh-client")
	settings, login := sshSite(t)
	a := start(t, "sshd", settings...)
	a.component = "sshd"
	a.await("the first login", func() error {
		out, err := login("good", "id -un; id -u").CombinedOutput()
		if err == nil && string(out) != "games\n5\n" {
			err = fmt.Errorf("it said %q", out)
		}
		return err
	})

	out, err := login("good", "exit 7").CombinedOutput()
	if status, ok := err.(*exec.ExitError); !ok || status.ExitCode() != 7 {
		t.Errorf("a command that ends with 7: %v: %s", err, out)
	}
	large := strings.Repeat("a line that goes through\n", 20_000)
	through := login("good", "cat > file; cat file")
	through.Stdin = strings.NewReader(large)
	if out, err := through.Output(); err != nil || string(out) != large {
		t.Errorf("%d bytes came back, %v", len(out), err)
	}
	if out, err := login("bad", "id").CombinedOutput(); err == nil || !strings.Contains(string(out), "Permission denied") {
		t.Errorf("with another key: %v: %s", err, out)
	}
	// It has what its component has: of the host's /etc not even the names.
	if out, err := login("good", "ls /etc; ls /home 2>&1").CombinedOutput(); strings.Contains(string(out), "shadow") || !strings.Contains(string(out), "No such file") {
		t.Errorf("what a login sees: %v: %s", err, out)
	}

	var sessions sync.WaitGroup
	for i := range 8 {
		sessions.Go(func() {
			want := fmt.Sprintf("session %d\n", i)
			if out, err := login("good", "echo session "+fmt.Sprint(i)).CombinedOutput(); err != nil || string(out) != want {
				t.Errorf("%q, %v", out, err)
			}
		})
	}
	sessions.Wait()
	a.denials("setgroups(", "socket(AF_")
	a.stop()
}
