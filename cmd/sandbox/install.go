package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"bulkhead/broker/launch"
	"bulkhead/policy/plan"
)

// unitMark is the first line of what install writes: it replaces no other file.
const unitMark = "# Made by sandbox install from "

func installCommand() *cobra.Command {
	var directory string
	var sockets, print bool
	c := &cobra.Command{
		Use: "install FILE", GroupID: "run",
		Short: "Write a systemd unit that runs a policy file",
		Long: `install writes sandbox-APPLICATION.service, a unit of Type=notify with a cgroup of
its own that is delegated to the broker. With --sockets it also writes a .socket unit
for each listening grant: systemd then holds those sockets, and connections wait while
the application restarts. Doing it again changes nothing.`,
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, arguments []string) error {
			file, err := filepath.Abs(arguments[0])
			if err != nil {
				return err
			}
			_, p, err := compileFile(file, nil)
			if err != nil {
				return err
			}
			programs, err := launch.Find()
			if err != nil {
				return err
			}
			units, err := unitsOf(p, file, programs.Sandbox, sockets)
			if err != nil {
				return err
			}
			if print {
				for _, u := range units {
					fmt.Printf("# %s\n%s\n", filepath.Join(directory, u.name), u.text)
				}
				return nil
			}
			return install(directory, units)
		},
	}
	c.Flags().StringVar(&directory, "directory", "/etc/systemd/system", "where the units go")
	c.Flags().BoolVar(&sockets, "sockets", false, "let systemd hold the listening sockets")
	c.Flags().BoolVar(&print, "print", false, "print the units instead of writing them")
	return c
}

// unitFile is a file for systemd.
type unitFile struct{ name, text string }

// unitsOf writes the units of an application, the service last.
func unitsOf(p *plan.Plan, file, program string, sockets bool) ([]unitFile, error) {
	service := "sandbox-" + p.Application
	var units []unitFile
	var names []string
	for i := range p.Grants {
		g := &p.Grants[i]
		if !sockets || g.Kind != plan.GrantListen {
			continue
		}
		if strings.ContainsAny(g.Address, "\n\x00") {
			return nil, fmt.Errorf("grant %q: the address %q cannot stand in a unit", g.Name, g.Address)
		}
		name := service + "-" + g.Name + ".socket"
		names = append(names, name)
		units = append(units, unitFile{name, socketUnit(p, g, file, service)})
	}
	text := unitMark + file + "\n" + `[Unit]
Description=` + p.Application + ` in compartments
After=network.target
`
	for _, name := range names {
		text += "Requires=" + name + "\nAfter=" + name + "\n"
	}
	// KillMode=mixed: the broker alone hears SIGTERM and stops components in
	// order. Each start is bounded by its own ready-timeout already.
	text += `
[Service]
Type=notify
NotifyAccess=main
ExecStart=` + unitWord(program) + " run " + unitWord(file) + `
ExecReload=` + unitWord(program) + " reload " + unitWord(file) + `
Delegate=yes
KillMode=mixed
TimeoutStartSec=infinity
TimeoutStopSec=` + strconv.Itoa(int((p.StopTime()+stopMargin).Round(time.Second)/time.Second)) + `
Restart=on-failure
RestartSec=1s
`
	for _, name := range names {
		text += "Sockets=" + name + "\n"
	}
	text += `
[Install]
WantedBy=multi-user.target
`
	return append(units, unitFile{service + ".service", text}), nil
}

func socketUnit(p *plan.Plan, g *plan.Grant, file, service string) string {
	address := g.Address
	if ip, err := netip.ParseAddr(g.Address); err == nil {
		address = netip.AddrPortFrom(ip, g.Port).String()
	}
	kind := "ListenStream"
	if g.Network == "udp" || g.Network == "unix-datagram" {
		kind = "ListenDatagram"
	}
	text := unitMark + file + `
[Unit]
Description=` + p.Application + `: ` + g.Name + `

[Socket]
` + kind + "=" + strings.ReplaceAll(address, "%", "%%") + `
FileDescriptorName=` + g.Name + `
Service=` + service + `.service
Backlog=` + strconv.Itoa(g.Backlog) + `
`
	if strings.HasPrefix(g.Network, "unix") {
		text += fmt.Sprintf("SocketMode=%04o\n", g.Mode)
	}
	if strings.HasPrefix(g.Address, "/") {
		text += "RemoveOnStop=yes\n"
	}
	if strings.Contains(address, "]") {
		text += "BindIPv6Only=ipv6-only\n"
	}
	return text + `
[Install]
WantedBy=sockets.target
`
}

// stopMargin is what a stop takes beside the components' own time. The monitor
// gives its supervisor 15 s of that, and then ends everything itself.
const stopMargin = 30 * time.Second

// unitWord quotes an argument for systemd, who reads % and $ too.
func unitWord(word string) string {
	word = strings.NewReplacer("%", "%%", "$", "$$").Replace(word)
	if strings.ContainsAny(word, " \t\"'\\;") {
		word = `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(word) + `"`
	}
	return word
}

// install writes the units, all or none, and says what to do next.
func install(directory string, units []unitFile) error {
	for _, u := range units {
		path := filepath.Join(directory, u.name)
		old, err := os.ReadFile(path)
		if err == nil && !strings.HasPrefix(string(old), unitMark) {
			return fmt.Errorf("%s was not made by sandbox install: remove it first, or choose another --directory", path)
		}
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return notInstalled(path, err)
		}
	}
	var names []string
	for _, u := range units {
		path := filepath.Join(directory, u.name)
		names = append(names, u.name)
		if old, err := os.ReadFile(path); err == nil && string(old) == u.text {
			fmt.Println(path, "is as it should be")
			continue
		}
		// Systemd never reads half a unit.
		if err := replaceFile(path, []byte(u.text), 0o644); err != nil {
			return notInstalled(path, err)
		}
		fmt.Println("wrote", path)
	}
	sort.Strings(names)
	fmt.Printf("next: systemctl daemon-reload && systemctl enable --now %s\n", strings.Join(names, " "))
	return nil
}

// notInstalled is an error of a unit's file. Which file was tried for it first says
// nothing to a person.
func notInstalled(path string, err error) error {
	var tried *fs.PathError
	if errors.As(err, &tried) {
		err = tried.Err
	}
	return fmt.Errorf("write the unit %s: %w; --directory names another place, --print only shows it", path, err)
}
