package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"os/user"
	"path/filepath"
	"strconv"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"bulkhead/policy"
	"bulkhead/policy/learn"
	"bulkhead/policy/plan"
	"bulkhead/sandbox/observe"
)

// learning is what the command line of learn and split says.
type learning struct {
	record, output, name, component, user string
	appends, allCalls, split              bool
	set                                   []string
}

func learnCommand() *cobra.Command {
	var l learning
	c := &cobra.Command{
		Use:     "learn [flags] -- PROGRAM [ARGUMENT...] | learn [flags] FILE",
		GroupID: "policy",
		Short:   "Run a program, watch what it does, and write the policy for it",
		Long: `learn runs PROGRAM, unconfined, and writes down what it and all that it starts ask
of the kernel. Nothing is denied but what no policy can allow. When it has ended,
or after ^C, learn prints the tightest policy that would have allowed it, each line
with how often it was seen.

learn FILE runs the program of a policy that exists, as its user and with its
environment, and shows what the policy lacks as a drop-in: policy.d beside FILE,
as a unified diff. --append writes it. Nothing is ever removed.

With --record, runs add up in a file, and learn --record FILE alone prints the
policy of what is in it. A policy is as good as the runs that it was learnt from:
let the program do all that it is for.

The exit status is 0 also when the program has failed, which is said.`,
		Example: `  sandbox learn --output web.yaml -- /usr/sbin/nginx -g 'daemon off;'
  sandbox learn --record curl.json -- curl -s https://www.example.org/
  sandbox learn --append web.yaml`,
		RunE: func(c *cobra.Command, arguments []string) error { return l.run(arguments, c.ArgsLenAtDash()) },
	}
	l.flags(c)
	c.Flags().BoolVar(&l.appends, "append", false, "write what FILE lacks into its drop-in, after showing the difference")
	c.Flags().StringVar(&l.component, "component", "", "with FILE, the `COMPONENT` to run; needed where it has several")
	c.Flags().StringArrayVar(&l.set, "set", nil, "with FILE, override a value of the policy: `KEY=VALUE`")
	return c
}

func (l *learning) flags(c *cobra.Command) {
	f := c.Flags()
	f.StringVar(&l.record, "record", "", "add what is seen to this `FILE`, and learn from all that is in it")
	f.StringVar(&l.output, "output", "", "write the policy to this new `FILE`")
	f.StringVar(&l.name, "name", "", "the application's `NAME`; the program's without")
	f.StringVar(&l.user, "user", "", "run the program as this `USER`")
	f.BoolVar(&l.allCalls, "all-calls", false, "stop at every call instead of counting by eBPF: slower, and sees no capabilities")
}

func (l *learning) run(arguments []string, dash int) error {
	switch {
	case dash < 0 && len(arguments) == 0 && l.record != "":
		return l.print(learn.Options{}, nil)
	case dash < 0 && len(arguments) > 0 && l.split:
		return fmt.Errorf("write sandbox split -- %s", arguments[0])
	case dash < 0 && len(arguments) == 1:
		return l.runPolicy(arguments[0])
	case dash == 0 && len(arguments) > 0:
		return l.runProgram(arguments)
	case dash < 0 && len(arguments) > 1:
		return fmt.Errorf("name a policy FILE, or write sandbox learn -- %s", arguments[0])
	}
	return errors.New("name a program behind --, or a policy file, or a record with --record FILE")
}

// runProgram learns a policy for a program.
func (l *learning) runProgram(command []string) error {
	if l.appends {
		return errors.New("--append goes with a policy FILE: sandbox learn --append FILE")
	}
	if l.output != "" {
		if _, err := os.Lstat(l.output); err == nil {
			return fmt.Errorf("write the policy: %s is there already: name another file, or learn what it lacks with sandbox learn %s", l.output, l.output)
		}
	}
	o, err := l.options(command)
	if err != nil {
		return err
	}
	record, err := l.observe(o)
	if err != nil {
		return err
	}
	return l.print(learn.Options{Application: l.name}, record)
}

// options are those of a program, as a shell would start it.
func (l *learning) options(command []string) (observe.Options, error) {
	program, err := findProgram(command[0])
	if err != nil {
		return observe.Options{}, err
	}
	directory, err := os.Getwd()
	if err != nil {
		return observe.Options{}, fmt.Errorf("find the working directory: %w", err)
	}
	o := observe.Options{Program: program, Arguments: append([]string{program}, command[1:]...), Directory: directory, Environment: os.Environ()}
	if l.user != "" {
		o.Identity, err = identityOf(l.user)
	}
	return o, err
}

func identityOf(name string) (*observe.Identity, error) {
	found, known := policy.LocalHost().User(name)
	if !known {
		return nil, fmt.Errorf("--user: the host has no user %q", name)
	}
	identity := &observe.Identity{UID: found.UID, GID: found.GID}
	if account, err := user.Lookup(found.Name); err == nil {
		if groups, err := account.GroupIds(); err == nil {
			for _, text := range groups {
				if id, err := strconv.ParseUint(text, 10, 32); err == nil {
					identity.Groups = append(identity.Groups, uint32(id))
				}
			}
		}
	}
	if os.Geteuid() != 0 && int(found.UID) != os.Geteuid() {
		return nil, fmt.Errorf("--user: only root can run a program as %s", name)
	}
	if os.Geteuid() != 0 {
		return nil, nil
	}
	return identity, nil
}

