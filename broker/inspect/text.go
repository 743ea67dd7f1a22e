package inspect

import (
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Printable makes text of a program fit for a terminal: control characters
// and marks that turn the direction of writing could change what the
// administrator sees.
func Printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '\t' || unicode.IsPrint(r) && r != utf8.RuneError {
			return r
		}
		return '?'
	}, s)
}

func bytesWords(n uint64) string {
	const units = "KMGTPE"
	if n < 1024 {
		return strconv.FormatUint(n, 10)
	}
	value, unit := float64(n), -1
	for value >= 1024 && unit < len(units)-1 {
		value /= 1024
		unit++
	}
	text := strconv.FormatFloat(value, 'f', 1, 64)
	return strings.TrimSuffix(text, ".0") + units[unit:unit+1]
}

func decimal(n uint64) string { return strconv.FormatUint(n, 10) }

// diskWeightWords says "none" where the kernel has none.
func diskWeightWords(n uint64) string {
	if n == 0 {
		return "none"
	}
	return decimal(n)
}

func percent(n uint64) string { return decimal(n) + "%" }

// counted writes a number of things.
func counted(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return strconv.Itoa(n) + " " + thing + "s"
}

// Span writes a duration as people say it: two units at most.
func Span(d time.Duration) string {
	switch {
	case d < 0:
		return "0s"
	case d < time.Minute:
		return fmt.Sprintf("%ds", d/time.Second)
	case d < time.Hour:
		return fmt.Sprintf("%dm%02ds", d/time.Minute, d%time.Minute/time.Second)
	case d < 24*time.Hour:
		return fmt.Sprintf("%dh%02dm", d/time.Hour, d%time.Hour/time.Minute)
	}
	return fmt.Sprintf("%dd%02dh", d/(24*time.Hour), d%(24*time.Hour)/time.Hour)
}

func (d *Descriptor) words() string {
	text := d.Kind + " " + Printable(d.Object)
	if s := d.Socket; s != nil {
		text = s.words()
	}
	if d.Access != "" && d.Kind != "socket" {
		text += ", " + d.Access
	}
	return text
}

func (s *Socket) words() string {
	text := s.Family + " " + s.Type + " socket"
	if s.Listening {
		text += ", listening"
	}
	if s.Local != "" {
		text += " on " + Printable(s.Local)
	}
	if s.Peer != "" {
		text += " to " + Printable(s.Peer)
	}
	if s.PeerPID != 0 {
		text += fmt.Sprintf(" with process %d", s.PeerPID)
	}
	if s.Host {
		text += ", in the host's network"
	}
	return text
}

func (m *Mount) words() string {
	return m.Type + " of " + Printable(m.Source) + Printable(m.Root) + " (" + strings.Join(m.Flags, ",") + ")"
}
