package policy

import (
	"errors"
	"io"
	"io/fs"
	"path"
	"strings"

	"bulkhead/policy/plan"
)

// commandDirectories are searched for a program without a path, in hints and
// behind #!/usr/bin/env.
var commandDirectories = []string{"/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"}

// program finds what really runs: for a script its interpreter, with the
// arguments as the kernel would make them, see execve(2). scripts are the
// script files on the way, which must be readable.
func (c *componentCompiler) program() (name string, arguments []string, scripts []string) {
	command := c.source.Command
	if len(command) == 0 && startOf(c.source) == plan.OnExec {
		return "", nil, nil // each program that it replaces runs itself
	}
	if len(command) == 0 {
		written := c.policy.tree.get("components").get(c.name)
		if list := written.get("command"); !written.has("command") || list != nil && list.kind == listNode && len(list.items) == 0 {
			c.mistake(c.at, "add command: [/usr/bin/PROGRAM]", "the component %q has no command", c.name)
		}
		return "", nil, nil
	}
	at := command[0].Position
	name, arguments = command[0].Value, texts(command)
	if wrong, hint := checkPath(name); wrong != "" {
		if !strings.Contains(name, "/") {
			hint = "write its absolute path"
			if found := c.lookPath(name); found != "" {
				hint = "write " + found
			}
		}
		c.mistake(at, hint, "%s", wrong)
		return "", nil, nil
	}
	return c.interpreted(name, arguments, at)
}

// interpreted finds what runs when a file is executed with arguments.
func (c *componentCompiler) interpreted(name string, arguments []string, at plan.Position) (program string, argv []string, scripts []string) {
	written := name
	const deepest = 4 // as the kernel: scripts that interpret scripts
	name = clean(name)
	for range deepest {
		found := c.host.resolve(name)
		switch {
		case found.err != nil:
			hint := ""
			if elsewhere := c.lookPath(path.Base(name)); elsewhere != "" {
				hint = "the host has " + elsewhere
			} else if len(scripts) == 0 {
				hint = "install it, or correct the path"
			}
			what := "the program " + brief(name)
			if len(scripts) > 0 {
				what = "the interpreter " + brief(name) + " of the script " + brief(scripts[len(scripts)-1])
			}
			c.mistake(at, hint, "%s: %s", what, reason(found.err))
			c.problems[len(c.problems)-1].Status = statusOf(found.err)
			return "", nil, nil
		case !found.info.Mode().IsRegular():
			c.mistake(at, "", "the program %s is not a regular file", brief(name))
			c.problems[len(c.problems)-1].Status = notExecutable
			return "", nil, nil
		case found.info.Mode()&0o111 == 0:
			c.mistake(at, "", "the program %s may be executed by nobody", brief(name))
			c.problems[len(c.problems)-1].Status = notExecutable
			return "", nil, nil
		}
		interpreter, argument, isScript := c.shebang(found.real)
		if !isScript {
			return name, arguments, scripts
		}
		scripts = append(scripts, name)
		if interpreter == "/usr/bin/env" && argument != "" && !strings.HasPrefix(argument, "-") {
			// env would search PATH and run it: the same here, without env.
			if found := c.lookPath(argument); found != "" {
				interpreter, argument = found, ""
			}
		}
		rest := append([]string{name}, arguments[1:]...)
		if argument != "" {
			rest = append([]string{argument}, rest...)
		}
		arguments = append([]string{interpreter}, rest...)
		name = clean(interpreter)
	}
	c.mistake(at, "", "the script %s has interpreters that are scripts, too deep for the kernel", brief(written))
	return "", nil, nil
}

// The exit statuses of a shell for a command that it cannot run.
const (
	notExecutable = 126
	notFound      = 127
)

func statusOf(err error) int {
	if errors.Is(err, fs.ErrNotExist) {
		return notFound
	}
	return notExecutable
}

func (c *componentCompiler) lookPath(name string) string {
	if strings.ContainsAny(name, "/\x00") || name == "" {
		return ""
	}
	for _, directory := range commandDirectories {
		candidate := path.Join(directory, name)
		if found := c.host.resolve(candidate); found.err == nil && found.info.Mode().IsRegular() && found.info.Mode()&0o111 != 0 {
			return candidate
		}
	}
	return ""
}

// shebang reads "#!interpreter argument", of which the kernel looks at 255
// bytes; everything behind the first blank is one argument.
func (c *componentCompiler) shebang(name string) (interpreter, argument string, isScript bool) {
	file, err := c.host.Open(name)
	if err != nil {
		return "", "", false // the closure reports it
	}
	defer file.Close()
	start := make([]byte, 255)
	n, err := file.ReadAt(start, 0)
	if err != nil && err != io.EOF || !strings.HasPrefix(string(start[:n]), "#!") {
		return "", "", false
	}
	line, _, _ := strings.Cut(string(start[2:n]), "\n")
	interpreter, argument, _ = strings.Cut(strings.Trim(line, " \t\r"), " ")
	return interpreter, strings.Trim(argument, " \t"), path.IsAbs(interpreter)
}
