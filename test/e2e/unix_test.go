package e2e

import (
	"os"
	"testing"
)

// A daemon that nobody changed removes the unix socket of its last run, binds
// from its working directory, and sets the mode: it finds the granted socket,
// which stays. It looks for interfaces, and in a network of its own with a
// loopback there is one, on which nobody is.
func TestUnixSocketOfADaemon(t *testing.T) {
	const python = "/usr/bin/python3"
	if _, err := os.Stat(python); err != nil {
		t.Skipf("there is no %s here: the virtual machine brings only busybox", python)
	}
	a := New(t, "unix-daemon")
	a.File("daemon.py", a.fill(`
import errno, os, socket
os.chdir("{{DIR}}/queue")
for name in ("public/mail", "{{DIR}}/queue/./public/mail"):
    os.unlink(name)
try:
    os.unlink("public/other")
except OSError as e:
    print("another:", errno.errorcode[e.errno], flush=True)
s = socket.socket(socket.AF_UNIX)
s.bind("public/mail")
os.chmod("public/mail", 0o666)
os.chown("public/mail", 0, 0)
s.listen()
print("interfaces:", [name for _, name in socket.if_nameindex()], flush=True)
n = socket.socket(socket.AF_INET)
try:
    n.connect(("127.0.0.1", {{PORT}}))
except OSError as e:
    print("connect:", errno.errorcode[e.errno], flush=True)
client, _ = s.accept()
print("asked:", client.recv(100).decode(), flush=True)
`))
	a.File("client.py", a.fill(`
import os, socket, time
os.chdir("{{DIR}}/queue")
s = socket.socket(socket.AF_UNIX)
s.connect("public/mail")
s.send(b"hello")
time.sleep(1000)
`))
	if err := os.MkdirAll(a.Dir+"/queue/public", 0o755); err != nil {
		t.Fatal(err)
	}
	a.Write(`
application: {{NAME}}
grants:
  mail: {listen: "unix:{{DIR}}/queue/public/mail", mode: 0600}
  to-mail: {connect: "unix:{{DIR}}/queue/public/mail"}
components:
  daemon:
    extends: python
    command: [/usr/bin/python3, "{{DIR}}/daemon.py"]
    network: loopback
    grants: [mail: {at-start: false}]
    syscalls: ["@netlink-route", "@file-system", chown]
    files: {read: ["{{DIR}}/daemon.py", "{{DIR}}/queue"]}
    restart: never
  client:
    extends: python
    command: [/usr/bin/python3, "{{DIR}}/client.py"]
    grants: [to-mail]
    files: {read: ["{{DIR}}/client.py", "{{DIR}}/queue"]}
    after: daemon
`).Run()
	a.Expect(a.Out, "asked: hello")
	expectLines(t, a.Lines("daemon"), "another: EROFS", "interfaces: ['lo']", "connect: EACCES", "asked: hello")
	a.Stop()
}
