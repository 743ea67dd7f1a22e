package policy_test

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"bulkhead/policy"
	"bulkhead/policy/hosttest"
	"bulkhead/policy/subordinate"
)

// alice is an ordinary user with subordinate ids, and a few files of her own.
func alice(ids ...subordinate.Range) *hosttest.Host {
	h := hosttest.New()
	h.UID, h.GID, h.Member = 1000, 1000, []uint32{110}
	if len(ids) == 0 {
		ids = []subordinate.Range{{First: 100000, Count: 65536}}
	}
	h.IDs = subordinate.IDs{UIDs: ids, GIDs: []subordinate.Range{{First: 300000, Count: 65536}}}
	h.Users["daemon"] = policy.HostUser{Name: "daemon", UID: 1, GID: 1, Home: "/"}
	h.Groups["daemon"] = 1
	h.Directory("/home/alice/data")
	h.Own("/home/alice/data", 1000, 1000)
	h.File("/home/alice/page", 0o644, "")
	h.File("/home/alice/secret", 0o600, "")
	h.File("/home/alice/tool", 0o700, hosttest.ELF{}.Bytes())
	for _, name := range []string{"page", "secret", "tool"} {
		h.Own("/home/alice/"+name, 1000, 1000)
	}
	h.File("/etc/certificate", 0o640, "")
	h.Own("/etc/certificate", 0, 110)
	return h
}

// Who a component of an ordinary user's is, inside and outside, and why it is the user.
func TestOrdinaryIdentity(t *testing.T) {
	const own, named = "1000:1000", "33:33"
	for _, c := range []struct {
		component string
		inside    string
		sub       bool // its user has an id of the range
		shared    string
	}{
		{"command: [/usr/bin/static]", own, true, ""},
		{"command: [/usr/bin/static], files: {read: [/home/alice/page], write: [/tmp]}", "0:0", false, "the permission bits of /tmp (drwxr-xr-x)"},
		{"command: [/usr/bin/static], files: {read: [/home/alice/page]}", own, true, ""},
		{"command: [/usr/bin/static], files: {read: [/home/alice/secret]}", "0:0", false, "let nobody else read it"},
		{"command: [/usr/bin/static], files: {read: [/home/alice/s*]}", "0:0", false, "let nobody else read it"},
		{"command: [/usr/bin/static], files: {write: [/home/alice/data]}", "0:0", false, "let nobody else write it"},
		{"command: [/usr/bin/static], files: {read: [/etc/certificate]}", "0:0", false, "let nobody else read it"},
		{"command: [/usr/bin/static], files: {read: [/etc/secret]}", own, true, ""}, // nor would the user
		{"command: [/home/alice/tool]", "0:0", false, "let nobody else execute it"},
		{"command: [/usr/bin/static], files: {execute: [/home/alice/tool]}", "0:0", false, "let nobody else execute it"},
		{"command: [/usr/bin/static], grants: [data], transparent: true", "0:0", false, "granted by path"},
		{"command: [/usr/bin/static], grants: [data]", own, true, ""},
		{"command: [/usr/bin/static], user: alice", "0:0", false, "user: says so"},
		{"command: [/usr/bin/static], user: www-data", named, true, ""},
		{"command: [/usr/bin/static], user: www-data, files: {read: [/home/alice/secret]}", named, true, ""},
		{"command: [/usr/bin/static], user: www-data, group: alice", "33:0", true, ""},
		{"command: [/usr/bin/static], group: adm", "1000:4", true, ""},
		{"command: [/usr/bin/static], become: [www-data]", "0:0", false, "begins as its compartment's root"},
	} {
		host := alice()
		text := "application: a\ngrants: {data: {directory: /home/alice/data, access: read-write}}\ncomponents: {web: {" + c.component + "}, other: {command: [/usr/bin/static], grants: [data]}}\n"
		if strings.Contains(c.component, "/tmp") {
			host.Own("/tmp", 1000, 1000)
		}
		result, err := parsed(t, text, host)
		if err != nil {
			t.Errorf("%s:\n%v", c.component, err)
			continue
		}
		web := result.Components[0]
		if inside := fmt.Sprintf("%d:%d", web.User.UID, web.User.GID); inside != c.inside {
			t.Errorf("%s: inside it is %s", c.component, inside)
		}
		h := web.Hosts
		if !h.Ordinary || h.Init != 1000 || h.InitGroup != 1000 || c.sub != (h.UID >= 100000 && h.UID < 165536) || !c.sub && h.UID != 1000 {
			t.Errorf("%s: outside it is %+v", c.component, h)
		}
		if !strings.Contains(h.Shared, c.shared) || (h.Shared == "") != c.sub {
			t.Errorf("%s: it is the user because %q", c.component, h.Shared)
		}
		other := result.Components[1].Hosts
		if other.UID == h.UID || other.GID == h.GID || other.GID < 300000 {
			t.Errorf("%s: the other component is %+v", c.component, other)
		}
		again, err := parsed(t, text, host)
		if err != nil || again.Components[0].Hosts.UID != h.UID || again.Components[0].Hosts.GID != h.GID {
			t.Errorf("%s: the ids change: %v", c.component, err)
		}
	}
}

