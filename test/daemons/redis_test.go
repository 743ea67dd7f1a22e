package daemons

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// redisSettings are for Debian's configuration with a dump elsewhere than where
// the machine's own Redis has its.
func redisSettings(t *testing.T) (settings []string, port, state string) {
	t.Helper()
	debian, err := os.ReadFile("/etc/redis/redis.conf")
	if err != nil {
		t.Fatal(err)
	}
	port, state = freePort(t), directory(t, "redis")
	const line = "\ndir /var/lib/redis\n"
	if !strings.Contains(string(debian), line) {
		t.Fatalf("Debian's redis.conf has not the line %q", line)
	}
	configuration := directory(t, "redis")
	file(t, filepath.Join(configuration, "redis.conf"), strings.Replace(string(debian), line, "\ndir "+state+"\n", 1), 0o644)
	return []string{"variables.port=" + port, "variables.state=" + state, "variables.configuration=" + configuration}, port, state
}

func TestRedis(t *testing.T) {
	needs(t, "redis-server", "redis-tools")
	settings, port, state := redisSettings(t)
	a := start(t, "redis", settings...)
	cli := func(want string, arguments ...string) {
		t.Helper()
		a.expect(want, "redis-cli", append([]string{"-p", port}, arguments...)...)
	}
	cli("PONG", "ping")
	cli("OK", "set", "greeting", "hello")
	cli("hello", "get", "greeting")

	speed, err := command("redis-benchmark", "-q", "-p", port, "-n", "5000", "-t", "set,get")
	if err != nil {
		t.Fatal(err)
	}
	if strings.Count(speed, "requests per second") != 2 {
		t.Errorf("redis-benchmark did not get through set and get: %s", speed)
	}

	// A child of its own saves, to the directory that the profile grants.
	cli("Background saving started", "bgsave")
	a.await("the dump", func() error {
		_, err := os.Stat(filepath.Join(state, "dump.rdb"))
		return err
	})
	// What it knows of the world outside is what it was granted.
	cli("127.0.0.1", "config", "get", "bind")
	a.denials()
	a.stop()

	// What it saved at its end is there when it starts again.
	a = start(t, "redis", settings...)
	cli("hello", "get", "greeting")
	a.stop()
}

func TestRedisWalls(t *testing.T) {
	needs(t, "redis-server")
	settings, _, _ := redisSettings(t)
	walls(t, "redis", settings...)
}
