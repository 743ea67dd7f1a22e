package e2e

import (
	"os/exec"
	"strings"
	"testing"
)

// Root as many containers have it: without a capability that the plan takes.
// The start ends before anything is made, with what is missing and what asks
// for it.
func TestLimitedRoot(t *testing.T) {
	for _, c := range []struct{ without, more, of, message string }{
		{"sys_admin", ``, ``, `CAP_SYS_ADMIN: makes namespaces and mounts \(every component\)`},
		{"setpcap", ``, ``, `CAP_SETPCAP: takes capabilities from the monitor for good \(every component\)`},
		{"chown", ``, ``, `CAP_CHOWN: gives its root to its users \(every component\)`},
		{"dac_override", ``, ``, `CAP_DAC_OVERRIDE: makes what is in that root \(every component\)`},
		{"sys_chroot", ``, ``, `CAP_SYS_CHROOT: enters its mount namespace \(every component\)`},
		{"sys_ptrace", ``, ``, `CAP_SYS_PTRACE: finds its mount namespace \(every component\)`},
		{"setuid", ``, ``, `CAP_SETUID: maps the users of a compartment \(every component\)`},
		{"setgid", ``, ``, `CAP_SETGID: maps its groups \(every component\)`},
		{"setfcap", ``, `user: root`, `CAP_SETFCAP: maps the host's root into a compartment .*policy.yaml:4:3: component "web"\)`},
		{"net_bind_service", `door: {listen: "tcp:127.0.0.1:7"}`, `grants: [door]`, `CAP_NET_BIND_SERVICE: listens on port 7 \(.*policy.yaml:2:10: grant "door"\)`},
		{"dac_read_search", `file: {file: "{{DIR}}/policy.yaml"}`, `grants: [file]`, `CAP_DAC_READ_SEARCH: for the monitor, who opens granted files .*policy.yaml:2:10: grant "file"\)`},
		{"net_bind_service", ``, ``, ``},
		{"setfcap", ``, ``, ``},
		{"dac_read_search", ``, ``, ``},
	} {
		t.Run(c.without+" "+c.more+c.of, func(t *testing.T) {
			a := New(t, "limited").Write(`application: {{NAME}}
grants: {` + c.more + `}
components:
  web: {command: [{{BUSYBOX}}, "true"], restart: never, ` + c.of + `}
`)
			a.command = exec.Command("setpriv", "--bounding-set=-"+c.without, a.site.Sandbox, "run", a.Policy)
			a.start()
			if c.message == "" {
				a.ExpectStatus(0)
				return
			}
			expectMistake(t, a, 125, "sandbox: start the application as this root, which lacks capabilities that it takes:\nsandbox:   "+c.message)
		})
	}
}

// A weight of disk access is the kernel's, or there is no start; optional, it may be
// missing, and inspect says so.
func TestDiskWeight(t *testing.T) {
	const policy = `
application: {{NAME}}
components:
  web: {command: [{{BUSYBOX}}, sleep, "1000"], limits: {io-weight: 50}OPTIONAL}
`
	a := New(t, "disk-weight").Write(strings.Replace(policy, "OPTIONAL", "", 1)).Run()
	a.eventually("it is up, or has given up", func() bool {
		return !a.running() || strings.Contains(a.Err.String(), ": up after")
	})
	weighs := a.running()
	if weighs {
		b, err := exec.Command(a.site.Sandbox, "inspect", "--verify", a.Name).CombinedOutput()
		if err != nil {
			t.Errorf("the weight is not what the kernel has: %v\n%s", err, b)
		}
		a.Stop()
	} else {
		a.ExpectStatus(125)
		if said := a.Err.String(); !strings.Contains(said, ":4:3: component \"web\": limits.io-weight needs ") ||
			!strings.Contains(said, "or write optional: [io]") {
			t.Errorf("it says %q", said)
		}
		a.ExpectNothingLeft(0)
	}
	a = New(t, "disk-weight-optional").Write(strings.Replace(policy, "OPTIONAL", ", optional: [io]", 1)).Run().Ready()
	b, err := exec.Command(a.site.Sandbox, "inspect", a.Name, "web").CombinedOutput()
	if want := map[bool]string{true: ", disk weight 50", false: ", disk weight none"}[weighs]; err != nil || !strings.Contains(string(b), want) {
		t.Errorf("%q is not in, %v:\n%s", want, err, b)
	}
	a.Stop()
}
