package wire

import (
	"bytes"
	"errors"
	"testing"
)

func TestRoundTrip(t *testing.T) {
	var m Message
	p, err := m.Begin(Header{Kind: Request, Op: Open, ID: 7}).U32(3).U16(9).U64(1 << 40).String("store").String("").Bytes()
	if err != nil {
		t.Fatal(err)
	}
	h, b, err := Parse(p, 0)
	if err != nil {
		t.Fatal(err)
	}
	if h != (Header{Kind: Request, Op: Open, ID: 7}) {
		t.Errorf("header is %+v", h)
	}
	if a, c, d, s, e := b.U32(), b.U16(), b.U64(), b.String(), b.String(); a != 3 || c != 9 || d != 1<<40 || s != "store" || e != "" {
		t.Errorf("body is %d %d %d %q %q", a, c, d, s, e)
	}
	if err := b.End(); err != nil {
		t.Error(err)
	}
}

func TestMalformed(t *testing.T) {
	var m Message
	good := func() []byte {
		p, _ := m.Begin(Header{Kind: Request, Op: Status, ID: 1}).String("x").Bytes()
		return bytes.Clone(p)
	}
	for _, c := range []struct {
		name   string
		change func([]byte) []byte
		fds    int
		want   error
	}{
		{"empty", func(p []byte) []byte { return nil }, 0, ErrShort},
		{"half a header", func(p []byte) []byte { return p[:HeaderSize-1] }, 0, ErrShort},
		{"too large", func(p []byte) []byte { return make([]byte, MaximumSize+1) }, 0, ErrTooLarge},
		{"version", func(p []byte) []byte { p[0] = 2; return p }, 0, ErrVersion},
		{"kind", func(p []byte) []byte { p[1] = 9; return p }, 0, ErrHeader},
		{"reserved", func(p []byte) []byte { p[15] = 1; return p }, 0, ErrHeader},
		{"status of a request", func(p []byte) []byte { p[8] = 1; return p }, 0, ErrHeader},
		{"unannounced descriptor", func(p []byte) []byte { return p }, 1, ErrFDs},
		{"missing descriptor", func(p []byte) []byte { p[12] = 1; return p }, 0, ErrFDs},
		{"too many descriptors", func(p []byte) []byte { p[12] = 17; return p }, 17, ErrFDs},
		{"string longer than the packet", func(p []byte) []byte { p[HeaderSize] = 200; return p }, 0, ErrShort},
		{"bytes behind the end", func(p []byte) []byte { return append(p, 0) }, 0, ErrLong},
		{"zero byte in a string", func(p []byte) []byte { p[len(p)-1] = 0; return p }, 0, ErrString},
	} {
		_, b, err := Parse(c.change(good()), c.fds)
		if err == nil {
			b.Bytes()
			err = b.End()
		}
		if !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", c.name, err, c.want)
		}
	}
}

func TestTooLargeToSend(t *testing.T) {
	var m Message
	if _, err := m.Begin(Header{Kind: Request, Op: Status}).String(string(make([]byte, MaximumSize))).U32(1).Bytes(); !errors.Is(err, ErrTooLarge) {
		t.Errorf("got %v", err)
	}
}

func TestDecodingAllocatesNothing(t *testing.T) {
	var m Message
	p, _ := m.Begin(Header{Kind: Request, Op: Open, ID: 7}).U32(0).U32(0).String("store").String("a/b").Bytes()
	if n := testing.AllocsPerRun(100, func() {
		_, b, _ := Parse(p, 0)
		b.U32()
		b.U32()
		b.Bytes()
		b.Bytes()
		if b.End() != nil {
			t.Fatal("refused")
		}
	}); n != 0 {
		t.Errorf("%v allocations for each message", n)
	}
}

func FuzzParse(f *testing.F) {
	var m Message
	p, _ := m.Begin(Header{Kind: Request, Op: Open, ID: 7}).U32(0).U32(0).String("store").String("a/b").Bytes()
	f.Add(bytes.Clone(p), 0)
	p, _ = m.Begin(Header{Kind: Request, Op: Start, ID: 8, FDs: 2}).String("decode").U16(2).U16(0).U16(1).Bytes()
	f.Add(bytes.Clone(p), 2)
	f.Fuzz(func(t *testing.T, p []byte, fds int) {
		_, b, err := Parse(p, fds)
		if err != nil {
			return
		}
		for range 8 {
			if len(b.Bytes()) > MaximumSize {
				t.Fatal("a string is longer than a packet")
			}
			b.U16()
			b.U32()
			b.U64()
		}
		b.End()
	})
}
