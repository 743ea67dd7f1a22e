package hostile

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// patience is how much longer than asked a race may take on a busy machine.
const patience = 30 * time.Second

// tally counts what a race got.
type tally struct {
	counts map[string]int
	wanted []string
	end    time.Time
}

// newTally is for a race of a DURATION, and longer if it takes longer to get each of
// WANTED, which commas separate: a side that never had its turn has lost nothing.
func newTally(duration, wanted string) *tally {
	limit, _ := time.ParseDuration(duration)
	return &tally{counts: map[string]int{}, wanted: strings.Split(wanted, ","), end: time.Now().Add(limit)}
}

// more says whether the race goes on.
func (t *tally) more() bool {
	return goesOn(t.end, !slices.ContainsFunc(t.wanted, func(what string) bool { return t.counts[what] == 0 }))
}

// goesOn says whether a race that should last until end goes on: later too, while
// one side has not had its turn.
func goesOn(end time.Time, met bool) bool {
	now := time.Now()
	return now.Before(end) || !met && now.Before(end.Add(patience))
}

func (t *tally) got(what string) { t.counts[what]++ }

func (t *tally) print() {
	fmt.Println("got:", strings.Join(slices.Sorted(maps.Keys(t.counts)), ", "))
}
