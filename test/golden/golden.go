// Package golden compares texts with files that stand beside a test.
package golden

import (
	"flag"
	"os"
	"testing"
)

var update = flag.Bool("update", false, "write the golden files anew")

// Updates says whether the files are written anew.
func Updates() bool { return *update }

// Expect compares text with what a file says.
func Expect(t testing.TB, file, text string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatalf("%v (go test -update makes it)", err)
	}
	if string(want) != text {
		t.Errorf("%s differs (go test -update writes it anew); got:\n%s\nwant:\n%s", file, text, want)
	}
}
