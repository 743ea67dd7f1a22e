// Command datapath measures the throughput of daemons under Bulkhead beside the same daemons without it: the
// sockets of both are the host's, so there should be no difference.
//
//	go run ./test/bench/datapath [-rounds 15] [-sandbox bin/sandbox] [-only nginx]
//
// Both run for the whole time, with the same configuration, on two ports. In each round both are driven for a
// second, one after the other, and the next round begins with the other one; the ratio is taken in each
// round and the median is printed. Daemons that are not installed are skipped by name.
//
// The bare daemon gets a cgroup for its processor time as deep as the one under Bulkhead, as a service manager would
// give it: on a busy machine what a process gets depends on its group, and that would be measured instead.
package main

import (
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"bulkhead/sandbox/cgroup"
)

func main() {
	rounds := flag.Int("rounds", 15, "rounds")
	sandbox := flag.String("sandbox", "bin/sandbox", "bin/sandbox")
	only := flag.String("only", "", "only this daemon")
	flag.Parse()
	if err := run(*rounds, *sandbox, *only); err != nil {
		fmt.Fprintln(os.Stderr, "datapath:", err)
		os.Exit(1)
	}
}

// daemon is a daemon of Debian's with its profile.
type daemon struct {
	name    string
	needs   []string // programs
	user    string   // without Bulkhead; "" is root, who gives up its rights itself
	prepare func(dir, port string) (bare, settings []string, err error)
	drive   func(port string) (float64, error) // operations in a second
}

var daemons = []daemon{
	{"nginx", []string{"/usr/sbin/nginx", "wrk"}, "", prepareNginx, driveNginx},
	{"redis", []string{"redis-server", "redis-benchmark"}, "redis", prepareRedis, driveRedis},
	{"memcached", []string{"memcached"}, "memcache", prepareMemcached, driveMemcached},
	{"unbound", []string{"/usr/sbin/unbound", "dnsperf"}, "unbound", prepareUnbound, driveUnbound},
	{"postgresql", []string{postgres + "initdb", "pgbench"}, "postgres", preparePostgreSQL, drivePostgreSQL},
	{"postfix", []string{"postfix"}, "", preparePostfix, drivePostfix}, // mails a second
}

func run(rounds int, sandbox, only string) error {
	if os.Geteuid() != 0 {
		return errors.New("the daemons' own users and cgroups take root")
	}
	dir, err := os.MkdirTemp("/var/tmp", "bench-datapath-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o755); err != nil {
		return err
	}
	fmt.Printf("%-12s %14s %14s %8s %8s %8s\n", "", "bare, 1/s", "Bulkhead, 1/s", "ratio", "least", "most")
	var failed error
	for _, d := range daemons {
		if only != "" && only != d.name {
			continue
		}
		if missing := d.missing(); missing != "" {
			fmt.Printf("%-12s skipped, because %s is not installed\n", d.name, missing)
			continue
		}
		if err := d.measure(dir, sandbox, rounds); err != nil {
			failed = errors.Join(failed, fmt.Errorf("%s: %w", d.name, err))
		}
	}
	return failed
}

func (d *daemon) missing() string {
	for _, program := range d.needs {
		if _, err := exec.LookPath(program); err != nil {
			return program
		}
	}
	return ""
}

func (d *daemon) measure(dir, sandbox string, rounds int) error {
	ports := [2]string{freePort(), freePort()}
	for i, port := range ports {
		place := filepath.Join(dir, fmt.Sprintf("%s-%d", d.name, i))
		if err := os.Mkdir(place, 0o755); err != nil {
			return err
		}
		bare, settings, err := d.prepare(place, port)
		if err != nil {
			return err
		}
		command := exec.Command(bare[0], bare[1:]...)
		if i == 0 {
			group, remove, err := processorGroup(d.name)
			if err != nil {
				return err
			}
			defer remove()
			if d.user != "" {
				bare = slices.Concat([]string{"setpriv", "--reuid", d.user, "--regid", d.user, "--init-groups"}, bare)
			}
			command = exec.Command("sh", slices.Concat([]string{"-c", `echo $$ >"$0/cgroup.procs" && exec "$@"`, group}, bare)...)
		}
		if i == 1 {
			command = exec.Command(sandbox, "run", "profiles/"+d.name+".yaml", "--set", "application=bench-"+d.name)
			for _, s := range settings {
				if !strings.HasPrefix(s, "components.") {
					s = "variables." + s
				}
				command.Args = append(command.Args, "--set", s)
			}
		}
		stop, err := serve(command, port)
		if err != nil {
			return err
		}
		defer stop()
	}
	var speeds [2][]float64
	var ratios []float64
	for round := range rounds + 1 {
		var now [2]float64
		for turn := range 2 {
			which := (round + turn) % 2
			speed, err := d.drive(ports[which])
			if err != nil {
				return err
			}
			now[which] = speed
		}
		if round == 0 {
			continue // warming up
		}
		for which := range 2 {
			speeds[which] = append(speeds[which], now[which])
		}
		ratios = append(ratios, now[1]/now[0])
	}
	slices.Sort(ratios)
	fmt.Printf("%-12s %14.0f %14.0f %8.3f %8.3f %8.3f\n", d.name, median(speeds[0]), median(speeds[1]), median(ratios), ratios[0], ratios[len(ratios)-1])
	return nil
}

