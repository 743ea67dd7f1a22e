package plan

import "testing"

func TestConditionHolds(t *testing.T) {
	values := []uint64{6, 7, 8, 0x107}
	for comparison, want := range map[Comparison][4]bool{
		Equal:           {false, true, false, false},
		NotEqual:        {true, false, true, true},
		Less:            {true, false, false, false},
		LessOrEqual:     {true, true, false, false},
		Greater:         {false, false, true, true},
		GreaterOrEqual:  {false, true, true, true},
		MaskedEqual:     {false, true, false, true},
		MaskedEqual + 1: {},
	} {
		c := Condition{Comparison: comparison, Value: 7}
		if comparison == MaskedEqual {
			c.Mask = 0xff
		}
		for i, value := range values {
			if c.Holds(value) != want[i] {
				t.Errorf("%+v holds for %#x: %v", c, value, !want[i])
			}
		}
	}
}
