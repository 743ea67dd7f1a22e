package policy

import (
	"fmt"
	"sort"
	"strings"
)

// nearest returns the candidate that a writer most likely meant by word, or
// "" when none is near.
func nearest(word string, candidates []string) string {
	best, distance := "", 0
	for _, candidate := range candidates {
		d := editDistance(strings.ToLower(word), strings.ToLower(candidate))
		// A third of the word may be wrong: more is another word.
		if d > max(1, len(candidate)/3) {
			continue
		}
		if best == "" || d < distance || d == distance && candidate < best {
			best, distance = candidate, d
		}
	}
	if best == "" && len(word) >= 4 {
		for _, candidate := range candidates {
			if strings.HasPrefix(candidate, word) || strings.HasPrefix(word, candidate) && len(candidate) >= 4 {
				return candidate
			}
		}
	}
	return best
}

// suggestion is the hint for a word that is none of candidates.
func suggestion(word string, candidates []string) string {
	if near := nearest(word, candidates); near != "" {
		return fmt.Sprintf("did you mean %q?", near)
	}
	if len(candidates) == 0 {
		return ""
	}
	sorted := append([]string(nil), candidates...)
	sort.Strings(sorted)
	const most = 60
	if len(sorted) > most {
		return ""
	}
	return "allowed here: " + strings.Join(sorted, ", ")
}

// editDistance counts the insertions, deletions, replacements and swaps of
// neighbours that turn a into b. Words too long to be a slip are far away.
func editDistance(a, b string) int {
	const longest = 64
	if len(a) > longest || len(b) > longest {
		return longest
	}
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		rows[i][0] = i
	}
	for j := range rows[0] {
		rows[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			rows[i][j] = min(rows[i-1][j]+1, rows[i][j-1]+1, rows[i-1][j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				rows[i][j] = min(rows[i][j], rows[i-2][j-2]+1)
			}
		}
	}
	return rows[len(a)][len(b)]
}