// A named user is the same one in every compartment of an application, and nobody on the host; another
// application's is somebody else.
func TestStandIns(t *testing.T) {
	const components = "components: {web: {command: [/usr/bin/static], user: www-data, groups: [adm, alice]}, db: {command: [/usr/bin/static], become: [www-data, redis]}}\n"
	result, err := parsed(t, "application: a\n"+components, alice())
	if err != nil {
		t.Fatal(err)
	}
	web, db := result.Components[0], result.Components[1]
	if fmt.Sprint(web.User.Groups) != "[4 0]" || web.Hosts.Groups[0] < 300000 || web.Hosts.Groups[1] != 1000 {
		t.Errorf("%+v %+v", web.User, web.Hosts)
	}
	www, redis := db.Hosts.Become[0], db.Hosts.Become[1]
	if www.UID != 33 || www.HostUID != web.Hosts.UID || www.HostGID != web.Hosts.GID || redis.UID != 105 || redis.HostUID < 100000 || redis.HostUID == www.HostUID {
		t.Errorf("%+v, and %+v %+v", web.Hosts, www, redis)
	}
	if !db.Hosts.HasUser(www.HostUID) || db.Hosts.HasUser(33) || !db.Hosts.HasGroup(redis.HostGID) {
		t.Errorf("%+v", db.Hosts)
	}
	other, err := parsed(t, "application: b\n"+components, alice())
	if err != nil || other.Components[0].Hosts.UID == web.Hosts.UID {
		t.Errorf("%+v, %v", other, err)
	}
	p, _ := policy.Parse("policy.yaml", []byte("application: a\n"+components), policy.Options{})
	var said bytes.Buffer
	if err := policy.Explain(&said, p, result, ""); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"is www-data in its compartment, and outside user 1", "is in the group adm of its compartment", "begins as its compartment's root", "may become redis (user 1"} {
		if !strings.Contains(said.String(), want) {
			t.Errorf("explain does not say %q:\n%s", want, &said)
		}
	}
}

// What takes an id that is not there is a mistake at its line, with what is missing and what to do;
// what does not is the user.
func TestWithoutSubordinateIDs(t *testing.T) {
	host := alice()
	host.IDs = subordinate.IDs{Missing: "newuidmap is not installed", Remedy: "have the package uidmap installed"}
	result, err := parsed(t, "application: a\ncomponents: {web: {command: [/usr/bin/static], user: alice, groups: [alice]}, db: {command: [/usr/bin/static]}}\n", host)
	if err != nil {
		t.Fatal(err)
	}
	for i, c := range result.Components {
		if c.Hosts.UID != 1000 || c.Hosts.GID != 1000 || c.User.UID != 0 || len(c.Hosts.Groups) != 0 || (c.Hosts.Shared == "newuidmap is not installed") != (i == 1) {
			t.Errorf("%+v %+v", c.User, c.Hosts)
		}
	}
	for _, c := range []struct{ key, message string }{
		{"user: daemon", `cannot run a component as "daemon" here: newuidmap is not installed`},
		{"group: daemon", `cannot give a component the group "daemon" here: newuidmap is not installed`},
		{"groups: [daemon]", `cannot give a component the group "daemon" here: newuidmap is not installed`},
		{"become: [daemon]", `cannot let a component become "daemon" here: newuidmap is not installed`},
	} {
		_, err := parsed(t, "application: a\ncomponents: {web: {command: [/usr/bin/static], "+c.key+"}}\n", host)
		if err == nil || !strings.Contains(err.Error(), c.message) || !strings.Contains(err.Error(), "policy.yaml:2:5") || !strings.Contains(err.Error(), "have the package uidmap installed") {
			t.Errorf("%s:\n%v", c.key, err)
		}
	}
}

// What no subordinate id makes possible.
func TestOrdinaryMistakes(t *testing.T) {
	for _, c := range []struct{ key, message string }{
		{"user: root", `as "root", who is the host's root`},
		{"user: nosuch", `no user "nosuch"`},
		{"group: root", `the group "root", which is root's`},
		{"groups: [nosuch]", `no group "nosuch"`},
		{"become: [alice]", `"alice" starts the application`},
		{"become: [root]", "nobody can become the host's root"},
		{"groups: [adm, daemon, redis, www-data, ssl-cert]", "takes 7 ids, and an ordinary user's can have 5"},
	} {
		_, err := parsed(t, "application: a\ncomponents: {web: {command: [/usr/bin/static], "+c.key+"}}\n", alice())
		if err == nil || !strings.Contains(err.Error(), c.message) {
			t.Errorf("%s:\n%v", c.key, err)
		}
	}
}

// Ids run out: never does one serve twice, and never is there none where one is needed.
func TestFewIDs(t *testing.T) {
	text := "application: a\ncomponents:\n"
	for i := range 6 {
		text += fmt.Sprintf("  c%d: {command: [/usr/bin/static]}\n", i)
	}
	// Two are kept for Bulkhead's own.
	result, err := parsed(t, text, alice(subordinate.Range{First: 100000, Count: 2}, subordinate.Range{First: 200000, Count: 4}))
	if err != nil {
		t.Fatal(err)
	}
	var given []uint32
	for _, c := range result.Components {
		if c.Hosts.Shared == "" {
			given = append(given, c.Hosts.UID)
		} else if !strings.Contains(c.Hosts.Shared, "too few") || c.Hosts.UID != 1000 || c.Hosts.GID != 1000 {
			t.Errorf("%+v", c.Hosts)
		}
	}
	slices.Sort(given)
	if len(given) != 4 || len(slices.Compact(given)) != 4 || given[0] < 100000 {
		t.Errorf("%v", given)
	}
	_, err = parsed(t, text+"  named: {command: [/usr/bin/static], user: daemon}\n", alice(subordinate.Range{First: 100000, Count: 4}))
	if err == nil || !strings.Contains(err.Error(), "too few") || !strings.Contains(err.Error(), "policy.yaml:9:") {
		t.Errorf("%v", err)
	}
}
