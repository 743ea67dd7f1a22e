package sandbox

import (
	"slices"

	"golang.org/x/sys/unix"
)

// arrange gives a filter that decides as p does, with a shorter way to each
// decision. The kernel runs a new filter for every call number, to fill its
// cache of calls that are always allowed, and then translates all of it:
// loading is the dearest step of starting a worker, and it takes as long as the
// filter and its ways are. libseccomp's tree has a leaf for each call; most
// neighbouring calls have one answer, and so with a leaf for each range of
// calls most of it goes.
//
// It understands the form that libseccomp writes and no other: where p has
// another one, p itself is the result.
func arrange(p []unix.SockFilter) []unix.SockFilter {
	if len(p) < 4 || p[0] != load(offsetArchitecture) || p[1].Code != jumpEqual {
		return p
	}
	a := arranger{source: p, returns: map[uint32]int{}, blocks: map[int]int{}}
	native := p[1].K
	foreign, ok := a.verdict(^native, 0)
	if !ok || !foreign.final {
		return p
	}
	var ranges []callRange
	for _, first := range a.boundaries() {
		v, ok := a.verdict(native, first)
		if !ok || !v.final && !a.plain(v.at) {
			return p
		}
		if len(ranges) == 0 || ranges[len(ranges)-1].verdict != v {
			ranges = append(ranges, callRange{first, v})
		}
	}
	// Back to front: every jump goes forward, to what is there already.
	a.before(a.tree(ranges))
	top := a.put(load(offsetNumber))
	kill := a.near(a.answer(foreign))
	a.put(unix.SockFilter{Code: jumpEqual, Jt: a.distance(top), Jf: a.distance(kill), K: native})
	a.put(load(offsetArchitecture))
	slices.Reverse(a.reversed)
	return a.reversed
}

// Offsets in struct seccomp_data (seccomp(2)).
const (
	offsetNumber       = 0
	offsetArchitecture = 4
	offsetPointer      = 8 // and what follows, the arguments
)

const (
	loadWord     = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS
	maskWord     = unix.BPF_ALU | unix.BPF_AND | unix.BPF_K
	jump         = unix.BPF_JMP | unix.BPF_JA
	jumpEqual    = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
	jumpGreater  = unix.BPF_JMP | unix.BPF_JGT | unix.BPF_K
	jumpNotLess  = unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K
	returnAction = unix.BPF_RET | unix.BPF_K
)

func load(offset uint32) unix.SockFilter { return unix.SockFilter{Code: loadWord, K: offset} }

// verdict is what becomes of a call: an action, or the place in the source
// from which on its arguments decide.
type verdict struct {
	final  bool
	action uint32
	at     int
}

// callRange is a range of call numbers with one verdict, up to the next one.
type callRange struct {
	first uint32
	verdict
}

// arranger writes a program from its end to its beginning. Places in it are
// counted from the end.
type arranger struct {
	source   []unix.SockFilter
	reversed []unix.SockFilter
	returns  map[uint32]int // action -> place of the last instruction that returns it
	blocks   map[int]int    // place in the source -> place of its copy
}

// verdict follows the source for one architecture and call number.
func (a *arranger) verdict(architecture, number uint32) (verdict, bool) {
	var register uint32
	for pc := 0; pc < len(a.source); pc++ {
		i := a.source[pc]
		switch i.Code {
		case loadWord:
			switch i.K {
			case offsetNumber:
				register = number
			case offsetArchitecture:
				register = architecture
			default:
				return verdict{at: pc}, true
			}
		case returnAction:
			return verdict{final: true, action: i.K}, true
		case jump:
			pc += int(i.K)
		case jumpEqual, jumpGreater, jumpNotLess:
			taken := i.Code == jumpEqual && register == i.K ||
				i.Code == jumpGreater && register > i.K || i.Code == jumpNotLess && register >= i.K
			if taken {
				pc += int(i.Jt)
			} else {
				pc += int(i.Jf)
			}
		default:
			return verdict{}, false
		}
	}
	return verdict{}, false
}

