package e2e

import (
	"os/exec"
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
