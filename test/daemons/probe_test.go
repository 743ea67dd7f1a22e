package daemons

import (
	"encoding/json"
	"net"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
)

// walls runs the prober in the compartment of a profile's component, in place
// of its daemon.
func walls(t *testing.T, profile string, set ...string) {
	t.Helper()
	probe(t, profile, func(prober string, tries []string) string {
		a := launchProfile(t, profile, append(probing(t, set, profile, prober, tries),
			"components."+profile+".restart=never")...)
		a.end(0)
		return a.output.String()
	})
}

// wallsOfConnections does it for a component that has a worker for each
// connection, which is where the prober's line comes back.
func wallsOfConnections(t *testing.T, profile, address string, set ...string) {
	t.Helper()
	probe(t, profile, func(prober string, tries []string) string {
		a := start(t, profile, probing(t, set, profile, prober, tries)...)
		var said string
		a.await("the prober's line", func() (err error) {
			said, err = talk(address, "")
			return err
		})
		a.stop()
		return said + a.output.String()
	})
}

// probing adds to set what replaces the command of a component.
func probing(t *testing.T, set []string, component, prober string, tries []string) []string {
	t.Helper()
	line, err := json.Marshal(append([]string{prober}, tries...))
	if err != nil {
		t.Fatal(err)
	}
	return append(slices.Clone(set), "components."+component+".command="+string(line),
		"components."+component+".limits.processes=32") // a Go program has more threads than some daemons
}

// asksForRoutes are the profiles with @netlink-route.
var asksForRoutes = map[string]bool{"dnsmasq": true}

// probe has the prober run by run, and reads what it says. Whatever it tries
// must fail; that each try would have succeeded outside is checked first.
func probe(t *testing.T, profile string, run func(prober string, tries []string) string) {
	t.Helper()
	place := directory(t, "root")
	prober := buildProber(t, place)

	neighbour := exec.Command("/bin/sleep", "60")
	if err := neighbour.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		neighbour.Process.Kill()
		neighbour.Wait()
	}()
	pid := strconv.Itoa(neighbour.Process.Pid)

	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	var accepted atomic.Int32
	go func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			accepted.Add(1)
			c.Close()
		}
	}()

	tries := []string{
		"read=/etc/shadow",
		"read=" + file(t, filepath.Join(place, "public"), "everybody may read this\n", 0o644),
		"write=" + filepath.Join(place, "new"),
		"connect=" + listener.Addr().String(),
		"listen=127.0.0.1:" + freePort(t),
		"see=" + pid,
		"signal=" + pid,
		"execute=/bin/sh",
		"netlink=4", // NETLINK_SOCK_DIAG
	}
	if !asksForRoutes[profile] {
		tries = append(tries, "netlink=0") // NETLINK_ROUTE
	}

	outside, err := exec.Command(prober, tries...).Output()
	if err != nil {
		t.Fatalf("run the prober outside: %v", err)
	}
	for try, outcome := range results(t, string(outside)) {
		if outcome != "done" {
			t.Errorf("outside of every compartment, %s: %s: the probe proves nothing", try, outcome)
		}
	}
	if accepted.Load() != 1 {
		t.Errorf("the listener accepted %d connections from outside, not 1", accepted.Load())
	}

	inside := results(t, run(prober, tries))
	for _, try := range tries {
		switch outcome, tried := inside[try]; {
		case !tried:
			t.Errorf("in the compartment of %s, %s was not tried", profile, try)
		case outcome == "done":
			t.Errorf("in the compartment of %s, %s succeeded", profile, try)
		default:
			t.Logf("in the compartment of %s, %s: %s", profile, try, outcome)
		}
	}
	if accepted.Load() != 1 {
		t.Errorf("the compartment of %s reached a listener that is not granted", profile)
	}
}

func buildProber(t *testing.T, place string) string {
	t.Helper()
	prober := filepath.Join(place, "prober")
	build := exec.Command("go", "build", "-o", prober, "./prober")
	build.Env = append(build.Environ(), "CGO_ENABLED=0")
	if b, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the prober: %v: %s", err, b)
	}
	return prober
}

// What a policy opens the prober finds open: it is the walls that stop it, and
// not something that it lacks in a compartment.
func TestProberFindsWhatIsOpen(t *testing.T) {
	needs(t, "redis-server")
	place, written := directory(t, "root"), directory(t, "redis")
	prober := buildProber(t, place)
	public := file(t, filepath.Join(place, "public"), "everybody may read this\n", 0o644)
	granted, port := acceptingAddress(t), freePort(t)
	tries := []string{
		"read=" + public, "write=" + filepath.Join(written, "new"), "connect=" + granted,
		"listen=127.0.0.1:" + port, "execute=/bin/sh", "see=1",
		"netlink=0", "read=/etc/bulkhead/ship",
	}
	settings, _, _ := redisSettings(t)
	settings = append(probing(t, settings, "redis", prober, tries),
		"variables.port="+port, // the later one wins
		"grants.elsewhere.connect=tcp:"+granted, "components.redis.grants=[elsewhere]",
		"components.redis.files.read=["+public+"]", "components.redis.files.write=["+written+"]",
		"components.redis.syscalls=[\"@netlink-route\"]", "components.redis.files.content={/etc/bulkhead/ship: afloat}",
		"components.redis.files.execute=[/bin/sh]", "components.redis.restart=never")
	a := launchProfile(t, "redis", settings...)
	a.end(0)
	inside := results(t, a.output.String())
	for _, try := range tries {
		if inside[try] != "done" {
			t.Errorf("%s: %q, though the policy allows it", try, inside[try])
		}
	}
}

// acceptingAddress is the address of a listener; the kernel accepts for it.
func acceptingAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l.Addr().String()
}

// results finds the prober's line.
func results(t *testing.T, text string) map[string]string {
	t.Helper()
	for line := range strings.Lines(text) {
		_, found, ok := strings.Cut(line, "PROBES ")
		if !ok {
			continue
		}
		var all map[string]string
		if err := json.Unmarshal([]byte(found), &all); err != nil {
			t.Fatalf("the prober's line: %v: %s", err, found)
		}
		return all
	}
	t.Fatalf("the prober said nothing: %s", text)
	return nil
}
