package learn

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

var requests = regexp.MustCompile(`Requests/sec:\s+([0-9.]+)`)

// BenchmarkNginx serves a file of 1 KiB bare and observed, one after the other
// and again, and reports how many times slower the second is. Only the ratio
// means anything.
func BenchmarkNginx(b *testing.B) {
	if _, err := exec.LookPath("wrk"); err != nil {
		b.Fatal("wrk is not installed: run make setup-test")
	}
	directory, err := os.MkdirTemp("/srv", "learn-bench-")
	if err != nil {
		b.Fatal(err)
	}
	defer os.RemoveAll(directory)
	file := func(name, content string) string {
		path := filepath.Join(directory, name)
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			b.Fatal(err)
		}
		return path
	}
	if err := os.Chmod(directory, 0o755); err != nil {
		b.Fatal(err)
	}
	file("file", strings.Repeat("x", 1024))
	measure := func(port string, command ...string) float64 {
		configuration := file("nginx-"+port+".conf", "daemon off; worker_processes 1; error_log stderr; pid "+directory+"/"+port+".pid;\nevents {}\n"+
			"http { access_log off; server { listen 127.0.0.1:"+port+"; root "+directory+"; } }\n")
		c := exec.Command(command[0], append(command[1:], "/usr/sbin/nginx", "-e", "stderr", "-c", configuration)...)
		if err := c.Start(); err != nil {
			b.Fatal(err)
		}
		defer c.Wait()
		defer c.Process.Signal(unix.SIGTERM)
		for deadline := time.Now().Add(patience); get(port, "/file", "200 OK") != nil; time.Sleep(10 * time.Millisecond) {
			if time.Now().After(deadline) {
				b.Fatalf("nginx does not serve on port %s", port)
			}
		}
		out, err := exec.Command("wrk", "-t1", "-c16", "-d3s", "http://127.0.0.1:"+port+"/file").Output()
		found := requests.FindSubmatch(out)
		if err != nil || found == nil {
			b.Fatalf("wrk: %v\n%s", err, out)
		}
		rate, _ := strconv.ParseFloat(string(found[1]), 64)
		return rate
	}
	var ratios []float64
	for b.Loop() {
		bare := measure("27910", "/usr/bin/env")
		ratios = append(ratios, bare/measure("27911", "../../bin/sandbox", "learn", "--output", directory+"/"+strconv.Itoa(len(ratios))+".yaml", "--"))
	}
	slices.Sort(ratios)
	b.ReportMetric(ratios[len(ratios)/2], "times-slower")
}