// boundaries are the call numbers at which the verdict can change: whatever the
// source compares with, and the number behind it.
func (a *arranger) boundaries() []uint32 {
	all := []uint32{0}
	for _, i := range a.source {
		if i.Code == jumpEqual || i.Code == jumpGreater || i.Code == jumpNotLess {
			all = append(all, i.K, i.K+1)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// plain says whether what follows at a place depends on arguments only.
func (a *arranger) plain(at int) bool {
	for _, pc := range a.reachable(at) {
		switch i := a.source[pc]; i.Code {
		case loadWord:
			if i.K < offsetPointer {
				return false
			}
		case maskWord, returnAction, jump, jumpEqual, jumpGreater, jumpNotLess:
		default:
			return false
		}
	}
	return true
}

// reachable lists the instructions that can be reached from a place, in order.
func (a *arranger) reachable(at int) []int {
	var all []int
	reached := map[int]bool{at: true}
	for pc := at; pc < len(a.source); pc++ {
		if !reached[pc] {
			continue
		}
		all = append(all, pc)
		for _, next := range a.next(pc) {
			reached[next] = true
		}
	}
	return all
}

// next lists where an instruction leads: where its jump does, then where it
// does otherwise.
func (a *arranger) next(pc int) []int {
	switch i := a.source[pc]; i.Code {
	case returnAction:
		return nil
	case jump:
		return []int{pc + 1 + int(i.K)}
	case loadWord, maskWord:
		return []int{pc + 1}
	default:
		return []int{pc + 1 + int(i.Jt), pc + 1 + int(i.Jf)}
	}
}

func (a *arranger) put(i unix.SockFilter) int {
	a.reversed = append(a.reversed, i)
	return len(a.reversed) - 1
}

// distance is how far a jump that is written next has to go.
func (a *arranger) distance(place int) uint8 { return uint8(len(a.reversed) - place - 1) }

// farthest is how far a conditional jump goes, less what near may put between.
const farthest = 255 - 4

// near is a place that a conditional jump written soon can reach and that
// leads to the given one.
func (a *arranger) near(place int) int {
	if len(a.reversed)-place-1 <= farthest {
		return place
	}
	if i := a.reversed[place]; i.Code == returnAction {
		a.returns[i.K] = a.put(i)
		return a.returns[i.K]
	}
	return a.put(unix.SockFilter{Code: jump, K: uint32(len(a.reversed) - place - 1)})
}

// before makes sure that what is written next leads to a place without a jump.
func (a *arranger) before(place int) {
	if place != len(a.reversed)-1 {
		a.put(unix.SockFilter{Code: jump, K: uint32(len(a.reversed) - place - 1)})
	}
}

// tree writes the search for a call's range and returns its place.
func (a *arranger) tree(ranges []callRange) int {
	if len(ranges) == 1 {
		return a.answer(ranges[0].verdict)
	}
	middle := len(ranges) / 2
	upper := a.tree(ranges[middle:])
	lower := a.tree(ranges[:middle])
	upper, lower = a.near(upper), a.near(lower)
	return a.put(unix.SockFilter{Code: jumpNotLess, Jt: a.distance(upper), Jf: a.distance(lower), K: ranges[middle].first})
}

// answer is the place of a verdict, which is written where there is none yet.
func (a *arranger) answer(v verdict) int {
	if v.final {
		place, ok := a.returns[v.action]
		if !ok {
			place = a.put(unix.SockFilter{Code: returnAction, K: v.action})
			a.returns[v.action] = place
		}
		return place
	}
	if place, ok := a.blocks[v.at]; ok {
		return place
	}
	places := map[int]int{} // of copies
	for _, pc := range slices.Backward(a.reachable(v.at)) {
		i := a.source[pc]
		switch i.Code {
		case returnAction:
			places[pc] = a.answer(verdict{final: true, action: i.K})
			continue
		case jump:
			places[pc] = places[a.next(pc)[0]]
			continue
		case loadWord, maskWord:
			a.before(places[pc+1])
		default:
			taken, not := a.near(places[pc+1+int(i.Jt)]), a.near(places[pc+1+int(i.Jf)])
			i.Jt, i.Jf = a.distance(taken), a.distance(not)
		}
		places[pc] = a.put(i)
	}
	a.blocks[v.at] = places[v.at]
	return places[v.at]
}
