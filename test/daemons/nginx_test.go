package daemons

import (
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
)

// nginxSite is a configuration as a user would write one for a port of their
// own; it is filled in with the port and what the server says.
const nginxSite = `
pid /run/nginx.pid;
worker_processes 2;
events { worker_connections 512; }
http {
	include /etc/nginx/mime.types;
	access_log off;
	server {
		listen 127.0.0.1:%s;
		root %s;
		location = /version { return 200 "%s\n"; }
	}
}
`

func nginxSettings(t *testing.T) (settings []string, port, configuration, root string) {
	t.Helper()
	port, root = freePort(t), directory(t, "root")
	file(t, filepath.Join(root, "index.html"), "a page from a directory of the host\n", 0o644)
	configuration = directory(t, "root")
	replace(t, filepath.Join(configuration, "nginx.conf"), fmt.Sprintf(nginxSite, port, root, "first"))
	return []string{
		"variables.port=" + port, "variables.configuration=" + configuration, "variables.root=" + root,
		"variables.logs=" + directory(t, "www-data"),
	}, port, configuration, root
}

func TestNginx(t *testing.T) {
	needs(t, "nginx-light", "curl", "wrk")
	settings, port, configuration, root := nginxSettings(t)
	a := start(t, "nginx", settings...)
	url := "http://127.0.0.1:" + port
	curl := func(want, path string) {
		t.Helper()
		a.expect(want, "curl", "-sS", "--max-time", "20", url+path)
	}
	curl("a page from a directory", "/")
	curl("404 Not Found", "/nothing-here")
	curl("first", "/version")

	// A body that is too large for its buffers goes through a file.
	big := file(t, filepath.Join(directory(t, "root"), "body"), strings.Repeat("x", 256<<10), 0o644)
	a.expect("405 Not Allowed", "curl", "-sS", "--max-time", "20", "--data-binary", "@"+big, url+"/index.html")

	got, err := command("wrk", "-d", "2s", "--timeout", "60s", "-c", "16", "-t", "1", url+"/index.html")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(got, "Requests/sec") || strings.Contains(got, "Non-2xx") || strings.Contains(got, "Socket errors") {
		t.Errorf("wrk was not served well: %s", got)
	}

	master := a.worker().PID
	replace(t, filepath.Join(configuration, "nginx.conf"), fmt.Sprintf(nginxSite, port, root, "second"))
	a.reload()
	curl("second", "/version")
	if now := a.worker().PID; now != master {
		t.Errorf("reloading replaced the master %d by %d", master, now)
	}
	a.denials()
	a.stop()
}

// Debian's own configuration, unchanged: every address, port 80, IPv6 too.
func TestNginxAsDebianHasIt(t *testing.T) {
	needs(t, "nginx-light")
	for _, address := range []string{"127.0.0.1:80", "[::1]:80"} {
		l, err := net.Listen("tcp", address)
		if err != nil {
			t.Skipf("Debian's default site needs %s: %v", address, err)
		}
		l.Close()
	}
	a := start(t, "nginx")
	for _, address := range []string{"127.0.0.1", "[::1]"} {
		a.await("Debian's default site at "+address, func() error {
			reply, err := http.Get("http://" + address + "/")
			if err != nil {
				return err
			}
			reply.Body.Close()
			if server := reply.Header.Get("Server"); !strings.HasPrefix(server, "nginx/") || reply.StatusCode != http.StatusOK {
				return fmt.Errorf("%s from %q", reply.Status, server)
			}
			return nil
		})
	}
	a.denials()
	a.stop()
}

func TestNginxWalls(t *testing.T) {
	needs(t, "nginx-light")
	settings, _, _, _ := nginxSettings(t)
	walls(t, "nginx", settings...)
}
