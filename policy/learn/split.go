package learn

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
)

// Split makes a policy in which every program that a daemon executed is a
// component of its own, which starts in the place of that program. It is a
// proposal: which of them belong together, a person decides.
func Split(r *Record, o Options) (string, error) {
	if o.Base != "" {
		return "", errors.New("a policy that exists is not split: learn what it lacks with sandbox learn")
	}
	d, err := newDraft(r, o)
	if err != nil {
		return "", err
	}
	s := &splitting{draft: d, programs: map[string]*Program{}, asked: map[string][]string{}, names: map[string]string{}, taken: map[string]bool{}}
	for _, name := range sortedKeys(r.Programs) {
		s.add(name)
	}
	main := d.canonical(d.command[0])
	if s.programs[main] == nil {
		return "", fmt.Errorf("the record has nothing of %s itself", d.command[0])
	}
	s.components(main)
	s.tree(main)
	if err := d.fill(); err != nil {
		return "", err
	}
	return d.render().text.String(), nil
}

// splitting sorts a record by program.
type splitting struct {
	*draft
	programs map[string]*Program // by canonical path
	asked    map[string][]string // the names that it was executed by
	names    map[string]string   // of the components
	taken    map[string]bool
}

// canonical is one name for a program that was executed by several: /bin/sh and
// /usr/bin/sh. What a link of its own names stays apart: of busybox each applet.
func (d *draft) canonical(name string) string {
	directory := resolve(d.host, path.Dir(name))
	if directory.err != nil {
		return name
	}
	return path.Join(directory.real, path.Base(name))
}

// add adds a program; what has gone since cannot be a component.
func (s *splitting) add(name string) {
	canonical := s.canonical(name)
	found := resolve(s.host, canonical)
	switch {
	case found.err != nil || !found.info.Mode().IsRegular():
		s.note("it executed %s, which is not there any more: left out", name)
		return
	case s.programs[canonical] == nil:
		s.programs[canonical] = newProgram()
	}
	s.asked[canonical] = append(s.asked[canonical], name)
	s.programs[canonical].add(s.record.Programs[name])
}

// components makes the components, that of the daemon itself first.
func (s *splitting) components(main string) {
	order := []string{main}
	splits := map[string]bool{}
	for _, name := range sortedKeys(s.programs) {
		if name != main {
			order = append(order, name)
			splits[name] = true
		}
	}
	for _, name := range order {
		s.names[name] = s.free(nameOf(name))
	}
	for _, name := range order {
		c := &component{draft: s.draft, name: s.names[name], program: s.programs[name], runs: s.record.Runs, command: s.command, splits: splits}
		if name != main {
			c.replaces = name
			c.setting("start: on-exec", "")
			replaced := word(s.asked[name][0])
			if len(s.asked[name]) > 1 {
				replaced = list(s.asked[name])
			}
			c.setting("replaces: "+replaced, "executed as "+usersText(s.programs[name].Users))
		}
		for _, program := range sortedKeys(s.programs[name].Executes) {
			child := s.canonical(program)
			switch {
			case child == name:
				s.note("%s executes itself: both are in one component; docs/split.md says how to split them", name)
			case child == main:
				s.note("%s executes %s, the daemon itself, which starts with the application: left out", name, main)
			case splits[child] && !slices.Contains(c.starts, s.names[child]):
				c.starts = append(c.starts, s.names[child])
			}
		}
		s.draft.components = append(s.draft.components, c)
	}
}

func usersText(users map[string]uint64) string {
	var texts []string
	for _, id := range sortedKeys(users) {
		texts = append(texts, fmt.Sprintf("user %s %s", id, times(users[id])))
	}
	if len(texts) == 0 {
		return "its caller's user"
	}
	return strings.Join(texts, ", ")
}

func times(count uint64) string {
	if count == 1 {
		return "once"
	}
	return strconv.FormatUint(count, 10) + " times"
}

func (s *splitting) free(name string) string {
	for n, wanted := 2, name; s.taken[name]; n++ {
		name = wanted + "-" + strconv.Itoa(n)
	}
	s.taken[name] = true
	return name
}

// tree writes down who executed whom.
func (s *splitting) tree(main string) {
	s.draft.tree = append(s.draft.tree, "Who executed whom:")
	var show func(name string, depth int, above []string)
	show = func(name string, depth int, above []string) {
		counts := map[string]uint64{}
		for program, count := range s.programs[name].Executes {
			counts[s.canonical(program)] += count
		}
		for _, child := range sortedKeys(counts) {
			line := strings.Repeat("  ", depth) + child + "  " + times(counts[child])
			if slices.Contains(above, child) || s.programs[child] == nil {
				s.draft.tree = append(s.draft.tree, oneLine(line))
				continue
			}
			s.draft.tree = append(s.draft.tree, oneLine(line))
			show(child, depth+1, append(slices.Clone(above), child))
		}
	}
	s.draft.tree = append(s.draft.tree, "  "+oneLine(main))
	show(main, 2, []string{main})
}
