package life

import (
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// store is a program written for sd_notify(3): it takes the descriptors that
// were stored for it, or makes one and stores it, and counts in it.
const store = `
import array, os, socket, sys, time
def notify(text, fds=()):
    s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    s.connect(os.environ["NOTIFY_SOCKET"])
    s.sendmsg([text.encode()], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else [])
names = os.environ.get("LISTEN_FDNAMES", "").split(":")
if "counter" in names:
    fd = 3 + names.index("counter")
else:
    fd = os.memfd_create("counter")
    notify("FDSTORE=1\nFDNAME=counter", [fd])
count = int(os.pread(fd, 20, 0) or b"0") + 1
os.pwrite(fd, b"%d" % count, 0)
if os.path.exists(os.path.dirname(sys.argv[0]) + "/forget"):
    notify("FDSTOREREMOVE=1\nFDNAME=counter")
notify("STATUS=start %d\nREADY=1" % count)
time.sleep(1000)
`

const storing = `application: {{NAME}}
components:
  web:
    command: [/usr/bin/python3, "{{DIR}}/web.py"]
    extends: python
    ready: notify
    restart-delay: 10ms
    restart-delay-maximum: 10ms
    files: {read: ["{{DIR}}"]}
    user: root
`

// TestStoredDescriptors: what a worker stored comes back to the next one after
// a crash, after a restart, after a stop and a start, and when its compartment
// was lost; and it is gone when the worker says so.
func TestStoredDescriptors(t *testing.T) {
	a := New(t, "store")
	a.File("web.py", store)
	a.Run(storing).Expect("up after")
	says := func(text string) {
		t.Helper()
		a.Until("it says "+text, func() bool { c := a.component("web"); return c.Says == text && c.State.Up() })
	}
	ctl := func(verb string) {
		t.Helper()
		if said := a.Sandbox("ctl", verb, a.Name, "web"); said != "" {
			t.Errorf("%s: %s", verb, said)
		}
	}
	says("start 1")
	a.Kill(a.pidOf("web"))
	says("start 2")
	ctl("restart")
	says("start 3")
	ctl("stop")
	ctl("start")
	says("start 4")
	a.Kill(a.initOf("web"))
	says("start 5")
	a.File("forget", "")
	ctl("restart")
	says("start 6")
	a.Remove("forget")
	ctl("restart")
	says("start 1")
}

// TestStoredOnce: a program that stores what it has each time it starts, as systemd
// lets it, fills no store: it gets one of each back.
func TestStoredOnce(t *testing.T) {
	a := New(t, "once")
	a.File("web.py", strings.Replace(store, "count = int(", `notify("FDSTORE=1\nFDNAME=counter", [fd, os.dup(fd)])
open(os.path.dirname(sys.argv[0]) + "/names", "w").write(os.environ.get("LISTEN_FDNAMES", ""))
count = int(`, 1))
	a.Run(strings.Replace(storing, "files: {read:", "files: {write:", 1)).Expect("up after")
	for range 3 {
		if said := a.Sandbox("ctl", "restart", a.Name, "web"); said != "" {
			t.Fatal(said)
		}
	}
	if names := a.Read("names"); names != "counter" {
		t.Errorf("after three restarts it gets %q", names)
	}
	if says := a.component("web").Says; says != "start 4" {
		t.Errorf("it says %q", says)
	}
}

// TestStoreTakesMemory: what is stored counts against the component's memory, and
// when it leaves too little for another worker that is said.
func TestStoreTakesMemory(t *testing.T) {
	a := New(t, "hoard")
	a.File("web.py", strings.Replace(strings.Replace(store, "time.sleep(1000)", "sys.exit(1)", 1), "count = int(", `for n in range(3):
    hoard = os.memfd_create("hoard")
    for m in range(16): os.write(hoard, bytes(1 << 20))
    notify("FDSTORE=1\nFDNAME=hoard", [hoard])
    os.close(hoard)
count = int(`, 1))
	a.Run(strings.ReplaceAll(storing, "user: root", "user: root\n    limits: {memory: 64M}"))
	a.Expect("component web: memory limit of 64M reached: this worker used ")
	a.Expect("descriptors that its component has stored keep ")
	a.Expect("(FDSTOREREMOVE=1), or sandbox down and another start does")
}

// TestNotifyFromOthers: a process that is no worker of the component changes
// nothing, root on the host included.
func TestNotifyFromOthers(t *testing.T) {
	a := New(t, "others")
	a.File("web.py", strings.Replace(store, `notify("STATUS=start %d\nREADY=1" % count)`, `
while not os.path.exists(os.path.dirname(sys.argv[0]) + "/go"): time.sleep(0.05)
notify("STATUS=mine\nREADY=1")`, 1))
	a.Run(storing)
	a.Until("it can be asked", func() bool { return strings.Contains(a.Sandbox("status", a.Name), "starting") })
	a.Until("it runs", func() bool { return a.component("web").Running == 1 })
	path := filepath.Join("/run/sandbox", a.Name, "root", "web", "run/notify")
	c, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for range 3 {
		if _, err := c.Write([]byte("STATUS=forged\nREADY=1\nFDSTOREREMOVE=1\nFDNAME=counter")); err != nil {
			t.Fatal(err)
		}
		time.Sleep(100 * time.Millisecond)
		if now := a.component("web"); now.Says != "" || now.State != "starting" {
			t.Fatalf("a stranger's word counts: %s, %q", now.State, now.Says)
		}
	}
	a.File("go", "")
	a.Until("its own word counts", func() bool { c := a.component("web"); return c.Says == "mine" && c.State.Up() })
}
