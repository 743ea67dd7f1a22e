package main

import "strings"

// licenses are known by a sentence that the others have not; the first that
// fits counts.
var licenses = []struct {
	name  string
	words []string
}{
	{"Apache-2.0", []string{"Apache License", "Version 2.0"}},
	{"MPL-2.0", []string{"Mozilla Public License", "2.0"}},
	{"BSD-3-Clause", []string{"Redistribution and use in source and binary forms", "Neither the name"}},
	{"BSD-3-Clause", []string{"Redistribution and use in source and binary forms", "may not be used to endorse"}},
	{"BSD-2-Clause", []string{"Redistribution and use in source and binary forms"}},
	{"MIT", []string{"Permission is hereby granted, free of charge", "without restriction"}},
	{"ISC", []string{"Permission to use, copy, modify, and", "distribute this software"}},
}

// recognize returns the SPDX name of a licence's text, "" for none.
func recognize(text string) string {
	text = strings.Join(strings.Fields(text), " ")
	for _, l := range licenses {
		fits := true
		for _, words := range l.words {
			fits = fits && strings.Contains(text, words)
		}
		if fits {
			return l.name
		}
	}
	return ""
}

// notices are the texts that go with the programs.
func notices(parts []*part) []byte {
	var b strings.Builder
	b.WriteString("What Bulkhead's programs link that others wrote, and their licences.\n")
	for _, p := range parts {
		b.WriteString("\n" + strings.Repeat("=", 80) + "\n")
		name := p.name
		if p.name == "std" {
			name = "Go and its standard library"
		}
		b.WriteString(name + " " + p.version + ", in " + strings.Join(p.in, ", ") + ": " + p.license + "\n")
		for _, text := range p.texts {
			b.WriteString(strings.Repeat("-", 80) + "\n" + strings.TrimRight(text, "\n") + "\n")
		}
	}
	return []byte(b.String())
}
