package main

import (
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"
)

// sampled returns a result of measures with these medians.
func sampled(values map[string]map[string]float64) []result {
	s := newSamples()
	for name, of := range values {
		for column, v := range of {
			// The order does not matter, nor how far away the others are.
			s.add(name, column, v)
			s.add(name, column, v-1000)
			s.add(name, column, v+1)
		}
	}
	return results(s)
}

func TestVerdict(t *testing.T) {
	for name, test := range map[string]struct {
		measure string
		values  map[string]float64
		met     bool
	}{
		"ratio met":             {execCycle, map[string]float64{auto: 5, runc: 10}, true},
		"ratio missed":          {execCycle, map[string]float64{auto: 5.1, runc: 10}, false},
		"value met":             {podProcesses, map[string]float64{auto: 1, cli: 9, runc: 1}, true},
		"value missed":          {podProcesses, map[string]float64{auto: 2}, false},
		"at least met":          {outputRate, map[string]float64{auto: 96, bareRunsc: 100}, true},
		"at least missed":       {outputRate, map[string]float64{auto: 94, bareRunsc: 100}, false},
		"less than the command": {beyondTime("root", "start"), map[string]float64{auto: -1, runc: 2}, true},
		"runc less than its":    {beyondTime("root", "start"), map[string]float64{auto: 1, runc: -2}, false},
	} {
		t.Run(name, func(t *testing.T) {
			list := sampled(map[string]map[string]float64{test.measure: test.values})
			if len(list) != 1 || list[0].Verdict == nil {
				t.Fatalf("the results are %+v", list)
			}
			if got := list[0].Verdict; got.Met != test.met {
				t.Errorf("met is %t: %+v", got.Met, got)
			}
		})
	}
}

// TestReport: the table has a line for each measure, the chart is XML and both say what
// is missed.
func TestReport(t *testing.T) {
	r := report{results: sampled(map[string]map[string]float64{
		execCycle:                   {auto: 20, cli: 30, runc: 10},
		idleCPU:                     {auto: 1},
		outputRate:                  {auto: 100, runc: 50, bareRunsc: 100},
		beyondTime("root", "start"): {auto: 1, runc: -2},
		callTime("root", "start"):   {auto: 10, runc: 5, bareRunsc: 9, bareRunc: 7},
	})}
	if r.missed() != 2 {
		t.Errorf("%d bounds are missed, want 2", r.missed())
	}
	table := r.table()
	for _, res := range r.results {
		if !strings.Contains(table, "\n"+res.Title+" ") {
			t.Errorf("the table has no line %q:\n%s", res.Title, table)
		}
	}
	if got := strings.Count(table, "MISSED"); got != 2 {
		t.Errorf("the table says %d times that a bound is missed:\n%s", got, table)
	}
	chart := r.chart()
	for d := xml.NewDecoder(strings.NewReader(chart)); ; {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatalf("the chart is no XML: %v\n%s", err, chart)
		}
	}
	if !strings.Contains(chart, `class="missed"`) || !strings.Contains(chart, `class="met"`) {
		t.Errorf("the chart does not tell what is missed:\n%s", chart)
	}
}

func TestQuantile(t *testing.T) {
	values := []float64{4, 1, 3, 2, 5}
	for share, want := range map[float64]float64{0: 1, 0.25: 2, 0.5: 3, 0.75: 4, 1: 5} {
		if got := quantile(values, share); got != want {
			t.Errorf("quantile %v is %v, want %v", share, got, want)
		}
	}
	if got := median([]float64{1, 2}); got != 1.5 {
		t.Errorf("the median of two is %v, want what is between them", got)
	}
}

// TestInTurn: everybody is first equally often, and comes after everybody else.
func TestInTurn(t *testing.T) {
	first, after := map[int]int{}, map[[2]int]int{}
	for round := range 6 {
		last := -1
		if err := inTurn(round, []int{0, 1, 2}, func(i int) error {
			if last < 0 {
				first[i]++
			} else {
				after[[2]int{last, i}]++
			}
			last = i
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 3 {
		if first[i] != 2 {
			t.Errorf("%d was first %d times of 6", i, first[i])
		}
	}
	if len(after) != 6 {
		t.Errorf("the neighbours are %v, want all pairs", after)
	}
}