// processorGroup makes a group beside those of applications and two groups in it.
func processorGroup(name string) (leaf string, remove func(), err error) {
	h, err := cgroup.Find()
	if err != nil {
		return "", nil, err
	}
	mount := h.Controllers["cpu"]
	if h.Unified != "" {
		mount = h.Unified
	}
	top := filepath.Join(mount, cgroup.Root, "bench-bare-"+name)
	leaf = filepath.Join(top, name, "init")
	remove = func() {
		for _, group := range []string{leaf, filepath.Dir(leaf), top, filepath.Dir(top)} {
			// The last one only when no application runs. What a daemon has
			// started may end a little later than itself.
			for begun := time.Now(); syscall.Rmdir(group) == syscall.EBUSY && group == leaf && time.Since(begun) < 2*time.Second; {
				time.Sleep(10 * time.Millisecond)
			}
		}
	}
	return leaf, remove, os.MkdirAll(leaf, 0o755)
}

// serve starts a daemon and waits until it accepts connections.
func serve(command *exec.Cmd, port string) (stop func(), err error) {
	var log strings.Builder
	command.Stdout, command.Stderr = &log, &log
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := command.Start(); err != nil {
		return nil, err
	}
	ended := make(chan error, 1)
	go func() { ended <- command.Wait() }()
	stop = func() {
		command.Process.Signal(syscall.SIGTERM)
		select {
		case <-ended:
		case <-time.After(20 * time.Second):
			command.Process.Kill()
			<-ended
		}
	}
	for begun := time.Now(); time.Since(begun) < 20*time.Second; time.Sleep(20 * time.Millisecond) {
		select {
		case err := <-ended:
			return nil, fmt.Errorf("%s ended: %w: %s", command.Args[0], err, log.String())
		default:
		}
		if c, err := net.Dial("tcp", "127.0.0.1:"+port); err == nil {
			c.Close()
			return stop, nil
		}
	}
	stop()
	return nil, fmt.Errorf("%s does not listen: %s", command.Args[0], log.String())
}

func median(all []float64) float64 {
	all = slices.Clone(all)
	slices.Sort(all)
	return all[len(all)/2]
}

func freePort() string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "0"
	}
	defer l.Close()
	return strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
}

// output runs a program for a minute at most and finds a number in what it
// prints.
func output(number, name string, arguments ...string) (float64, error) {
	out, err := exec.Command("timeout", append([]string{"60", name}, arguments...)...).CombinedOutput()
	if err != nil {
		return 0, fmt.Errorf("%s: %w: %s", name, err, out)
	}
	found := regexp.MustCompile(number).FindSubmatch(out)
	if found == nil {
		return 0, fmt.Errorf("%s said nothing of its speed: %s", name, out)
	}
	return strconv.ParseFloat(string(found[1]), 64)
}

func own(path, user string) error {
	return exec.Command("chown", user+":", path).Run()
}

func prepareNginx(dir, port string) (bare, settings []string, err error) {
	configuration := `
user www-data;
pid ` + dir + `/logs/nginx.pid;
worker_processes 2;
events { worker_connections 512; }
http {
	access_log off;
	server { listen 127.0.0.1:` + port + `; root ` + dir + `; }
}
`
	logs := filepath.Join(dir, "logs")
	err = errors.Join(os.Mkdir(logs, 0o755), own(logs, "www-data"),
		os.WriteFile(filepath.Join(dir, "nginx.conf"), []byte(configuration), 0o644),
		os.WriteFile(filepath.Join(dir, "page"), make([]byte, 1024), 0o644))
	bare = []string{"/usr/sbin/nginx", "-c", dir + "/nginx.conf", "-e", "stderr", "-g", "daemon off;"}
	return bare, []string{"port=" + port, "configuration=" + dir, "root=" + dir, "logs=" + logs}, err
}

func driveNginx(port string) (float64, error) {
	return output(`Requests/sec: +([0-9.]+)`, "wrk", "-t", "1", "-c", "16", "-d", "1s", "http://127.0.0.1:"+port+"/page")
}

func prepareRedis(dir, port string) (bare, settings []string, err error) {
	configuration := filepath.Join(dir, "redis.conf")
	err = errors.Join(os.WriteFile(configuration, []byte("save \"\"\ndir "+dir+"\n"), 0o644), own(dir, "redis"))
	bare = []string{"redis-server", configuration, "--bind", "127.0.0.1", "--port", port}
	return bare, []string{"port=" + port, "configuration=" + dir, "state=" + dir}, err
}

func driveRedis(port string) (float64, error) {
	return output(`GET: ([0-9.]+) requests per second, p50=[0-9.]+ msec *\n`, "redis-benchmark", "-p", port, "-q", "-c", "16", "-n", "40000", "-t", "get")
}

func prepareMemcached(_, port string) (bare, settings []string, err error) {
	return []string{"memcached", "-l", "127.0.0.1", "-p", port, "-U", "0", "-m", "64"}, []string{"port=" + port}, nil
}