// observe runs a program and adds what was seen to the record's file.
func (l *learning) observe(o observe.Options) (*learn.Record, error) {
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, unix.SIGINT, unix.SIGTERM, unix.SIGHUP)
	o.Signals, o.Everything, o.Absent, o.Say = signals, l.allCalls, learn.Absent(), say
	before := learn.NewRecord()
	if l.record != "" {
		// Before the run: a record that cannot be read is found at once.
		var err error
		if before, err = learn.ReadRecord(l.record); err != nil {
			return nil, err
		}
	}
	seen, status, err := observe.Run(o)
	if err != nil {
		return nil, err
	}
	run := seen.Runs[0]
	switch {
	case status.Signaled() && !run.Stopped:
		say("the program was ended by %s: what it would have done afterwards was not seen", unix.SignalName(status.Signal()))
	case run.Failed:
		say("the program failed with %s: a policy learnt from a failure may allow no more than that", run.Ended)
	}
	for _, text := range run.Incomplete {
		say("the record is not complete: %s", text)
	}
	before.Add(seen)
	if l.record != "" {
		text, err := before.Text()
		if err == nil {
			err = replaceFile(l.record, text, 0o600)
		}
		if err != nil {
			return nil, fmt.Errorf("write the record %s: %w", l.record, err)
		}
		say("the record %s has %d runs", l.record, len(before.Runs))
	}
	return before, nil
}

func say(format string, arguments ...any) {
	fmt.Fprintf(os.Stderr, "sandbox: "+format+"\n", arguments...)
}

// print writes the policy of a record.
func (l *learning) print(o learn.Options, record *learn.Record) error {
	if record == nil {
		var err error
		if record, err = learn.ReadRecord(l.record); err != nil {
			return err
		}
	}
	o.Host = policy.LocalHost()
	if o.Application == "" {
		o.Application = l.name
	}
	draft := learn.Draft
	if l.split {
		draft = learn.Split
	}
	text, err := draft(record, o)
	if err != nil {
		return err
	}
	return l.write(text)
}

// write writes a policy to its file, or to the standard output, and says what
// comes next.
func (l *learning) write(text string) error {
	file := l.output
	if file == "" {
		if _, err := os.Stdout.WriteString(text); err != nil {
			return fmt.Errorf("write the policy: %w", err)
		}
		file = "FILE"
	} else if err := replaceFile(file, []byte(text), 0o644); err != nil {
		return fmt.Errorf("write the policy %s: %w", file, err)
	}
	say("next: sandbox check %s && sandbox explain %s", file, file)
	say("then: sandbox run %s", file)
	return nil
}

// runPolicy learns what a policy lacks.
func (l *learning) runPolicy(file string) error {
	if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("there is no policy %s: to learn one for a program, write sandbox learn -- %s", file, file)
	}
	if l.output != "" {
		return errors.New("--output is for new policies: what FILE lacks goes into its drop-in, with --append")
	}
	loaded, p, err := compileFile(file, l.set)
	if err != nil {
		return err
	}
	component, err := l.choose(file, p)
	if err != nil {
		return err
	}
	if len(component.Grants) > 0 && !component.Transparent {
		return fmt.Errorf("the component %s of %s gets its descriptors from the broker, which is not there while it is observed: learn from the program itself, with sandbox learn -- %s",
			component.Name, file, component.Program)
	}
	o := observe.Options{
		Program: component.Program, Arguments: component.Arguments, Directory: component.Directory, Environment: component.Environment,
		Denied: loaded.DeniedCalls(component.Name),
	}
	if os.Geteuid() == 0 {
		o.Identity = &observe.Identity{UID: component.Hosts.UID, GID: component.Hosts.GID, Groups: component.Hosts.Groups}
	}
	record, err := l.observe(o)
	if err != nil {
		return err
	}
	dropIn := freeDropIn(file, p.Application)
	text, err := learn.Draft(record, learn.Options{Application: p.Application, Host: policy.LocalHost(), Base: file, DropIn: dropIn, Component: component.Name,
		Set: l.set, Denied: o.Denied})
	if err != nil {
		return err
	}
	return l.dropIn(file, dropIn, text)
}

func (l *learning) choose(file string, p *plan.Plan) (*plan.Component, error) {
	var names []string
	for i := range p.Components {
		c := &p.Components[i]
		names = append(names, c.Name)
		if c.Name == l.component || l.component == "" && len(p.Components) == 1 {
			return c, nil
		}
	}
	if l.component == "" {
		return nil, fmt.Errorf("%s has several components: name one with --component: %v", file, names)
	}
	return nil, fmt.Errorf("%s has no component %q: it has %v", file, l.component, names)
}

// freeDropIn is the name of a drop-in that is not there yet.
func freeDropIn(file, application string) string {
	name := "80-learnt-" + application
	for n := 2; ; n++ {
		path := filepath.Join(policy.DropInDirectory(file), name+".yaml")
		if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
			return path
		}
		name = fmt.Sprintf("80-learnt-%s-%d", application, n)
	}
}

// dropIn shows what a policy lacks, and writes it: into a drop-in of its own
// each time, so that nothing which is there changes.
func (l *learning) dropIn(file, dropIn, text string) error {
	if text == "" {
		say("%s allows all that was seen", file)
		return nil
	}
	fmt.Print(lineDiff(dropIn, "", text, outPaint()))
	if !l.appends {
		say("nothing is written: sandbox learn --append %s writes it", file)
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(dropIn), 0o755); err != nil {
		return fmt.Errorf("make the directory for the drop-in: %w", err)
	}
	if err := replaceFile(dropIn, []byte(text), 0o644); err != nil {
		return fmt.Errorf("write the drop-in %s: %w", dropIn, err)
	}
	say("wrote %s", dropIn)
	say("next: sandbox check %s && sandbox run %s", file, file)
	return nil
}
