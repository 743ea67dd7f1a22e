// Package calls names the system calls of linux/amd64.
//
// It is a leaf: the compiler of policies, the builder of filters and the
// monitor's messages all read the same table.
package calls

import "sync"

// Last is the highest number that Name knows. What a kernel adds after it is
// unknown to every policy, and a filter should answer ENOSYS to it, so that
// libraries fall back to what they used before (EPERM would make them fail).
const Last = 469

// Name returns the name of a system call, or "" when the number is unknown.
func Name(number int) string {
	if number < 0 || number >= len(names) {
		return ""
	}
	return names[number]
}

// Number returns the number of a system call.
func Number(name string) (int, bool) {
	number, ok := numbers()[name]
	return number, ok
}

// Names returns all known names in the order of their numbers.
func Names() []string { return append([]string(nil), ordered()...) }

// Made when somebody asks: four programs link this at every start, and two ask.
var ordered = sync.OnceValue(func() []string {
	var all []string
	for _, name := range names {
		if name != "" {
			all = append(all, name)
		}
	}
	return all
})

var numbers = sync.OnceValue(func() map[string]int {
	byName := make(map[string]int, len(names))
	for number, name := range names {
		if name != "" {
			byName[name] = number
		}
	}
	return byName
})
