package control

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// ParseRequest decodes one line of a client and checks that it is complete:
// what it returns without an error has a known verb and what that verb needs.
func ParseRequest(line []byte) (Request, error) {
	if len(line) > MaximumRequest {
		return Request{}, fmt.Errorf("the request is longer than %d bytes", MaximumRequest)
	}
	d := json.NewDecoder(bytes.NewReader(line))
	d.DisallowUnknownFields()
	var r Request
	if err := d.Decode(&r); err != nil {
		return Request{}, fmt.Errorf("the request is not understood: %w", err)
	}
	if _, err := d.Token(); err != io.EOF {
		return Request{}, errors.New("the request is not understood: something stands behind it")
	}
	needs, known := Verbs[r.Verb]
	switch {
	case !known:
		return Request{}, fmt.Errorf("unknown verb %.40q", r.Verb)
	case needs.Component && r.Component == "":
		return Request{}, fmt.Errorf("%s needs a component", r.Verb)
	case needs.Signal && (r.Signal < 1 || r.Signal > 64):
		return Request{}, fmt.Errorf("%s needs a signal from 1 to 64", r.Verb)
	case r.Lines < 0:
		return Request{}, errors.New("a number of lines is not negative")
	}
	return r, nil
}
