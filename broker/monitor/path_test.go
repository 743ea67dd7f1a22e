package monitor

import "testing"

func TestBeneath(t *testing.T) {
	for _, c := range []struct {
		name, root, rest string
		ok               bool
	}{
		{"/srv/x/a", "/srv/x", "a", true},
		{"/srv/x", "/srv/x", "", true},
		{"/srv/x/", "/srv/x", "", true},
		{"/srv/xy", "/srv/x", "", false},
		{"/srv", "/srv/x", "", false},
		{"//srv///x//a/", "/srv/x", "a/", true},
		{"/srv/./x/./a/.", "/srv/x", "a/", true},
		{"/srv/x/a/../b", "/srv/x", "a/../b", true},
		{"/srv/x/a/../../b", "/srv/x", "", false},
		{"/srv/x/..", "/srv/x", "", false},
		{"/srv/x/../x/a", "/srv/x", "a", true},
		{"/srv/y/../x/a", "/srv/x", "a", true},
		{"/../srv/x/a", "/srv/x", "a", true},
		{"/srv/x/a/../../../etc", "/srv/x", "", false},
		{"/srv/x/...", "/srv/x", "...", true},
		{"/srv/x/.a/..b", "/srv/x", ".a/..b", true},
		{"/a", "/", "a", true},
		{"/../a", "/", "a", true},
		{"/", "/", "", true},
	} {
		rest, ok := beneath(c.name, c.root)
		if rest != c.rest || ok != c.ok {
			t.Errorf("beneath(%q, %q) = %q, %v; want %q, %v", c.name, c.root, rest, ok, c.rest, c.ok)
		}
	}
}

// What it calls beneath never climbs, going by its names.
func FuzzBeneath(f *testing.F) {
	for _, name := range []string{"/srv/x/a", "/srv/x/../x/a/..", "//srv/.//x/a/../../x/../b"} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		rest, ok := beneath("/"+name, "/srv/x")
		if !ok {
			return
		}
		depth := 0
		for _, element := range elements(rest) {
			if element == ".." {
				depth--
			} else if element != "." {
				depth++
			}
			if depth < 0 {
				t.Fatalf("beneath(%q) climbs: %q", name, rest)
			}
		}
	})
}
