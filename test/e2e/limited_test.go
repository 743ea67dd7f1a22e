package e2e

import (
	"os/exec"
	"testing"
)

// Root as many containers have it: without a capability that building a wall
// needs. The start ends with what could not be done, and leaves nothing.
func TestLimitedRoot(t *testing.T) {
	for _, c := range []struct{ without, message string }{
		{"sys_admin", `sandbox: mount a file system in memory on /run/sandbox/{{NAME}}/root: operation not permitted`},
		{"setpcap", `sandbox: take from the monitor what it does not need: drop capability \d+ from the bounding set: operation not permitted`},
		{"chown", `sandbox: create the compartment of component "web": make its root: give / to the compartment: chown .*: operation not permitted`},
		{"dac_override", `sandbox: create the compartment of component "web": make its root: .*: permission denied`},
		{"sys_chroot", `sandbox: create the compartment of component "web": start its init: .*: operation not permitted`},
		{"sys_ptrace", `sandbox: create the compartment of component "web": start its init: .*: permission denied`},
		// libcontainer looks for newuidmap(1) then, and says no more than that.
		{"setuid", `sandbox: create the compartment of component "web": start its init: .*mapping tool`},
		{"setgid", `sandbox: create the compartment of component "web": start its init: .*mapping tool`},
	} {
		t.Run(c.without, func(t *testing.T) {
			a := New(t, "limited").Write(sleeper)
			a.command = exec.Command("setpriv", "--bounding-set=-"+c.without, a.site.Sandbox, "run", a.Policy)
			a.start()
			expectMistake(t, a, 125, c.message)
		})
	}
}
