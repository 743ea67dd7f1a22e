package subordinate

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	for _, c := range []struct {
		what, text string
		want       []Range
	}{
		{"nothing", "", nil},
		{"by name", "alice:100000:65536\n", []Range{{100000, 65536}}},
		{"by number", "1000:100000:65536\n", []Range{{100000, 65536}}},
		{"without a last newline", "alice:100000:65536", []Range{{100000, 65536}}},
		{"others'", "bob:100000:65536\nalic:1000000:9\nalice2:1000000:9\n10000:1000000:9\n", nil},
		{"several, in order", "alice:300000:10\nbob:1:1\nalice:100000:10\n", []Range{{100000, 10}, {300000, 10}}},
		{"that touch", "alice:100000:10\nalice:100010:10\n", []Range{{100000, 20}}},
		{"that overlap", "alice:100000:100\nalice:100010:10\nalice:100050:100\n", []Range{{100000, 150}}},
		{"twice", "alice:100000:10\nalice:100000:10\n", []Range{{100000, 10}}},
		{"of no id", "alice:100000:0\n", nil},
		{"of the host's accounts", "alice:0:1000\nalice:33:1\nalice:65534:1\n", nil},
		{"from the host's accounts on", "alice:0:100000\n", []Range{{65536, 34464}}},
		{"up to the last id", "alice:100000:4294967295\n", []Range{{100000, 1<<31 - 100000}}},
		{"of high ids only", "alice:2147483648:65536\nalice:4294967295:1\n", nil},
		{"beyond the last id", "alice:4294967296:1\nalice:100000:4294967296\nalice:18446744073709551615:2\n", nil},
		{"of other bases", "alice:0x20000:10\nalice:100000:0x10\nalice:1e5:10\n", nil},
		{"with signs", "alice:-100000:10\nalice:100000:-1\nalice:+100000:10\nalice:100000:+1\n", nil},
		{"with blanks", " alice:100000:10\nalice :100000:10\nalice: 100000:10\nalice:100000:10 \n", nil},
		{"with too few or too many fields", "alice\nalice:\nalice:100000\nalice:100000:\nalice::10\nalice:100000:10:\nalice:100000:10:x\n::\n:100000:10\n", nil},
		{"comments", "# alice:100000:10\n#alice:100000:10\n", nil},
		{"a zero byte", "alice\x00:100000:10\nalice:100000:10\x00\n", nil},
		{"lines of Windows", "alice:100000:10\r\n", []Range{{100000, 10}}},
	} {
		got, err := parse(strings.NewReader(c.text), "alice", 1000)
		if err != nil || !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, %v; not %v", c.what, got, err, c.want)
		}
	}
}

// Nobody is made to read for ever, and half a file is no file.
func TestParseTooMuch(t *testing.T) {
	for _, text := range []string{
		"alice:100000:10\n" + strings.Repeat("x", longestLine+2) + "\n",
		"alice:100000:10\n" + strings.Repeat("bob:1:1\n", mostText/8),
	} {
		if got, err := parse(strings.NewReader(text), "alice", 1000); err == nil || got != nil {
			t.Errorf("%d bytes: %v, %v", len(text), got, err)
		}
	}
	if _, err := parse(strings.NewReader(strings.Repeat("bob:1:1\n", mostText/8)), "alice", 1000); err != nil {
		t.Errorf("the largest file: %v", err)
	}
	failing := errors.New("no disk")
	if _, err := parse(reader{failing}, "alice", 1000); !errors.Is(err, failing) {
		t.Errorf("%v", err)
	}
}

type reader struct{ err error }

func (r reader) Read([]byte) (int, error) { return 0, r.err }

// FuzzParse: whatever stands in the file, no id of the host's accounts comes out, no id twice, and
// none that the lines of others gave.
func FuzzParse(f *testing.F) {
	for _, text := range []string{
		"alice:100000:65536\n", "1000:100000:65536\nbob:165536:65536\n", "alice:0:4294967295\n", "alice:100000:10\nalice:100005:10\n",
		"alice:4294967295:4294967295\n", "alice:+1:-1\n::\n:\x00", "alice:100000:10\r\nalice:99999999999999999999:1",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		ranges, err := parse(strings.NewReader(text), "alice", 1000)
		if err != nil {
			if ranges != nil {
				t.Error("ids of a file that cannot be read")
			}
			return
		}
		if len(ranges) > 0 && !strings.Contains(text, "alice:") && !strings.Contains(text, "1000:") {
			t.Errorf("%v are somebody else's", ranges)
		}
		before := lowest - 1
		for _, r := range ranges {
			if uint64(r.First) <= before || r.Count == 0 || uint64(r.First)+uint64(r.Count) > end {
				t.Fatalf("%v", ranges)
			}
			before = uint64(r.First) + uint64(r.Count)
		}
		if n := Total(ranges); n > 0 && uint64(At(ranges, n-1)) != before-1 {
			t.Errorf("the last id of %v is %d", ranges, At(ranges, n-1))
		}
	})
}
