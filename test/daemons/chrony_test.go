package daemons

import (
	"encoding/binary"
	"fmt"
	"net"
	"testing"
	"time"
)

func chronySettings(t *testing.T) (settings []string, port, commandPort string) {
	t.Helper()
	port, commandPort = freePort(t), freePort(t)
	return []string{"variables.port=" + port, "variables.command-port=" + commandPort}, port, commandPort
}

func TestChrony(t *testing.T) {
	long(t)
	needs(t, "chrony")
	settings, port, commandPort := chronySettings(t)
	a := start(t, "chrony", settings...)
	a.await("the time", func() error {
		server, err := askTime("127.0.0.1:" + port)
		if difference := time.Since(server).Abs(); err == nil && difference > time.Minute {
			err = fmt.Errorf("it is %v away", difference)
		}
		return err
	})
	for _, address := range []string{"127.0.0.1", "::1"} {
		a.expect("Stratum         : 10", "chronyc", "-h", address, "-p", commandPort, "tracking")
	}
	// The name service's cache is asked first, whoever looks a user up; and
	// chronyc's other way, which root uses, is not granted.
	a.denials("socket(AF_UNIX")
	a.stop()
}

// askTime asks a time server as a client does (RFC 5905).
func askTime(address string) (time.Time, error) {
	c, err := net.Dial("udp", address)
	if err != nil {
		return time.Time{}, err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(patience / 10)) // a packet that came too early is lost
	packet := make([]byte, 48)
	packet[0] = 4<<3 | 3 // version 4, client
	if _, err := c.Write(packet); err != nil {
		return time.Time{}, err
	}
	n, err := c.Read(packet)
	if err != nil {
		return time.Time{}, err
	}
	if n < 48 || packet[0]&7 != 4 || packet[1] != 10 {
		return time.Time{}, fmt.Errorf("%d bytes, mode %d, stratum %d", n, packet[0]&7, packet[1])
	}
	const from1900 = 2208988800 // seconds to 1970
	return time.Unix(int64(binary.BigEndian.Uint32(packet[40:]))-from1900, 0), nil
}

func TestChronyWalls(t *testing.T) {
	long(t)
	needs(t, "chrony")
	settings, _, _ := chronySettings(t)
	walls(t, "chrony", settings...)
}