// prepareUnbound has one record: every answer is a datagram to an address that
// sendmsg names.
func prepareUnbound(place, port string) (bare, settings []string, err error) {
	record := "server:\n local-zone: \"ship.test.\" static\n local-data: \"ship.test. A 192.0.2.1\"\n"
	alone := record + fmt.Sprintf(" port: %s\n use-syslog: no\n chroot: \"\"\n username: \"\"\n pidfile: \"\"\n directory: %q\nremote-control:\n control-enable: no\n", port, place)
	state := filepath.Join(place, "state")
	for name, text := range map[string]string{"unbound.conf": record, "alone.conf": alone} {
		if err := os.WriteFile(filepath.Join(place, name), []byte(text), 0o644); err != nil {
			return nil, nil, err
		}
	}
	if err := os.Mkdir(state, 0o777); err != nil {
		return nil, nil, err
	}
	bare = []string{"/usr/sbin/unbound", "-d", "-p", "-c", filepath.Join(place, "alone.conf")}
	return bare, []string{"port=" + port, "upstream-port=" + freePort(), "configuration=" + place, "state=" + state}, nil
}

var questionsASecond = regexp.MustCompile(`Queries per second:\s+([0-9.]+)`)

func driveUnbound(port string) (float64, error) {
	command := exec.Command("dnsperf", "-s", "127.0.0.1", "-p", port, "-l", "1", "-q", "50")
	command.Stdin = strings.NewReader(strings.Repeat("ship.test A\n", 200000))
	out, err := command.CombinedOutput()
	found := questionsASecond.FindSubmatch(out)
	if err != nil || found == nil {
		return 0, fmt.Errorf("dnsperf: %v: %s", err, out)
	}
	return strconv.ParseFloat(string(found[1]), 64)
}

// driveMemcached asks for one item again and again, on several connections:
// Debian has no program that does.
func driveMemcached(port string) (float64, error) {
	const connections, duration = 8, time.Second
	type result struct {
		count int
		err   error
	}
	results := make(chan result, connections)
	until := time.Now().Add(duration)
	for range connections {
		go func() {
			n, err := getAgain(port, until)
			results <- result{n, err}
		}()
	}
	sum := 0
	for range connections {
		r := <-results
		if r.err != nil {
			return 0, r.err
		}
		sum += r.count
	}
	return float64(sum) / duration.Seconds(), nil
}

func getAgain(port string, until time.Time) (int, error) {
	c, err := net.Dial("tcp", "127.0.0.1:"+port)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	c.SetDeadline(until.Add(10 * time.Second))
	buffer := make([]byte, 4096)
	ask := func(request, end string) error {
		if _, err := c.Write([]byte(request)); err != nil {
			return err
		}
		for n := 0; !strings.HasSuffix(string(buffer[:n]), end); {
			more, err := c.Read(buffer[n:])
			if err != nil {
				return err
			}
			n += more
		}
		return nil
	}
	value := strings.Repeat("x", 100)
	if err := ask("set key 0 0 100\r\n"+value+"\r\n", "STORED\r\n"); err != nil {
		return 0, err
	}
	count := 0
	for ; time.Now().Before(until); count++ {
		if err := ask("get key\r\n", "END\r\n"); err != nil {
			return 0, err
		}
	}
	return count, nil
}

const postgres = "/usr/lib/postgresql/15/bin/"

func preparePostgreSQL(dir, port string) (bare, settings []string, err error) {
	if err := own(dir, "postgres"); err != nil {
		return nil, nil, err
	}
	data := filepath.Join(dir, "data")
	out, err := exec.Command("setpriv", "--reuid", "postgres", "--regid", "postgres", "--init-groups", postgres+"initdb",
		"--no-sync", "-A", "trust", "-U", "postgres", "--locale", "C.UTF-8", "-D", data).CombinedOutput()
	if err != nil {
		return nil, nil, fmt.Errorf("initdb: %w: %s", err, out)
	}
	bare = []string{postgres + "postgres", "-D", data, "-c", "listen_addresses=127.0.0.1", "-c", "port=" + port,
		"-c", "unix_socket_directories=", "-c", "ssl=off"}
	return bare, []string{"port=" + port, "configuration=" + data, "state=" + data}, nil
}

func drivePostgreSQL(port string) (float64, error) {
	client := []string{"-h", "127.0.0.1", "-p", port, "-U", "postgres"}
	// The tables are made once; a second time would be an error, which is the sign that they are there.
	if exec.Command("psql", slices.Concat(client, []string{"-X", "-c", "select 1 from pgbench_accounts limit 1"})...).Run() != nil {
		if out, err := exec.Command("pgbench", slices.Concat(client, []string{"-q", "-i", "-s", "1", "postgres"})...).CombinedOutput(); err != nil {
			return 0, fmt.Errorf("make the tables: %w: %s", err, out)
		}
	}
	return output(`tps = ([0-9.]+)`, "pgbench", slices.Concat(client, []string{"-n", "-S", "-c", "4", "-j", "1", "-T", "1", "postgres"})...)
}
