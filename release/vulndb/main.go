// Command vulndb makes a copy of the Go vulnerability database that
// release/vulncheck reads where vuln.go.dev cannot be reached:
//
//	git clone https://github.com/golang/vulndb
//	go run ./release/vulndb vulndb DIRECTORY
//	make vulncheck GOVULNDB=file://DIRECTORY
//
// The form is the one of https://go.dev/doc/security/vuln/database: the reports
// as they are, and indexes of modules and of reports.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// report is what the indexes need of one.
type report struct {
	ID       string    `json:"id"`
	Modified time.Time `json:"modified"`
	Aliases  []string  `json:"aliases"`
	Affected []struct {
		Package struct {
			Name string `json:"name"`
		} `json:"package"`
	} `json:"affected"`
}

// ofModule is a report in the index of modules.
type ofModule struct {
	ID       string    `json:"id"`
	Modified time.Time `json:"modified"`
}

// module is one in the index of modules.
type module struct {
	Path  string     `json:"path"`
	Vulns []ofModule `json:"vulns"`
}

// known is a report in the index of reports.
type known struct {
	ofModule
	Aliases []string `json:"aliases,omitempty"`
}

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: vulndb REPOSITORY DIRECTORY")
		os.Exit(2)
	}
	n, err := convert(os.Args[1], os.Args[2])
	if err != nil {
		fmt.Fprintln(os.Stderr, "vulndb:", err)
		os.Exit(1)
	}
	fmt.Printf("%d reports in %s\n", n, os.Args[2])
}

func convert(repository, directory string) (int, error) {
	files, err := filepath.Glob(filepath.Join(repository, "data/osv/GO-*.json"))
	if err != nil {
		return 0, err
	}
	if len(files) == 0 {
		return 0, fmt.Errorf("%s has no data/osv/GO-*.json: is it a checkout of github.com/golang/vulndb?", repository)
	}
	for _, sub := range []string{"ID", "index"} {
		if err := os.MkdirAll(filepath.Join(directory, sub), 0o755); err != nil {
			return 0, err
		}
	}
	modules := map[string][]ofModule{}
	var all []known
	var newest time.Time
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return 0, err
		}
		var r report
		if err := json.Unmarshal(text, &r); err != nil {
			return 0, fmt.Errorf("%s: %w", file, err)
		}
		if r.ID == "" || r.ID+".json" != filepath.Base(file) {
			return 0, fmt.Errorf("%s: its id is %q", file, r.ID)
		}
		if err := os.WriteFile(filepath.Join(directory, "ID", r.ID+".json"), text, 0o644); err != nil {
			return 0, err
		}
		one := ofModule{r.ID, r.Modified}
		all = append(all, known{one, r.Aliases})
		if r.Modified.After(newest) {
			newest = r.Modified
		}
		for _, a := range r.Affected {
			if !slices.Contains(modules[a.Package.Name], one) {
				modules[a.Package.Name] = append(modules[a.Package.Name], one)
			}
		}
	}
	var index []module
	for path, vulns := range modules {
		index = append(index, module{path, vulns})
	}
	slices.SortFunc(index, func(a, b module) int { return strings.Compare(a.Path, b.Path) })
	return len(all), errors.Join(
		write(directory, "index/db.json", struct {
			Modified time.Time `json:"modified"`
		}{newest}),
		write(directory, "index/modules.json", index),
		write(directory, "index/vulns.json", all),
	)
}

// write makes an index.
func write(directory, name string, content any) error {
	text, err := json.Marshal(content)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(directory, name), append(text, '\n'), 0o644)
}
