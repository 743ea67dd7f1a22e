// Package learn learns policies for real daemons and tools, and then runs them
// under what was learnt with work that the learning has not seen.
package learn
