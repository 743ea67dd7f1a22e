package daemons

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func vsftpdSettings(t *testing.T) (settings []string, port, root string) {
	t.Helper()
	port, root = freePort(t), directory(t, "root")
	return []string{"variables.port=" + port, "variables.data-port=" + freePort(t), "variables.root=" + root}, port, root
}

func TestVsftpd(t *testing.T) {
	long(t)
	needs(t, "vsftpd", "curl")
	settings, port, root := vsftpdSettings(t)
	big := strings.Repeat("a line of a larger file\n", 100_000)
	file(t, filepath.Join(root, "small"), "a small file\n", 0o644)
	file(t, filepath.Join(root, "large"), big, 0o644)
	a := start(t, "vsftpd", settings...)
	url := "ftp://127.0.0.1:" + port + "/"
	a.expect("small", "curl", "-sS", "--max-time", "20", url)

	// Two transfers in one session, each over a connection of its own.
	got, err := command("curl", "-sS", "--max-time", "60", url+"large", url+"small")
	if err != nil || got != big+"a small file\n" {
		t.Errorf("curl got %d bytes, not %d: %v", len(got), len(big)+len("a small file\n"), err)
	}
	for _, refused := range [][]string{
		{"-T", filepath.Join(root, "small"), url + "new"},
		{"-Q", "DELE " + root + "/small", url},
		{"-P", "-", url + "small"},
		{url + "%2Fetc%2Fshadow"},
		{"--user", "root:root", url},
	} {
		if got, err := command("curl", append([]string{"-sS", "--max-time", "60"}, refused...)...); err == nil {
			t.Errorf("curl %s succeeded: %s", strings.Join(refused, " "), got)
		}
	}
	if _, err := os.Stat(filepath.Join(root, "small")); err != nil {
		t.Error(err)
	}
	a.denials()
	a.stop()
}

func TestVsftpdWalls(t *testing.T) {
	long(t)
	needs(t, "vsftpd")
	settings, port, _ := vsftpdSettings(t)
	wallsOfConnections(t, "vsftpd", "127.0.0.1:"+port, settings...)
}
