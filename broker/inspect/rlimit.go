package inspect

import (
	"strconv"
	"strings"
)

// Rlimit is a resource limit of a process (getrlimit(2)).
type Rlimit struct {
	Name string `json:"name"` // as in /proc/PID/limits
	Soft Limit  `json:"soft"`
	Hard Limit  `json:"hard"`
}

func readRlimits(pid int) ([]Rlimit, error) {
	b, err := readFile(procPath(pid, "limits"))
	if err != nil {
		return nil, err
	}
	return parseRlimits(string(b)), nil
}

// parseRlimits reads the table of /proc/PID/limits, whose first column is 26
// bytes wide and holds blanks.
func parseRlimits(text string) []Rlimit {
	limits := []Rlimit{}
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, "Max ") || len(line) < 27 {
			continue
		}
		fields := strings.Fields(line[26:])
		if len(fields) < 2 {
			continue
		}
		limits = append(limits, Rlimit{Name: strings.TrimSpace(line[4:26]), Soft: limitValue(fields[0]), Hard: limitValue(fields[1])})
	}
	return limits
}

func limitValue(s string) Limit {
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		return Unlimited
	}
	return Limit(n)
}
