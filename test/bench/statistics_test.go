package main

import "testing"

func TestQuantileIsASample(t *testing.T) {
	samples := []float64{40, 10, 30, 20}
	for _, c := range []struct{ part, want float64 }{{0, 10}, {0.5, 20}, {0.75, 30}, {0.99, 40}, {1, 40}} {
		if got := quantile(samples, c.part); got != c.want {
			t.Errorf("quantile(%v) = %v, want %v", c.part, got, c.want)
		}
	}
	if samples[0] != 40 {
		t.Error("quantile changed the order of the samples")
	}
}

func TestRatioSurvivesADisturbedRound(t *testing.T) {
	// The machine was ten times slower in the second round, for both, and in the third for one of them.
	baseline := []batch{100, 1000, 100, 100, 100}
	twice := []batch{200, 2000, 2000, 200, 200}
	if got := ratio(twice, baseline); got != 2 {
		t.Errorf("ratio = %v, want 2", got)
	}
}

func TestRatioWithoutBaseline(t *testing.T) {
	if got := ratio([]batch{100}, nil); got != 0 {
		t.Errorf("ratio to a baseline that did not run = %v, want 0", got)
	}
}
