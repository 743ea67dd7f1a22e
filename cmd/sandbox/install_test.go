package main

import "testing"

// A unit that cannot be written is named, not the file that was tried for it.
func TestNotInstalled(t *testing.T) {
	for directory, why := range map[string]string{
		"/proc/version":   "not a directory",
		"/proc/not-there": "no such file or directory",
	} {
		want := "write the unit " + directory + "/a.service: " + why + "; --directory names another place, --print only shows it"
		if err := install(directory, []unitFile{{"a.service", unitMark}}); err == nil || err.Error() != want {
			t.Errorf("%v, want %s", err, want)
		}
	}
}
