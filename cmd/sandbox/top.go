package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"bulkhead/broker/control"
	"bulkhead/broker/inspect"
)

func topCommand() *cobra.Command {
	var interval time.Duration
	var count int
	c := &cobra.Command{
		Use: "top [APPLICATION]", GroupID: "look",
		Short: "Show what components use, again and again",
		Long: `top shows processor time and memory of each component of running applications:
CPU in percent of one processor since the line before, MEMORY as the sum of what
its processes have in memory, pages that they share counted for each of them.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(_ *cobra.Command, arguments []string) error {
			if interval < 100*time.Millisecond {
				return fmt.Errorf("--interval %v: the shortest is 100ms", interval)
			}
			before := usage{}
			for n := 0; count == 0 || n <= count; n++ {
				names, err := running(arguments)
				if err != nil {
					return err
				}
				now, text, err := topText(names, before)
				if err != nil {
					return err
				}
				if n > 0 { // the first look has nothing to compare with
					if colors(os.Stdout) {
						fmt.Print("\x1b[H\x1b[2J")
					}
					fmt.Print(text)
				}
				before = now
				if count == 0 || n < count {
					time.Sleep(interval)
				}
			}
			return nil
		},
	}
	c.Flags().DurationVar(&interval, "interval", 2*time.Second, "how often")
	c.Flags().IntVarP(&count, "count", "n", 0, "how many times; 0 is until it is interrupted")
	return c
}

// usage is what processes used when they were looked at.
type usage struct {
	at    time.Time
	ticks map[int]uint64 // by process
}

// ticksPerSecond is USER_HZ, which is 100 on every architecture that Go knows.
const ticksPerSecond = 100

// process is a line of /proc/PID/stat.
type process struct {
	parent   int
	ticks    uint64 // user and system
	resident uint64 // bytes
}

func topText(names []string, before usage) (usage, string, error) {
	paint := outPaint()
	t := inspect.NewTable("", heading(paint, "APPLICATION", "COMPONENT", "STATE", "CPU", "MEMORY", "PROCESSES", "WORKERS", "RESTARTS")...)
	statuses := map[string]*control.Status{}
	for _, name := range names {
		s, err := status(name)
		if err != nil {
			return usage{}, "", err
		}
		statuses[name] = s
	}
	now := usage{time.Now(), map[int]uint64{}}
	processes := readProcesses()
	children := map[int][]int{}
	for pid, p := range processes {
		now.ticks[pid] = p.ticks
		children[p.parent] = append(children[p.parent], pid)
	}
	for _, name := range names {
		for i := range statuses[name].Components {
			c := &statuses[name].Components[i]
			var ticks, resident uint64
			count := 0
			var add func(pid int)
			add = func(pid int) {
				p := processes[pid]
				count++
				resident += p.resident
				if was, known := before.ticks[pid]; known && p.ticks >= was {
					ticks += p.ticks - was
				}
				for _, child := range children[pid] {
					add(child)
				}
			}
			for _, w := range c.Workers {
				// All children of the worker's own init: also what has
				// left its parent is the worker's.
				if p, alive := processes[int(w.PID)]; alive {
					for _, pid := range children[p.parent] {
						add(pid)
					}
				}
			}
			percent := float64(ticks) / ticksPerSecond / now.at.Sub(before.at).Seconds() * 100
			t.Row(name, c.Name, paintState(c.State, paint), fmt.Sprintf("%.0f%%", percent), fmt.Sprintf("%.1fM", float64(resident)/(1<<20)),
				strconv.Itoa(count), strconv.Itoa(c.Running), strconv.Itoa(c.Restarts))
		}
	}
	return now, t.String(), nil
}

// readProcesses reads /proc/PID/stat (proc(5)) of all processes. One that ends
// meanwhile is left out.
func readProcesses() map[int]process {
	all := map[int]process{}
	files, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, file := range files {
		b, err := os.ReadFile(file)
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		end := strings.LastIndexByte(string(b), ')') // of the name, which may hold anything
		if err != nil || end < 0 {
			continue
		}
		fields := strings.Fields(string(b[end+1:])) // from the third on
		if len(fields) < 22 {
			continue
		}
		parent, _ := strconv.Atoi(fields[1])
		user, _ := strconv.ParseUint(fields[11], 10, 64)
		system, _ := strconv.ParseUint(fields[12], 10, 64)
		pages, _ := strconv.ParseUint(fields[21], 10, 64)
		all[pid] = process{parent, user + system, pages * uint64(os.Getpagesize())}
	}
	return all
}
