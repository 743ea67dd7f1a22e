package plan

import (
	"bytes"
	"reflect"
	"strings"
	"testing"
	"time"
)

// fill gives every field a value that is not the zero one, so that a field
// which the codec forgets is missed.
func fill(v reflect.Value, depth int) {
	switch v.Kind() {
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int32, reflect.Int64:
		v.SetInt(-7)
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		v.SetUint(201)
	case reflect.String:
		v.SetString("a ü\x00 b")
	case reflect.Slice:
		if depth > 6 {
			return
		}
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		for i := range v.Len() {
			fill(v.Index(i), depth+1)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			fill(v.Field(i), depth+1)
		}
	}
}

func full() *Plan {
	p := new(Plan)
	fill(reflect.ValueOf(p).Elem(), 0)
	return p
}

func TestRoundTrip(t *testing.T) {
	for name, p := range map[string]*Plan{"empty": {}, "full": full(), "one": {
		Application: "a", Components: []Component{{Name: "c", Limits: Limits{WallTime: time.Second}}},
	}} {
		b, err := Encode(p)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		again, err := Decode[Plan](b)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if !reflect.DeepEqual(p, again) {
			t.Errorf("%s: what was decoded is not what was encoded", name)
		}
	}
}

func TestDecodeRefuses(t *testing.T) {
	good, err := Encode(full())
	if err != nil {
		t.Fatal(err)
	}
	other, err := Encode(&struct{ A, B string }{"x", "y"})
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		b    []byte
		want string
	}{
		"nothing":             {nil, "not a plan"},
		"other bytes":         {bytes.Repeat([]byte{7}, 100), "not a plan"},
		"half":                {good[:len(good)/2], "too early"},
		"one byte less":       {good[:len(good)-1], "too early"},
		"one byte more":       {append(bytes.Clone(good), 0), "behind its end"},
		"another type":        {other, "another build"},
		"more than the bound": {make([]byte, MaximumSize+1), "more than"},
	} {
		if _, err := Decode[Plan](c.b); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want one that says %q", name, err, c.want)
		}
	}
}

// A false length must not make the decoder allocate what it announces.
func TestDecodeAllocatesWhatIsThere(t *testing.T) {
	b, err := Encode(&Plan{})
	if err != nil {
		t.Fatal(err)
	}
	lie := bytes.Clone(b)
	at := len(magic) + 8 + 4 + 4 // behind the two empty strings: the number of grants
	copy(lie[at:], []byte{0xff, 0xff, 0xff, 0x7f})
	honest := testing.AllocsPerRun(10, func() {
		if _, err := Decode[Plan](b); err != nil {
			t.Fatal(err)
		}
	})
	if n := testing.AllocsPerRun(10, func() {
		if _, err := Decode[Plan](lie); err == nil {
			t.Fatal("a false length was believed")
		}
	}); n > honest+10 {
		t.Errorf("%v allocations for a plan of %d bytes, %v for an honest one", n, len(lie), honest)
	}
}

func FuzzDecode(f *testing.F) {
	for _, p := range []*Plan{{}, full()} {
		b, err := Encode(p)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := Decode[Plan](b)
		if err != nil {
			return
		}
		again, err := Encode(p)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(b, again) {
			t.Fatal("two encodings of one plan")
		}
	})
}
