package subordinate

import (
	"bufio"
	"cmp"
	"errors"
	"io"
	"slices"
	"strconv"
	"strings"
)

// Range is so many ids from First on.
type Range struct {
	First, Count uint32
}

// What of a range is used. Below lie the ids of the host's own accounts, and what
// the kernel shows for ids that it does not know; above are numbers that programs
// take for negative ones.
const (
	lowest uint64 = 1 << 16
	end    uint64 = 1 << 31
)

// mostText bounds a file, longestLine a line of it: newuidmap reads lines of 1023
// bytes.
const (
	mostText    = 1 << 20
	longestLine = 1023
)

var errTooLong = errors.New("it has a longer line, or is larger, than it ever should be")

// parse returns the ranges that a file of subuid(5) gives to a user: lines of
// OWNER:FIRST:COUNT, the owner by name or by number, in order and without
// overlap. What is not understood gives nothing: the numbers here are decimal,
// where newuidmap takes other bases too.
func parse(file io.Reader, name string, uid uint32) ([]Range, error) {
	number := strconv.FormatUint(uint64(uid), 10)
	limited := &io.LimitedReader{R: file, N: mostText + 1}
	lines := bufio.NewScanner(limited)
	lines.Buffer(make([]byte, 0, longestLine+1), longestLine+1)
	var found []Range
	for lines.Scan() {
		fields := strings.Split(lines.Text(), ":")
		if len(fields) != 3 || fields[0] == "" || fields[0] != name && fields[0] != number {
			continue
		}
		first, errFirst := strconv.ParseUint(fields[1], 10, 32)
		count, errCount := strconv.ParseUint(fields[2], 10, 32)
		if errFirst != nil || errCount != nil || fields[1][0] == '+' || fields[2][0] == '+' {
			continue
		}
		from, to := max(first, lowest), min(first+count, end)
		if from < to {
			found = append(found, Range{uint32(from), uint32(to - from)})
		}
	}
	if err := lines.Err(); err != nil || limited.N <= 0 {
		return nil, cmp.Or(err, errTooLong)
	}
	return merged(found), nil
}

// merged sorts ranges and makes one of those that touch or overlap.
func merged(ranges []Range) []Range {
	slices.SortFunc(ranges, func(a, b Range) int { return cmp.Compare(a.First, b.First) })
	all := ranges[:0]
	for _, r := range ranges {
		if n := len(all); n > 0 && r.First <= all[n-1].First+all[n-1].Count {
			last := &all[n-1]
			last.Count = max(last.Count, r.First+r.Count-last.First)
			continue
		}
		all = append(all, r)
	}
	return all
}
