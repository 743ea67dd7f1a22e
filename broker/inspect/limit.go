package inspect

import (
	"encoding/json"
	"strconv"
)

// Limit is a bound. In JSON, Unlimited is null: the number that stands for it
// here is more than many readers of JSON can hold.
type Limit uint64

// Unlimited is a bound that is none.
const Unlimited = ^Limit(0)

// MarshalJSON writes a number or null.
func (l Limit) MarshalJSON() ([]byte, error) {
	if l == Unlimited {
		return []byte("null"), nil
	}
	return strconv.AppendUint(nil, uint64(l), 10), nil
}

// UnmarshalJSON reads what MarshalJSON writes.
func (l *Limit) UnmarshalJSON(b []byte) error {
	if string(b) == "null" {
		*l = Unlimited
		return nil
	}
	return json.Unmarshal(b, (*uint64)(l))
}

func (l Limit) words(number func(uint64) string) string {
	if l == Unlimited {
		return "none"
	}
	return number(uint64(l))
}
