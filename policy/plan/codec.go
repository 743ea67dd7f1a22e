package plan

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"reflect"
)

// The encoding is what a struct walk gives: fields in order, integers as
// eight bytes little-endian, strings and slices with a four-byte length in
// front. A fingerprint of the types stands at the start, so that a launcher
// and a monitor of different builds refuse each other instead of
// misunderstanding each other.

// MaximumSize bounds an encoded plan, in bytes.
const MaximumSize = 64 << 20

const magic = "bulkhead plan 1\n"

func fingerprint(t reflect.Type) uint64 {
	h := fnv.New64a()
	describe(h, t, 0)
	return h.Sum64()
}

func describe(w interface{ Write([]byte) (int, error) }, t reflect.Type, depth int) {
	w.Write([]byte(t.Kind().String()))
	switch t.Kind() {
	case reflect.Slice:
		// A Group holds Groups: the name is enough from the second time on.
		if depth < 8 {
			describe(w, t.Elem(), depth+1)
		}
	case reflect.Struct:
		for i := range t.NumField() {
			w.Write([]byte(t.Field(i).Name))
			describe(w, t.Field(i).Type, depth+1)
		}
	}
}

// Encode returns the bytes of the plan, or of another struct of the same
// kinds of fields, that v points to.
func Encode[T any](v *T) ([]byte, error) {
	b := append([]byte(magic), make([]byte, 8)...)
	binary.LittleEndian.PutUint64(b[len(magic):], fingerprint(reflect.TypeFor[T]()))
	b = encode(b, reflect.ValueOf(v).Elem())
	if len(b) > MaximumSize {
		return nil, fmt.Errorf("encode plan: %d bytes are more than the %d allowed", len(b), MaximumSize)
	}
	return b, nil
}

func encode(b []byte, v reflect.Value) []byte {
	switch v.Kind() {
	case reflect.Bool:
		if v.Bool() {
			return append(b, 1)
		}
		return append(b, 0)
	case reflect.Int, reflect.Int32, reflect.Int64:
		return binary.LittleEndian.AppendUint64(b, uint64(v.Int()))
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return binary.LittleEndian.AppendUint64(b, v.Uint())
	case reflect.String:
		b = binary.LittleEndian.AppendUint32(b, uint32(v.Len()))
		return append(b, v.String()...)
	case reflect.Slice:
		b = binary.LittleEndian.AppendUint32(b, uint32(v.Len()))
		if v.Type().Elem().Kind() == reflect.Uint8 && v.Type() == reflect.TypeFor[[]byte]() {
			return append(b, v.Bytes()...)
		}
		for i := range v.Len() {
			b = encode(b, v.Index(i))
		}
		return b
	case reflect.Struct:
		for i := range v.NumField() {
			b = encode(b, v.Field(i))
		}
		return b
	}
	panic("plan: a field of kind " + v.Kind().String() + " has no encoding")
}

var errShort = errors.New("decode plan: it ends too early")

// Decode is the inverse of Encode. It never allocates more than a small
// multiple of len(b), whatever b says.
func Decode[T any](b []byte) (*T, error) {
	rest, err := checked[T](b)
	if err != nil {
		return nil, err
	}
	return decode[T](decoder{b: rest})
}

// checked is what stands behind the head of an encoded T.
func checked[T any](b []byte) ([]byte, error) {
	if len(b) > MaximumSize {
		return nil, fmt.Errorf("decode plan: %d bytes are more than the %d allowed", len(b), MaximumSize)
	}
	if len(b) < len(magic)+8 || string(b[:len(magic)]) != magic {
		return nil, errors.New("decode plan: this is not a plan")
	}
	if binary.LittleEndian.Uint64(b[len(magic):]) != fingerprint(reflect.TypeFor[T]()) {
		return nil, errors.New("decode plan: it was made by another build of sandbox; install all its programs from one build")
	}
	return b[len(magic)+8:], nil
}

// DecodeParts decodes a plan for whoever needs some of each component only: part
// takes the rest away from one before the next is read.
func DecodeParts(b []byte, part func(*Component)) (*Plan, error) {
	rest, err := checked[Plan](b)
	if err != nil {
		return nil, err
	}
	return decode[Plan](decoder{b: rest, part: part})
}

func decode[T any](d decoder) (*T, error) {
	v := new(T)
	if err := d.value(reflect.ValueOf(v).Elem(), 0); err != nil {
		return nil, err
	}
	if len(d.b) != 0 {
		return nil, fmt.Errorf("decode plan: %d bytes stand behind its end", len(d.b))
	}
	return v, nil
}

type decoder struct {
	b    []byte
	part func(*Component)
}

func (d *decoder) take(n int) ([]byte, error) {
	if n > len(d.b) {
		return nil, errShort
	}
	b := d.b[:n]
	d.b = d.b[n:]
	return b, nil
}

func (d *decoder) value(v reflect.Value, depth int) error {
	if depth > 32 {
		return errors.New("decode plan: groups are nested too deep")
	}
	switch v.Kind() {
	case reflect.Bool:
		b, err := d.take(1)
		if err != nil {
			return err
		}
		if b[0] > 1 {
			return errors.New("decode plan: a boolean is neither 0 nor 1")
		}
		v.SetBool(b[0] == 1)
	case reflect.Int, reflect.Int32, reflect.Int64:
		b, err := d.take(8)
		if err != nil {
			return err
		}
		n := int64(binary.LittleEndian.Uint64(b))
		if v.OverflowInt(n) {
			return errors.New("decode plan: a number is out of range")
		}
		v.SetInt(n)
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		b, err := d.take(8)
		if err != nil {
			return err
		}
		n := binary.LittleEndian.Uint64(b)
		if v.OverflowUint(n) {
			return errors.New("decode plan: a number is out of range")
		}
		v.SetUint(n)
	case reflect.String:
		n, err := d.length()
		if err != nil {
			return err
		}
		b, err := d.take(n)
		if err != nil {
			return err
		}
		v.SetString(string(b))
	case reflect.Slice:
		n, err := d.length()
		if err != nil {
			return err
		}
		if v.Type() == reflect.TypeFor[[]byte]() {
			b, err := d.take(n)
			if err != nil {
				return err
			}
			if n > 0 {
				v.SetBytes(append([]byte(nil), b...))
			}
			return nil
		}
		if n == 0 {
			return nil
		}
		// Grown element by element: a false length costs nothing.
		for range n {
			e := reflect.New(v.Type().Elem()).Elem()
			if err := d.value(e, depth+1); err != nil {
				return err
			}
			if c, ok := e.Addr().Interface().(*Component); ok && d.part != nil {
				d.part(c)
			}
			v.Set(reflect.Append(v, e))
		}
		// Growing leaves room for more, a quarter of all components where there
		// are many, and a plan is kept for as long as the application runs.
		if v.Cap() > n {
			exact := reflect.MakeSlice(v.Type(), n, n)
			reflect.Copy(exact, v)
			v.Set(exact)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if err := d.value(v.Field(i), depth+1); err != nil {
				return err
			}
		}
	default:
		return errors.New("decode plan: a field has no encoding")
	}
	return nil
}

// length reads a count; each element takes at least one byte, so a count
// larger than what is left is false.
func (d *decoder) length() (int, error) {
	b, err := d.take(4)
	if err != nil {
		return 0, err
	}
	n := binary.LittleEndian.Uint32(b)
	if uint64(n) > uint64(len(d.b)) {
		return 0, errShort
	}
	return int(n), nil
}
