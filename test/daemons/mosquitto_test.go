package daemons

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"bulkhead/test/transcript"
)

// mosquittoSettings are for Debian's configuration with its state elsewhere
// than where the machine's own mosquitto has it.
func mosquittoSettings(t *testing.T) (settings []string, port, configuration, state, logs string) {
	t.Helper()
	debian, err := os.ReadFile("/etc/mosquitto/mosquitto.conf")
	if err != nil {
		t.Fatal(err)
	}
	port, configuration, state, logs = freePort(t), directory(t, "root"), directory(t, "mosquitto"), directory(t, "mosquitto")
	text := strings.NewReplacer("/var/lib/mosquitto/", state+"/", "/var/log/mosquitto/", logs+"/").Replace(string(debian))
	if !strings.Contains(text, state) || !strings.Contains(text, logs) {
		t.Fatalf("Debian's mosquitto.conf does not say where its state and log are: %s", debian)
	}
	replace(t, filepath.Join(configuration, "mosquitto.conf"), text)
	return []string{
		"variables.port=" + port, "variables.configuration=" + configuration,
		"variables.state=" + state, "variables.logs=" + logs,
	}, port, configuration, state, logs
}

func TestMosquitto(t *testing.T) {
	long(t)
	needs(t, "mosquitto", "mosquitto-clients")
	settings, port, configuration, state, logs := mosquittoSettings(t)
	a := start(t, "mosquitto", settings...)

	// A message that is retained waits for whoever subscribes later.
	a.expect("", "mosquitto_pub", "-h", "127.0.0.1", "-p", port, "-t", "sea/level", "-m", "high", "-r")
	a.expect("high", "mosquitto_sub", "-h", "::1", "-p", port, "-t", "sea/#", "-C", "1", "-W", "20")

	// And one goes to a subscriber who is there.
	subscriber := exec.Command("mosquitto_sub", "-h", "127.0.0.1", "-p", port, "-t", "wind", "-C", "1", "-W", "60")
	said := &transcript.Transcript{}
	subscriber.Stdout = said
	if err := subscriber.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- subscriber.Wait() }()
	a.await("the message", func() error {
		if _, err := command("mosquitto_pub", "-h", "127.0.0.1", "-p", port, "-t", "wind", "-m", "west"); err != nil {
			return err
		}
		select {
		case err := <-done:
			return err
		default:
			return os.ErrNotExist
		}
	})
	if got := said.String(); got != "west\n" {
		t.Errorf("the subscriber got %q", got)
	}

	// After a reload it has a list of who may write where.
	b, err := os.ReadFile(filepath.Join(configuration, "mosquitto.conf"))
	if err != nil {
		t.Fatal(err)
	}
	rules := file(t, filepath.Join(configuration, "rules"), "topic read wind\n", 0o644)
	replace(t, filepath.Join(configuration, "mosquitto.conf"), string(b)+"\nacl_file "+rules+"\n")
	before := a.worker().PID
	a.reload()
	a.expect("Not authorized", "mosquitto_pub", "-h", "127.0.0.1", "-p", port, "-V", "mqttv5", "-q", "1", "-t", "wind", "-m", "north")
	if now := a.worker().PID; now != before {
		t.Errorf("reloading replaced the process %d by %d", before, now)
	}
	a.denials()
	a.stop()
	for _, name := range []string{filepath.Join(state, "mosquitto.db"), filepath.Join(logs, "mosquitto.log")} {
		if st, err := os.Stat(name); err != nil || st.Size() == 0 {
			t.Errorf("mosquitto has not written %s: %v", name, err)
		}
	}
}

func TestMosquittoWalls(t *testing.T) {
	long(t)
	needs(t, "mosquitto")
	settings, _, _, _, _ := mosquittoSettings(t)
	walls(t, "mosquitto", settings...)
}
