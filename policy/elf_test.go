package policy

import (
	"bytes"
	"os"
	"strings"
	"testing"
	"time"
)

// FuzzImage: a program comes from whoever wrote it, and its headers may say
// anything.
func FuzzImage(f *testing.F) {
	for _, name := range []string{"/usr/bin/env", "/lib/x86_64-linux-gnu/libc.so.6"} {
		content, err := os.ReadFile(name)
		if err != nil {
			continue // another distribution keeps them elsewhere
		}
		f.Add(content[:min(len(content), 64<<10)])
	}
	f.Add([]byte("\x7fELF"))
	f.Fuzz(func(t *testing.T, content []byte) {
		start := time.Now()
		image, err := readImage(bytes.NewReader(content))
		if (image == nil) == (err == nil) {
			t.Errorf("both or none: %v, %v", image, err)
		}
		if took := time.Since(start); took > 2*time.Second {
			t.Errorf("took %s", took)
		}
	})
}

func FuzzLinkerCache(f *testing.F) {
	if content, err := os.ReadFile(linkerCache); err == nil {
		f.Add(content[:min(len(content), 16<<10)])
	}
	f.Add([]byte("glibc-ld.so.cache1.1"))
	f.Fuzz(func(t *testing.T, content []byte) {
		entries, err := parseLinkerCache(content)
		if err != nil && entries != nil {
			t.Error("entries of a damaged cache")
		}
		for _, files := range entries {
			for _, file := range files {
				if !strings.HasPrefix(file, "/") {
					t.Errorf("the cache leads to %q", file)
				}
			}
		}
	})
}

func TestDamagedImages(t *testing.T) {
	whole, err := os.ReadFile("/usr/bin/env")
	if err != nil {
		t.Skip("this machine has no /usr/bin/env to damage")
	}
	for name, damage := range map[string]func([]byte) []byte{
		"empty":              func([]byte) []byte { return nil },
		"header only":        func(b []byte) []byte { return b[:64] },
		"32 bits":            func(b []byte) []byte { b[4] = 1; return b },
		"another machine":    func(b []byte) []byte { b[18] = 40; return b },
		"an object file":     func(b []byte) []byte { b[16] = 1; return b },
		"headers far away":   func(b []byte) []byte { b[39] = 0x7f; return b },
		"headers before all": func(b []byte) []byte { b[39] = 0xff; return b },
		"many headers":       func(b []byte) []byte { b[57] = 0xff; return b },
	} {
		if _, err := readImage(bytes.NewReader(damage(bytes.Clone(whole)))); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
