package learn

import (
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"bulkhead/test/loopback"
)

func TestPython(t *testing.T) {
	x := begin(t, "python3")
	for i := range 3 {
		x.file(fmt.Sprintf("www/%d.html", i), fmt.Sprintf("page %d", i))
	}
	p := loopback.Port(t)
	page := func(r *process, name, want string) { r.await(func() error { return get(p, "/"+name, want) }) }
	x.observing(func(r *process) {
		for i := range 3 {
			page(r, fmt.Sprintf("%d.html", i), fmt.Sprintf("page %d", i))
		}
	}, "/usr/bin/python3", "-m", "http.server", "--bind", "127.0.0.1", "--directory", x.directory+"/www", p)
	x.file("www/later/new.html", "a new page")
	x.learnt()
	x.run("", func(r *process) {
		page(r, "later/new.html", "a new page")
		page(r, "nothing", "404")
	})
}

func TestRedis(t *testing.T) {
	x := begin(t, "redis-server")
	p := loopback.Port(t)
	x.file("state/README", "")
	x.observing(func(r *process) {
		r.await(func() error { return dialogue(p, "SET a 1\r\nGET a\r\n", "$1\r\n1\r\n") })
		r.await(func() error { return dialogue(p, "BGSAVE\r\n", "started") })
		r.await(func() error { return dialogue(p, "INFO persistence\r\n", "rdb_bgsave_in_progress:0") })
	}, "/usr/bin/redis-server", "--bind", "127.0.0.1", "--port", p, "--dir", x.directory+"/state")
	x.learnt()
	x.run("", func(r *process) {
		r.await(func() error { return dialogue(p, "RPUSH l x y z\r\nLRANGE l 0 -1\r\n", "z\r\n") })
		r.await(func() error { return dialogue(p, "EVAL 'return redis.call(\"GET\", \"a\")' 0\r\n", "$1\r\n1\r\n") })
		r.await(func() error { return dialogue(p, "SAVE\r\n", "+OK") })
	})
}

func TestMemcached(t *testing.T) {
	x := begin(t, "memcached")
	p := loopback.Port(t)
	x.observing(func(r *process) {
		r.await(func() error { return dialogue(p, "set a 0 0 1\r\n1\r\nget a\r\n", "VALUE a 0 1\r\n1\r\nEND") })
	}, "/usr/bin/memcached", "-u", "memcache", "-l", "127.0.0.1", "-p", p, "-U", "0")
	x.learnt()
	x.run("", func(r *process) {
		r.await(func() error { return dialogue(p, "set b 0 0 3\r\n100\r\nincr b 11\r\n", "111") })
		r.await(func() error { return dialogue(p, "stats settings\r\n", "END") })
	})
}

func TestNginx(t *testing.T) {
	x := begin(t, "nginx-light")
	p := loopback.Port(t)
	for i := range 3 {
		x.file(fmt.Sprintf("www/%d.html", i), fmt.Sprintf("page %d", i))
	}
	configuration := x.file("etc/nginx.conf", "daemon off; user www-data; worker_processes 1; error_log stderr; pid /run/learn-test-nginx.pid;\nevents {}\n"+
		"http { access_log off; include /etc/nginx/mime.types; server { listen 127.0.0.1:"+p+"; root "+x.directory+"/www; } }\n")
	x.observing(func(r *process) {
		for i := range 3 {
			r.await(func() error { return get(p, fmt.Sprintf("/%d.html", i), fmt.Sprintf("page %d", i)) })
		}
	}, "/usr/sbin/nginx", "-e", "stderr", "-c", configuration)
	x.file("www/later/new.html", "a new page")
	x.file("www/index.html", "the index")
	x.learnt()
	x.run("", func(r *process) {
		r.await(func() error { return get(p, "/later/new.html", "a new page") })
		r.await(func() error { return get(p, "/", "the index") })
		r.await(func() error { return get(p, "/nothing", "404 Not Found") })
	})
}

