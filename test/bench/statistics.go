package main

import (
	"math"
	"slices"
)

// quantile returns the sample below which the given part of all samples lies, without inventing values between
// two samples. It needs at least one.
func quantile(samples []float64, part float64) float64 {
	sorted := slices.Sorted(slices.Values(samples))
	return sorted[max(int(math.Ceil(part*float64(len(sorted))))-1, 0)]
}

func median(samples []float64) float64 { return quantile(samples, 0.5) }

// ratio compares a case with its baseline round by round and returns the median over the rounds: a burst of
// other work during one round then spoils one of many ratios instead of shifting the result.
func ratio(of, to []batch) float64 {
	rounds := min(len(of), len(to))
	if rounds == 0 {
		return 0
	}
	ratios := make([]float64, rounds)
	for i := range ratios {
		ratios[i] = float64(of[i] / to[i])
	}
	return median(ratios)
}
