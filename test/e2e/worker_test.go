package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Each way in which a worker can end reaches the one who started it, in words
// that a program can tell apart.
func TestWorkersPerRequest(t *testing.T) {
	a := New(t, "workers").Write(`
application: {{NAME}}
components:
  web:
    command:
      - {{PROGRAM}}
      - program
      - ask
      - start upper some words
      - start three
      - start crash
      - start eater
      - start sleeper
      - start burner
      - start writer
      - start forker
      - start upper again
      - cancel patient
      - start stranger
      - start web
      - start nobody
    may-start: [upper, three, crash, eater, sleeper, patient, burner, writer, forker]
    restart: never
  upper:   {command: [{{BUSYBOX}}, tr, a-z, A-Z], start: per-request}
  three:   {command: [{{PROGRAM}}, program, exit, "3"], start: per-request}
  crash:   {command: [{{BUSYBOX}}, sh, -c, "kill -SEGV $$"], start: per-request}
  eater:   {command: [{{PROGRAM}}, program, fill], start: per-request, limits: {memory: 64M, wall-time: 5m}}
  sleeper: {command: [{{BUSYBOX}}, sleep, "1000"], start: per-request, limits: {wall-time: 300ms}}
  patient: {command: [{{BUSYBOX}}, sleep, "1000"], start: per-request}
  burner:  {command: [{{PROGRAM}}, program, burn], start: per-request, limits: {cpu-time: 1s, wall-time: 5m}}
  writer:
    command: [{{BUSYBOX}}, sh, -c, "cat /dev/zero >&3"]
    start: per-request
    grants: [file: {number: 3}]
    limits: {file-size: 64K}
  forker:
    command: [{{BUSYBOX}}, sh, -c, "sleep 1000 & sleep 1000 & echo forked"]
    start: per-request
  stranger: {command: [{{BUSYBOX}}, "true"], start: per-request}
  friend: {command: [{{BUSYBOX}}, sleep, "1000"], may-start: [stranger]}
grants:
  file: {file: "{{DIR}}/file", access: write, create: true}
`).Run()
	a.Expect(a.Out, "start nobody: ")
	expectLines(t, a.Lines("web"),
		`start upper some words: exited with status 0; limit "", wrote "SOME WORDS"`,
		`start three: exited with status 3; limit "", wrote ""`,
		`start crash: killed by SIGSEGV; limit "", wrote ""`,
		`start eater: memory limit of 64M reached; limit "memory", wrote ""`,
		`start sleeper: wall-time limit of 300ms reached; limit "wall-time", wrote ""`,
		`start burner: cpu-time limit of 1s reached; limit "cpu-time", wrote ""`,
		`start writer: file-size limit of 64K reached; limit "file-size", wrote ""`,
		// Its orphans went with its pid namespace, or the pipe would not have ended.
		`start forker: exited with status 0; limit "", wrote "forked\n"`,
		`start upper again: exited with status 0; limit "", wrote "AGAIN"`,
		`cancel patient: cancelled by web; limit ""`,
		"start stranger: EPERM",
		"start web: EPERM",
		"start nobody: EPERM",
	)
	// The front end was there all the time.
	if n := strings.Count(a.Err.String(), "component web: ready"); n != 1 {
		t.Errorf("web became ready %d times:\n%s", n, a.Err)
	}
	a.Stop()
}

// The places of workers that were prepared in advance are filled again.
func TestReadyAheadIsKept(t *testing.T) {
	a := New(t, "ahead").Write(`
application: {{NAME}}
components:
  web:
    command: [{{PROGRAM}}, program, ask, many upper 7]
    may-start: [upper]
    restart: never
  upper: {command: [{{BUSYBOX}}, "true"], start: per-request, workers: {maximum: 3, ready-ahead: 3, queue: 9}}
  other: {command: [{{BUSYBOX}}, sleep, "1000"]}
`).Run().Ready()
	a.eventually("seven have run", func() bool { return len(a.Lines("web")) == 1 })
	expectLines(t, a.Lines("web"), `many upper 7: 7 exited with status 0; limit ""`)
	a.eventually("three wait again", func() bool {
		waiting := map[string]bool{}
		for _, p := range a.Of(WorkerInit, "upper") {
			waiting[p.Worker] = true
		}
		return len(waiting) == 3
	})
	a.Stop()
}

// Up to the maximum run, up to the queue's length wait, one more is told to
// try again, and none is lost.
func TestQueueIsBounded(t *testing.T) {
	a := New(t, "queue").Write(`
application: {{NAME}}
components:
  web:
    command: [{{PROGRAM}}, program, ask, many slow 10, many slow 5]
    may-start: [slow]
    restart: never
  slow: {command: [{{BUSYBOX}}, sleep, "0.5"], start: per-request, workers: {maximum: 2, queue: 3}}
`).Run()
	a.ExpectStatus(0)
	expectLines(t, a.Lines("web"),
		`many slow 10: 5 EAGAIN; 5 exited with status 0; limit ""`,
		`many slow 5: 5 exited with status 0; limit ""`)
}

// What a worker started does not outlive it.
func TestStartedWorkersGoWithTheirStarter(t *testing.T) {
	a := New(t, "starter").Write(`
application: {{NAME}}
components:
  web:
    command: [{{PROGRAM}}, program, ask, many slow 4]
    may-start: [slow]
    restart: never
  slow: {command: [{{BUSYBOX}}, sleep, "1000"], start: per-request}
  other: {command: [{{BUSYBOX}}, sleep, "1000"]}
`).Run().Ready()
	a.eventually("four workers run", func() bool { return len(a.Of(Program, "slow")) == 4 })
	if err := a.Of(Program, "web")[0].Kill(9); err != nil {
		t.Fatal(err)
	}
	a.eventually("no worker runs", func() bool { return len(a.Of(Program, "slow"))+len(a.Of(WorkerInit, "slow")) == 0 })
	a.Stop()
}

// A program that begins as root and changes to another user finds itself as it
// expects, and is no root of the host's; and nobody else is there to become.
func TestBecome(t *testing.T) {
	a := New(t, "become")
	a.File("secret", "the secret\n")
	if err := os.Chmod(filepath.Join(a.Dir, "secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	a.Write(`
application: {{NAME}}
components:
  dropper:
    command:
      - {{BUSYBOX}}
      - sh
      - -c
      - |
        id -u
        cat {{DIR}}/secret || echo "the secret is not root's here"
        /usr/bin/setpriv --reuid=daemon --regid=daemon --init-groups id -u -n
        /usr/bin/setpriv --reuid=games --regid=games --init-groups id -u -n || echo "nobody else"
        sleep 1000
    become: daemon
    files: {read: ["{{DIR}}/secret"], execute: [/usr/bin/setpriv, /usr/bin/id]}
    environment: {PATH: /usr/bin}
    limits: {processes: 8}
`).Run()
	a.Expect(a.Out, "nobody else")
	var got []string
	for _, line := range a.Lines("dropper") {
		if !strings.Contains(line, ": ") { // what cat and setuidgid say
			got = append(got, line)
		}
	}
	expectLines(t, got, "0", "the secret is not root's here", "daemon", "nobody else")
	a.Stop()
}
