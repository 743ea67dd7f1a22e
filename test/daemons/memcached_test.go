package daemons

import (
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

func TestMemcached(t *testing.T) {
	long(t)
	needs(t, "memcached")
	port := freePort(t)
	a := start(t, "memcached", "variables.port="+port)
	a.await("memcached's answers", func() error {
		got, err := talk("127.0.0.1:"+port, "set greeting 0 0 5\r\nhello\r\nget greeting\r\nincr none 1\r\nversion\r\nquit\r\n")
		const want = "STORED\r\nVALUE greeting 0 5\r\nhello\r\nEND\r\nNOT_FOUND\r\nVERSION 1."
		if err == nil && !strings.HasPrefix(got, want) {
			err = fmt.Errorf("it said %q", got)
		}
		return err
	})
	// What it stored is there for the next connection, another thread's.
	got, err := talk("127.0.0.1:"+port, "get greeting\r\nquit\r\n")
	if want := "VALUE greeting 0 5\r\nhello\r\nEND\r\n"; err != nil || got != want {
		t.Errorf("memcached said %q, %v, not %q", got, err, want)
	}
	a.denials()
	a.stop()
}

// talk sends a text and returns everything that comes back.
func talk(address, text string) (string, error) {
	c, err := net.DialTimeout("tcp", address, patience)
	if err != nil {
		return "", err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(c, text); err != nil {
		return "", err
	}
	b, err := io.ReadAll(c)
	return string(b), err
}

func TestMemcachedWalls(t *testing.T) {
	long(t)
	needs(t, "memcached")
	walls(t, "memcached", "variables.port="+freePort(t))
}
