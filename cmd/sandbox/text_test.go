package main

import (
	"strings"
	"testing"
	"time"

	"bulkhead/broker/control"
	"bulkhead/test/golden"
)

var now = time.Date(2026, 1, 2, 15, 4, 5, 678e6, time.UTC)

func exampleStatus() *control.Status {
	soon := now.Add(3 * time.Second)
	return &control.Status{
		Application: "thumbnailer", Policy: "app.yaml", State: control.Running, Cause: "up after 2ms", Started: now.Add(-time.Hour), Now: now,
		Components: []control.Component{
			{Name: "web", Start: "with-application", State: control.Running, Since: now.Add(-time.Minute), Running: 1, Total: 1, Denied: 3, Says: "12 \x1b[2Jclients", Cause: "ready"},
			{Name: "decode", Start: "per-request", State: control.Stopped, Since: now.Add(-time.Hour), Queue: 2, Total: 40, Abnormal: 3},
			{Name: "mailer", Start: "with-application", State: control.Failed, Since: now.Add(-5 * time.Second), Restarts: 4, RestartAt: &soon, Pinned: "up", Released: true,
				WaitsFor: []string{"web", "decode"}, Cause: "exited with status 1", Lines: []control.Line{{Time: now, Stream: 2, Text: "no \x1b[31msuch host"}}},
		},
		Denials: []control.Denial{
			{Component: "web", Tried: "socket(AF_NETLINK, SOCK_RAW, ...)", Answer: "EAFNOSUPPORT", Allow: "components.web.syscalls: [socket]", Count: 2, Last: now.Add(-90 * time.Second)},
			{Component: "decode", Tried: "ptrace(0x10, ...)", Answer: "EPERM", Allow: "components.decode.syscalls: [ptrace]", Count: 1, Last: now},
			{Component: "web", Tried: "socket(AF_PACKET, SOCK_RAW, ...)", Answer: "EAFNOSUPPORT", Allow: "components.web.syscalls: [socket]", Count: 1, Last: now},
		},
		MoreDenials: 7,
	}
}

func TestGoldenText(t *testing.T) {
	s := exampleStatus()
	golden.Expect(t, "testdata/"+"status.txt", statusText(s, false))
	golden.Expect(t, "testdata/"+"status-coloured.txt", statusText(s, true))
	golden.Expect(t, "testdata/"+"denials.txt", denialsText(s, false))
	golden.Expect(t, "testdata/"+"denials-none.txt", denialsText(&control.Status{Application: "quiet"}, false))
	golden.Expect(t, "testdata/"+"ps.txt", psText([]string{"thumbnailer", "mail"}, map[string][]control.Worker{
		"thumbnailer": {{Worker: 2, Component: "web", PID: 4711, Started: now.Add(-time.Hour)}, {Worker: 31, Component: "decode", PID: 4799, Started: now, For: 2}},
		"mail":        {{Worker: 2, Component: "master", PID: 5000, Started: now.Add(-49 * time.Hour)}},
	}, now, false))
	var events []string
	for _, e := range []control.Event{
		{Time: now, Kind: control.EventState, Component: "web", From: control.Starting, To: control.Started, Text: "ready", PID: 4711},
		{Time: now, Kind: control.EventDenied, Component: "web", Text: "ptrace(0x10, ...)", Allow: "components.web.syscalls: [ptrace]"},
		{Time: now, Kind: control.EventApplication, From: control.Starting, To: control.Running, Text: "up after 2ms"},
		{Time: now, Kind: control.EventSays, Component: "web", Text: "evil \x1b]0;title\a"},
	} {
		events = append(events, eventText(&e, false))
	}
	golden.Expect(t, "testdata/"+"events.txt", strings.Join(events, "\n")+"\n")
	golden.Expect(t, "testdata/"+"lines.txt", strings.Join([]string{
		lineText(&control.Line{Time: now, Component: "web", Stream: 1, Text: "plain"}, true, false),
		lineText(&control.Line{Time: now, Component: "web", Stream: 2, Text: "as \x1b[1mit came"}, false, false),
		lineText(&control.Line{Time: now, Component: "web", Stream: 2, Text: "for a \x1b[1mterminal"}, true, true),
	}, "\n")+"\n")
}

// What the broker keeps no more is where its log is.
func TestOlderLines(t *testing.T) {
	s := &control.Status{Application: "app", Logs: []control.Log{{Name: "journald:web"}, {Name: "/var/log/app.log"}, {Name: "journald:store"}}}
	for component, want := range map[string]string{
		"":      "journalctl BULKHEAD_APPLICATION=app,/var/log/app.log",
		"store": "/var/log/app.log,journalctl BULKHEAD_APPLICATION=app BULKHEAD_COMPONENT=store",
	} {
		if got := strings.ReplaceAll(strings.Join(olderText(s, component), ","), "older lines: ", ""); got != want {
			t.Errorf("of %q: %q", component, got)
		}
	}
}

// What a program says reaches a terminal without its control characters.
func TestTextIsFitForTerminals(t *testing.T) {
	s := exampleStatus()
	for _, text := range []string{statusText(s, false), denialsText(s, false), eventText(&control.Event{Text: "\x1b[2J\u202e"}, false)} {
		if strings.ContainsAny(text, "\x1b\u202e") {
			t.Errorf("%q", text)
		}
	}
}

func TestSignalNumber(t *testing.T) {
	for name, want := range map[string]int{"HUP": 1, "SIGHUP": 1, "hup": 1, "1": 1, "64": 64, "usr1": 10} {
		if got, err := signalNumber(name); err != nil || got != want {
			t.Errorf("%s is %d, %v; want %d", name, got, err, want)
		}
	}
	for _, name := range []string{"0", "65", "-1", "", "NOSUCH"} {
		if got, err := signalNumber(name); err == nil {
			t.Errorf("%q is %d, want an error", name, got)
		}
	}
}
