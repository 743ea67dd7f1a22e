package policy

import (
	"fmt"
	"path"
	"time"

	"bulkhead/policy/plan"
)

// smallestLog is more than what is written at once: so no file ever grows
// beyond its bound.
const smallestLog Bytes = 64 << 10

// logs gives components their logs and returns those. A file may be that of
// many components, who then agree about its bounds; in journald each has a log
// of its own, so that one waits for nobody else's lines.
func (c *compiler) logs(p *plan.Plan) []plan.Log {
	var all []plan.Log
	owner := map[string]string{} // of a file: the first component that has it
	for i := range p.Components {
		component, source := &p.Components[i], &c.file.Components.Entries[i].Value
		setting := over(source.Logs, c.file.Logs)
		if component.Output == plan.OutputInherit {
			if at := source.Logs.Position; at.Line > 0 {
				c.mistake(at, "keep one of logs: and output:", "with output: inherit the component has no log")
			}
			continue
		}
		if setting.Word.Value == "journald" {
			component.Log = "journald:" + component.Name
			all = append(all, plan.Log{Kind: plan.LogJournald, Name: component.Log, Position: setting.Word.Position})
			continue
		}
		if setting.Word.IsSet() || source.Logs.Position.Line > 0 && source.Logs.How.Position.Line == 0 {
			continue // the terminal, or a mistake that is reported already
		}
		if !setting.How.File.IsSet() {
			if at := source.Logs.Position; at.Line > 0 {
				c.mistake(at, "add file: /PATH", "logs: names no file")
			}
			continue
		}
		log := c.log(&setting.How)
		component.Log = log.Name
		for _, other := range all {
			if other.Name != log.Name {
				continue
			}
			log.Position = other.Position
			if log != other {
				c.mistake(setting.Position, "write them once, under the application's logs:", "the component %q has the file %s with other bounds", owner[log.Name], brief(log.Name))
			}
		}
		if owner[log.Name] == "" {
			owner[log.Name] = component.Name
			all = append(all, log)
		}
	}
	return all
}

// over lays a component's setting over the application's.
func over(own, common LogSetting) LogSetting {
	switch {
	case !(own.Position.Line > 0):
		return common
	case own.Word.IsSet():
		return own
	}
	how, below := own.How, common.How
	if !how.File.IsSet() {
		how.File = below.File
	}
	if !how.Rotate.IsSet() {
		how.Rotate = below.Rotate
	}
	if !how.Age.IsSet() {
		how.Age = below.Age
	}
	if !how.Keep.IsSet() {
		how.Keep = below.Keep
	}
	if !how.Full.IsSet() {
		how.Full = below.Full
	}
	own.How = how
	return own
}

func (c *compiler) log(s *LogFile) plan.Log {
	log := plan.Log{
		Kind: plan.LogFile, Name: clean(s.File.Value), Rotate: uint64(s.Rotate.Or(defaultRotate)), Age: s.Age.Value, Keep: s.Keep.Or(defaultKeep),
		Drop: s.Full.Value == "drop", Position: s.File.Position,
	}
	if s.Rotate.IsSet() && s.Rotate.Value < smallestLog {
		c.mistake(s.Rotate.Position, "write "+sizeText(uint64(smallestLog))+" or more", "a log file of %s would rotate at every page of lines", sizeText(log.Rotate))
	}
	if s.Age.IsSet() && s.Age.Value < time.Minute {
		c.mistake(s.Age.Position, "write 1m or more", "a log file would rotate all the time")
	}
	if above := c.host.resolve(path.Dir(log.Name)); above.err != nil {
		c.mistake(s.File.Position, "make the directory", "the directory %s: %s", path.Dir(log.Name), reason(above.err))
	} else if found := c.host.resolve(log.Name); found.err == nil && !found.info.Mode().IsRegular() {
		c.mistake(s.File.Position, "name a file that is not there yet, or an ordinary one", "%s is not an ordinary file", brief(log.Name))
	}
	return log
}

// log says where the component's output goes.
func (l *rightList) log() {
	for _, log := range l.plan.Logs {
		if log.Name != l.component.Log {
			continue
		}
		if log.Kind == plan.LogJournald {
			l.add("program", "log journald", "writes its log to the host's journald", log.Position)
			continue
		}
		text := fmt.Sprintf("writes its log to %s, with %d older files at most %s on the disk", log.Name, log.Keep, sizeText(log.Rotate*uint64(log.Keep+1)))
		if log.Drop {
			text += "; loses lines when it is full"
		}
		l.add("program", "log "+log.Name, text, log.Position)
	}
}
