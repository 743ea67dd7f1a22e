package daemons

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// haproxyService is what an administrator adds to Debian's haproxy.cfg: what
// /version says, and the address of another server. The rest the profile says.
const haproxyService = `
frontend in
	bind "${ADDRESS}:${PORT}"
	http-request return status 200 content-type text/plain string "%s" if { path /version }
	use_backend elsewhere if { path /elsewhere }
	default_backend behind
backend behind
	server one "${BACKEND}"
backend elsewhere
	server other %s
`

func haproxySettings(t *testing.T, behind, elsewhere string) (settings []string, port string, write func(version string)) {
	t.Helper()
	debian, err := os.ReadFile("/etc/haproxy/haproxy.cfg")
	if err != nil {
		t.Fatal(err)
	}
	var base strings.Builder
	for line := range strings.Lines(string(debian)) {
		// What the profile says about these lines.
		if !strings.Contains(line, "stats socket") && !strings.Contains(line, "chroot") {
			base.WriteString(line)
		}
	}
	port = freePort(t)
	configuration := directory(t, "root")
	write = func(version string) {
		replace(t, filepath.Join(configuration, "haproxy.cfg"), base.String()+fmt.Sprintf(haproxyService, version, elsewhere))
	}
	write("first")
	return []string{"variables.port=" + port, "variables.backend=" + behind, "variables.configuration=" + configuration}, port, write
}

func TestHAProxy(t *testing.T) {
	long(t)
	needs(t, "haproxy", "curl")
	server := func(text string) *httptest.Server {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			fmt.Fprintf(w, "%s got %d bytes\n", text, len(body))
		}))
		t.Cleanup(s.Close)
		return s
	}
	behind, elsewhere := server("the server behind"), server("a server that is not granted")
	settings, port, write := haproxySettings(t, behind.Listener.Addr().String(), elsewhere.Listener.Addr().String())
	a := start(t, "haproxy", settings...)
	curl := func(want string, arguments ...string) {
		t.Helper()
		last := len(arguments) - 1
		arguments[last] = "http://127.0.0.1:" + port + arguments[last]
		a.expect(want, "curl", append([]string{"-sS", "--max-time", "20"}, arguments...)...)
	}
	curl("first", "/version")
	curl("the server behind got 0 bytes", "/")
	curl("the server behind got 5 bytes", "-d", "hello", "/")
	// The configuration names a server that the policy does not grant.
	curl("503 Service Unavailable", "/elsewhere")

	master := a.worker().PID
	write("second")
	// haproxy's master executes itself once more when all is loaded, and loses
	// a SIGUSR2 that comes just then, outside of a compartment too.
	a.await("the new configuration", func() error {
		a.reload()
		for range 10 {
			if got, err := command("curl", "-sS", "--max-time", "20", "http://127.0.0.1:"+port+"/version"); err == nil && got == "second" {
				return nil
			}
			time.Sleep(100 * time.Millisecond)
		}
		return errors.New("the old one is still served")
	})
	curl("the server behind got 0 bytes", "/")
	if now := a.worker().PID; now != master {
		t.Errorf("reloading replaced the master %d by %d", master, now)
	}
	other := "connect(...) connect tcp:" + elsewhere.Listener.Addr().String()
	a.denial(other)
	// Debian's lines log go to /dev/log, which is not granted.
	a.denials(other, "socket(AF_UNIX")
	a.stop()
}

func TestHAProxyWalls(t *testing.T) {
	long(t)
	needs(t, "haproxy")
	settings, _, _ := haproxySettings(t, "127.0.0.1:"+freePort(t), "127.0.0.1:"+freePort(t))
	walls(t, "haproxy", settings...)
}
