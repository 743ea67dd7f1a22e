package policy_test

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"bulkhead/policy"
	"bulkhead/policy/hosttest"
	"bulkhead/test/golden"
)

// debian is a host with the packages of a daemon.
func debian() *hosttest.Host {
	h := hosttest.New()
	h.File("/var/lib/dpkg/info/redis-server.list", 0o644, strings.Join([]string{"/.", "/etc", "/etc/default/redis-server", "/etc/redis", "/etc/redis/redis.conf",
		"/etc/logrotate.d/redis-server", "/lib/systemd/system/redis-server.service", "/usr/bin/redis-server", "/usr/share/doc/redis-server", ""}, "\n"))
	h.File("/var/lib/dpkg/info/redis-server-common.list", 0o644, "/var/lib/redis\n/var/log/redis\n/usr/share/redis\n")
	h.File("/var/lib/dpkg/info/other.list", 0o644, "/usr/bin/other\n")
	h.File("/usr/lib/systemd/system/redis-server.service", 0o644, `[Unit]
Description=Advanced key-value store
After=network.target postgresql.service

[Service]
Type=notify
ExecStart=/usr/bin/redis-server /etc/redis/redis.conf --supervised systemd --daemonize no
PIDFile=/run/redis/redis-server.pid
TimeoutStopSec=0
Restart=always
User=redis
Group=redis
RuntimeDirectory=redis
RuntimeDirectoryMode=2755
UMask=007
PrivateTmp=true
LimitNOFILE=65535
PrivateDevices=true
ProtectHome=true
ProtectSystem=strict
ReadWritePaths=-/var/lib/redis
ReadWritePaths=-/var/log/redis
CapabilityBoundingSet=
MemoryDenyWriteExecute=true
NoNewPrivileges=true
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX
SystemCallFilter=@system-service @setuid ~@privileged
Environment="GREETING=a b" MODE=fast
ExecReload=/bin/kill -s HUP $MAINPID
BPFProgram=ingress:/x

[Install]
WantedBy=multi-user.target
`)
	return h
}

func TestInit(t *testing.T) {
	unit, err := os.ReadFile("testdata/init/hard.service")
	if err != nil {
		t.Fatal(err)
	}
	for name, options := range map[string]policy.InitOptions{
		"package": {Program: "/usr/bin/redis-server"},
		"bare":    {Program: "/usr/bin/djpeg", Arguments: []string{"-scale", "1/8", "no", "a: b", "${x}"}},
		"script":  {Program: "/usr/local/bin/tool.py"},
		"unit":    {Unit: string(unit), UnitName: "hard.service"},
	} {
		t.Run(name, func(t *testing.T) {
			var b bytes.Buffer
			if err := policy.Init(&b, options, debian()); err != nil {
				t.Fatal(err)
			}
			golden.Expect(t, "testdata/init/"+name+".golden", b.String())
			// What init writes must be a policy.
			result, err := parsed(t, b.String(), debian())
			if err != nil {
				t.Fatalf("it does not compile:\n%v", err)
			}
			if name == "bare" {
				if got := strings.Join(result.Components[0].Arguments, "|"); got != "/usr/bin/djpeg|-scale|1/8|no|a: b|${x}" {
					t.Errorf("the arguments became %s", got)
				}
			}
		})
	}
}

func TestInitSaysWhatIsMissing(t *testing.T) {
	for name, options := range map[string]policy.InitOptions{
		"no program": {Program: "/usr/bin/nothing"},
		"relative":   {Program: "djpeg"},
		"no start":   {Unit: "[Service]\nUser=redis\n"},
	} {
		var b bytes.Buffer
		if err := policy.Init(&b, options, debian()); err == nil || b.Len() > 0 {
			t.Errorf("%s: %v, %s", name, err, b.String())
		}
	}
}

// TestInitOnThisMachine: a policy for whatever is installed here compiles.
func TestInitOnThisMachine(t *testing.T) {
	for _, program := range []string{"/usr/bin/env", "/usr/bin/redis-server", "/usr/sbin/nginx", "/usr/bin/python3", "/usr/bin/perl"} {
		if _, err := os.Stat(program); err != nil {
			continue // the machine's packages differ; /usr/bin/env is everywhere
		}
		var b bytes.Buffer
		if err := policy.Init(&b, policy.InitOptions{Program: program}, policy.LocalHost()); err != nil {
			t.Errorf("%s: %v", program, err)
			continue
		}
		if _, err := parsed(t, b.String(), policy.LocalHost()); err != nil {
			t.Errorf("%s:\n%s\n%v", program, b.String(), err)
		}
	}
}
