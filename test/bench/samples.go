package main

import (
	"slices"
	"time"
)

// samples are the measured values: by measure, then by column, in the order of rounds.
type samples struct {
	values map[string]map[string][]float64
}

func newSamples() *samples { return &samples{values: map[string]map[string][]float64{}} }

// add adds a value.
func (s *samples) add(measure, column string, value float64) {
	of := s.values[measure]
	if of == nil {
		of = map[string][]float64{}
		s.values[measure] = of
	}
	of[column] = append(of[column], value)
}

// ms is a time in milliseconds.
func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// quantile returns the value below which a share of the values lies.
func quantile(values []float64, share float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	at := share * float64(len(sorted)-1)
	low := int(at)
	high := min(low+1, len(sorted)-1)
	return sorted[low] + (at-float64(low))*(sorted[high]-sorted[low])
}

func median(values []float64) float64 { return quantile(values, 0.5) }
