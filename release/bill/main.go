// Command bill writes down what a release is made of: a software bill of
// materials in CycloneDX's JSON, and the licences of everything that is linked.
//
//	bill -version V -date D -out DIRECTORY PROGRAM…
//
// What is linked is read off the programs themselves (go version -m), and the
// same programs give the same bytes.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

func main() {
	version := flag.String("version", "", "of the release")
	date := flag.String("date", "", "of the release, RFC 3339")
	out := flag.String("out", ".", "where bulkhead.cdx.json and THIRD-PARTY go")
	flag.Parse()
	if err := run(*version, *date, *out, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "bill:", err)
		os.Exit(1)
	}
}

func run(version, date, out string, programs []string) error {
	at, err := time.Parse(time.RFC3339, date)
	if err != nil {
		return fmt.Errorf("the date of the release: %w", err)
	}
	parts, err := parts(programs)
	if err != nil {
		return err
	}
	bill, err := newBill(version, at.UTC(), programs, parts)
	if err != nil {
		return err
	}
	for name, text := range map[string][]byte{"bulkhead.cdx.json": bill, "THIRD-PARTY": notices(parts)} {
		if err := os.WriteFile(filepath.Join(out, name), text, 0o644); err != nil {
			return err
		}
	}
	return nil
}
