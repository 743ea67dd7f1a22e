package life

import (
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"bulkhead/test/loopback"
)

// echoes is a server that answers each connection with its own start's number
// and then with what it is sent, until the client closes; it dies of SIGTERM.
const echoes = `
import os, socket, sys, threading
here = os.path.dirname(sys.argv[0])
with open(here + "/starts", "a") as f: f.write("x")
start = os.path.getsize(here + "/starts")
listener = socket.socket(fileno=3)
def serve(connection):
    with connection:
        connection.sendall(b"start %d\n" % start)
        while True:
            b = connection.recv(4096)
            if not b: return
            connection.sendall(b)
while True:
    connection, _ = listener.accept()
    threading.Thread(target=serve, args=(connection,), daemon=True).start()
`

const onDemand = `application: {{NAME}}
grants: {door: {listen: "ADDRESS"}}
components:
  web:
    start: on-demand
    idle: IDLE
    command: [/usr/bin/python3, "{{DIR}}/echoes.py"]
    extends: python
    grants: [door]
    files: {write: ["{{DIR}}"]}
    user: root
    limits: {processes: 200}
`

func speak(t *testing.T, network, address, text string) (answer string) {
	t.Helper()
	c, err := net.DialTimeout(network, address, Patience)
	if err != nil {
		t.Error(err)
		return ""
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(Patience))
	if _, err := io.WriteString(c, text); err != nil {
		t.Error(err)
	}
	b := make([]byte, 4096)
	n := 0
	for !strings.HasSuffix(string(b[:n]), text) {
		more, err := c.Read(b[n:])
		if n += more; err != nil {
			t.Errorf("a connection was lost: %v after %q", err, b[:n])
			break
		}
	}
	return string(b[:n])
}

// runOnDemand has a component up that starts with the first connection, and says
// where.
func runOnDemand(t *testing.T, name, network, program, idle string) (a *Application, address string) {
	a = New(t, name)
	address = "127.0.0.1:" + loopback.Port(t)
	if network == "unix" {
		address = a.Dir + "/door"
	}
	a.File("echoes.py", program)
	a.Run(strings.NewReplacer("ADDRESS", network+":"+address, "IDLE", idle).Replace(onDemand))
	a.Expect("up after")
	return a, address
}

// TestOnDemand: the first connection starts it, an open one keeps it up, idle
// it is stopped, and the next starts it again; by TCP and by a unix socket.
func TestOnDemand(t *testing.T) {
	for _, network := range []string{"tcp", "unix"} {
		t.Run(network, func(t *testing.T) {
			a, address := runOnDemand(t, "demand-"+network, network, echoes, "1s")
			time.Sleep(300 * time.Millisecond)
			if a.Read("starts") != "" {
				t.Error("it started without a connection")
			}
			open, err := net.Dial(network, address)
			if err != nil {
				t.Fatal(err)
			}
			defer open.Close()
			if answer := speak(t, network, address, "hello\n"); answer != "start 1\nhello\n" {
				t.Errorf("the answer is %q", answer)
			}
			time.Sleep(2500 * time.Millisecond)
			if strings.Contains(a.Said.String(), "stopped:") {
				t.Error("it was stopped although a connection was open")
			}
			open.Close()
			a.Expect("component web: stopped: killed by SIGTERM")
			if status := a.Sandbox("status", a.Name); !strings.Contains(status, "stopped") {
				t.Errorf("status:\n%s", status)
			}
			if answer := speak(t, network, address, "again\n"); answer != "start 2\nagain\n" {
				t.Errorf("the answer is %q", answer)
			}
		})
	}
}

// TestOnDemandStartsSlowly: one that needs longer than its idle time until it
// accepts the connection that started it is not stopped before.
func TestOnDemandStartsSlowly(t *testing.T) {
	for _, network := range []string{"tcp", "unix"} {
		t.Run(network, func(t *testing.T) {
			a, address := runOnDemand(t, "slowly-"+network, network, "import time\ntime.sleep(2)\n"+echoes, "500ms")
			if answer := speak(t, network, address, "hello\n"); answer != "start 1\nhello\n" {
				t.Errorf("the answer is %q", answer)
			}
			a.Expect("component web: stopped: killed by SIGTERM")
			if ready := strings.Count(a.Said.String(), "component web: ready"); ready != 1 {
				t.Errorf("it was started %d times for one connection", ready)
			}
		})
	}
}

// TestOnDemandLosesNothing: clients come without end, just as often as it is
// stopped for being idle; each gets its answer.
func TestOnDemandLosesNothing(t *testing.T) {
	a, address := runOnDemand(t, "lossless", "tcp", echoes, "30ms")
	var clients sync.WaitGroup
	var connections atomic.Int32
	began := time.Now()
	for client := range 3 {
		clients.Go(func() {
			for n := 0; n < 40 && time.Since(began) < Patience; n++ {
				asked := time.Now()
				connections.Add(1)
				speak(t, "tcp", address, fmt.Sprintf("client %d says %d\n", client, n))
				// Where answers take long, it is idle only if pauses do too.
				time.Sleep(time.Duration(50+client*17+n)*time.Millisecond + min(3*time.Since(asked), time.Second))
			}
		})
	}
	clients.Wait()
	if starts := len(a.Read("starts")); starts < 5 {
		t.Errorf("it started only %d times: the test shows nothing", starts)
	} else {
		t.Logf("%d connections, %d starts", connections.Load(), starts)
	}
}
