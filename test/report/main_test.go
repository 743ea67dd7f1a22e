package main

import (
	"strings"
	"testing"
	"time"
)

// What a run of go test -json -cover says, in the lines that a person reads.
func TestReport(t *testing.T) {
	in := strings.Join([]string{
		`{"Action":"output","Package":"bulkhead/a","Test":"TestGood","Output":"=== RUN   TestGood\n"}`,
		`{"Action":"pass","Package":"bulkhead/a","Test":"TestGood","Elapsed":0.1}`,
		`{"Action":"output","Package":"bulkhead/a","Test":"TestLater","Output":"    a_test.go:7: needs a moon\n"}`,
		`{"Action":"output","Package":"bulkhead/a","Test":"TestLater","Output":"--- SKIP: TestLater (0.00s)\n"}`,
		`{"Action":"skip","Package":"bulkhead/a","Test":"TestLater"}`,
		`{"Action":"output","Package":"bulkhead/a","Output":"coverage: 87.5% of statements\n"}`,
		`{"Action":"output","Package":"bulkhead/a","Output":"ok  \tbulkhead/a\t0.2s\tcoverage: 87.5% of statements\n"}`,
		`{"Action":"pass","Package":"bulkhead/a","Elapsed":0.2}`,
		`{"Action":"output","Package":"bulkhead/b","Test":"TestBad","Output":"    b_test.go:3: it is wrong\n"}`,
		`{"Action":"fail","Package":"bulkhead/b","Test":"TestBad"}`,
		`{"Action":"output","Package":"bulkhead/b","Output":"coverage: [no statements]\n"}`,
		`{"Action":"fail","Package":"bulkhead/b","Elapsed":0.2}`,
		`{"Action":"output","Package":"bulkhead/c","Output":"panic: oh\n"}`,
		`{"Action":"fail","Package":"bulkhead/c","Elapsed":0.2}`,
		`not an event`,
	}, "\n")
	var out strings.Builder
	r := &report{out: &out, output: map[string][]string{}}
	if err := r.read(strings.NewReader(in)); err != nil {
		t.Fatal(err)
	}
	if r.finish(3 * time.Second) {
		t.Error("a run with failures is good")
	}
	for _, want := range []string{
		"ok       bulkhead/a", "  a                                         87.5%\n", "  a TestLater: needs a moon\n",
		"FAILED bulkhead/b TestBad\n    b_test.go:3: it is wrong\n", "failed: bulkhead/b TestBad\n", "panic: oh\n", "not an event\n",
		"in 3s\n1 passed, 2 failed, 1 skipped\n",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("it does not say %q:\n%s", want, out.String())
		}
	}
	if strings.Contains(out.String(), "no statements") {
		t.Errorf("a package without statements has a coverage:\n%s", out.String())
	}
}