func TestLighttpd(t *testing.T) {
	x := begin(t, "lighttpd")
	p := loopback.Port(t)
	for i := range 3 {
		x.file(fmt.Sprintf("www/%d.html", i), fmt.Sprintf("page %d", i))
	}
	configuration := x.file("etc/lighttpd.conf", "server.bind = \"127.0.0.1\"\nserver.port = "+p+"\nserver.document-root = \""+x.directory+"/www\"\n"+
		"server.username = \"www-data\"\nserver.groupname = \"www-data\"\nserver.modules = (\"mod_access\", \"mod_dirlisting\")\nmimetype.assign = (\".html\" => \"text/html\")\n")
	x.observing(func(r *process) {
		for i := range 3 {
			r.await(func() error { return get(p, fmt.Sprintf("/%d.html", i), fmt.Sprintf("page %d", i)) })
		}
	}, "/usr/sbin/lighttpd", "-D", "-f", configuration)
	x.file("www/later/new.html", "a new page")
	x.learnt()
	x.run("", func(r *process) {
		r.await(func() error { return get(p, "/later/new.html", "a new page") })
		r.await(func() error { return get(p, "/nothing", "404 Not Found") })
	})
}

func TestDnsmasq(t *testing.T) {
	x := begin(t, "dnsmasq-base", "bind9-dnsutils")
	p := loopback.Port(t)
	hosts := x.file("hosts", "192.0.2.1 one.example\n192.0.2.2 two.example\n2001:db8::3 three.example\n")
	ask := func(r *process, want string, question ...string) {
		r.t.Helper()
		r.await(func() error {
			out, err := exec.Command("dig", append([]string{"@127.0.0.1", "-p", p, "+short", "+tries=1", "+time=2"}, question...)...).Output()
			if err != nil || strings.TrimSpace(string(out)) != want {
				return fmt.Errorf("%v is answered by %q (%v)", question, out, err)
			}
			return nil
		})
	}
	x.observing(func(r *process) {
		ask(r, "192.0.2.1", "one.example")
		ask(r, "192.0.2.1", "+tcp", "one.example")
	}, "/usr/sbin/dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--log-facility=-", "--pid-file", "--listen-address=127.0.0.1",
		"--bind-interfaces", "--port="+p, "--no-resolv", "--no-hosts", "--addn-hosts="+hosts, "--user=dnsmasq")
	x.learnt()
	x.run("", func(r *process) {
		ask(r, "192.0.2.2", "two.example")
		ask(r, "2001:db8::3", "three.example", "AAAA")
		ask(r, "two.example.", "-x", "192.0.2.2")
		ask(r, "2001:db8::3", "+tcp", "three.example", "AAAA")
	})
}

// TestSplit proposes a split for a daemon with helpers, and runs it: the
// helpers are apart, and the daemon notices nothing.
func TestSplit(t *testing.T) {
	x := begin(t, "lighttpd")
	p := loopback.Port(t)
	script := func(name, text string) {
		x.file("cgi/"+name+".cgi", "echo 'Content-Type: text/plain'; echo; "+text+"\n")
	}
	for i := range 3 {
		script(fmt.Sprint(i), fmt.Sprintf("echo page %d | /usr/bin/tr a-z A-Z", i))
	}
	configuration := x.file("etc/lighttpd.conf", "server.bind = \"127.0.0.1\"\nserver.port = "+p+"\nserver.document-root = \""+x.directory+"/cgi\"\n"+
		"server.username = \"www-data\"\nserver.groupname = \"www-data\"\nserver.modules = (\"mod_cgi\")\ncgi.assign = (\".cgi\" => \"/bin/sh\")\n")
	r := x.start("", "split", "--name", x.name, "--output", x.policy, "--", "/usr/sbin/lighttpd", "-D", "-f", configuration)
	for i := range 3 {
		r.await(func() error { return get(p, fmt.Sprintf("/%d.cgi", i), fmt.Sprintf("PAGE %d", i)) })
	}
	r.stop()
	x.complete(r)
	text, err := os.ReadFile(x.policy)
	if err != nil {
		t.Fatal(err)
	}
	if tree := regexp.MustCompile("#   /usr/sbin/lighttpd\n#     /usr/bin/sh  [0-9]+ times\n#       /usr/bin/tr  [0-9]+ times\n"); !tree.Match(text) {
		t.Errorf("there is no %q in\n%s", tree, text)
	}
	for _, want := range []string{"may-start: [sh]", "may-start: [tr]",
		"replaces: /bin/sh ", "replaces: /usr/bin/tr ", "- " + x.directory + "/cgi "} {
		if !strings.Contains(string(text), want) {
			t.Errorf("there is no %q in\n%s", want, text)
		}
	}
	script("other", "echo another page | /usr/bin/tr a-z A-Z; read x < "+configuration+" 2>/dev/null || echo apart")
	x.run("", func(r *process) {
		r.await(func() error { return get(p, "/other.cgi", "ANOTHER PAGE\napart") })
	})
}
