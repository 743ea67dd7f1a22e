package main

import (
	"crypto/sha256"
	"fmt"
	"reflect"

	"bulkhead/policy/plan"
)

// fingerprint says what a plan does: two plans with one fingerprint run the
// same application, wherever in their files it stands.
func fingerprint(p *plan.Plan) (string, error) {
	b, err := plan.Encode(p)
	if err != nil {
		return "", err
	}
	// A copy, because what does not count is taken out of it.
	if p, err = plan.Decode[plan.Plan](b); err != nil {
		return "", err
	}
	for i := range p.Components {
		p.Components[i].Syscalls.Program = nil // made from the rules
		p.Components[i].Generation = 0         // how often it was changed before
		p.Components[i].Number = 0
	}
	withoutPlaces(reflect.ValueOf(p).Elem())
	if b, err = plan.Encode(p); err != nil {
		return "", err
	}
	return fmt.Sprintf("%x", sha256.Sum256(b)), nil
}

// withoutPlaces removes every Position: a comment above a line changes nothing.
func withoutPlaces(v reflect.Value) {
	switch v.Kind() {
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[plan.Position]() {
			v.SetZero()
			return
		}
		for i := range v.NumField() {
			withoutPlaces(v.Field(i))
		}
	case reflect.Slice:
		for i := range v.Len() {
			withoutPlaces(v.Index(i))
		}
	}
}
