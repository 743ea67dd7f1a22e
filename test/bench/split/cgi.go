package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

const configuration = `
server.modules = ("mod_alias", "mod_cgi")
server.bind = "127.0.0.1"
server.port = %[2]s
server.document-root = "%[1]s"
server.errorlog = "%[1]s/bare.log"
alias.url = ("/cgi-bin/" => "%[1]s/programs/")
cgi.assign = ("" => "")
`

// requests asks two servers in turn for the same CGI program.
func requests(directory string, rounds int) error {
	for _, name := range []string{"programs", "logs"} {
		if err := os.Mkdir(filepath.Join(directory, name), 0o755); err != nil {
			return err
		}
	}
	if err := compile(directory, "programs/hello"); err != nil {
		return err
	}
	if out, err := exec.Command("chown", "www-data", filepath.Join(directory, "logs")).CombinedOutput(); err != nil {
		return fmt.Errorf("give the logs away: %w: %s", err, out)
	}
	var ports [2]string
	for i := range ports {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		_, ports[i], _ = net.SplitHostPort(l.Addr().String())
		l.Close()
	}
	file := filepath.Join(directory, "bare.conf")
	if err := os.WriteFile(file, fmt.Appendf(nil, configuration, directory, ports[0]), 0o644); err != nil {
		return err
	}
	for _, command := range []*exec.Cmd{
		exec.Command("/usr/sbin/lighttpd", "-D", "-f", file),
		exec.Command("bin/sandbox", "run", "profiles/lighttpd-cgi.yaml", "--set", "application=bench-split-cgi",
			"--set", "variables.port="+ports[1], "--set", "variables.root="+directory, "--set", "variables.programs="+directory+"/programs",
			"--set", "variables.logs="+directory+"/logs"),
	} {
		command.Stderr = os.Stderr
		if err := command.Start(); err != nil {
			return err
		}
		defer command.Wait()
		defer command.Process.Signal(os.Interrupt)
	}
	took := [2][]time.Duration{}
	for i := range rounds + 1 {
		for which, port := range ports {
			from := time.Now()
			if err := get("http://127.0.0.1:"+port+"/cgi-bin/hello", i == 0); err != nil {
				return err
			}
			if i > 0 {
				took[which] = append(took[which], time.Since(from))
			}
		}
	}
	report(took[0], took[1])
	return nil
}

// get asks for a page; the first time the server may not be up yet.
func get(url string, patient bool) error {
	for tries := 0; ; tries++ {
		answer, err := http.Get(url)
		if err != nil {
			if patient && tries < 100 {
				time.Sleep(50 * time.Millisecond)
				continue
			}
			return err
		}
		body, err := io.ReadAll(answer.Body)
		answer.Body.Close()
		if err != nil || answer.StatusCode != http.StatusOK || string(body) != "hello\n" {
			return fmt.Errorf("%s: %s: %q, %v", url, answer.Status, body, err)
		}
		return nil
	}
}
