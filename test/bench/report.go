package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// report is what a run has to say.
type report struct {
	about   about
	results []result
}

// write writes the report to files in a directory, if there is one.
func (r report) write(dir string) error {
	if dir == "" {
		return nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	text, err := json.MarshalIndent(struct {
		About    about    `json:"about"`
		Measures []result `json:"measures"`
	}{r.about, r.results}, "", "  ")
	if err != nil {
		return err
	}
	return errors.Join(
		os.WriteFile(filepath.Join(dir, "bench.json"), append(text, '\n'), 0o644),
		os.WriteFile(filepath.Join(dir, "bench.svg"), []byte(r.chart()), 0o644),
	)
}

// missed returns the number of bounds that are missed.
func (r report) missed() int {
	n := 0
	for _, res := range r.results {
		if res.Verdict != nil && !res.Verdict.Met {
			n++
		}
	}
	return n
}

// table is the report for people.
func (r report) table() string {
	lines := [][]string{{"measure", "", "auto", "cli", "runc", "bare runsc", "bare runc", "x runc", "bound", ""}}
	for _, res := range r.results {
		cells := []string{res.Title, res.Unit}
		for _, column := range columns() {
			cell := ""
			if v, ok := res.Values[column]; ok {
				cell = number(v.Median)
			}
			cells = append(cells, cell)
		}
		ratio := ""
		if res.RatioToRunc != nil {
			ratio = number(*res.RatioToRunc)
		}
		lines = append(lines, append(append(cells, ratio), judgement(res)...))
	}
	return fmt.Sprintf("%s\n\n%s\nMedians. Beyond the bare command: medians of paired differences. Bounds missed: %d.\n",
		r.about, align(lines), r.missed())
}

// align makes columns: the first and the last to the left, the others to the right.
func align(lines [][]string) string {
	widths := make([]int, len(lines[0]))
	for _, cells := range lines {
		for i, cell := range cells {
			widths[i] = max(widths[i], len(cell))
		}
	}
	var out strings.Builder
	for _, cells := range lines {
		line := ""
		for i, cell := range cells {
			format := "%*s  "
			if i == 0 || i == len(cells)-1 {
				format = "%-*s  "
			}
			line += fmt.Sprintf(format, widths[i], cell)
		}
		out.WriteString(strings.TrimRight(line, " ") + "\n")
	}
	return out.String()
}

// judgement returns the cells that say what the bound of a row is and whether it is met.
func judgement(r result) []string {
	v := r.Verdict
	if v == nil {
		return []string{"", ""}
	}
	sign := "<="
	if v.Relation == atLeastRelation {
		sign = ">="
	}
	text := sign + " " + number(v.Bound)
	if _, base, ok := strings.Cut(v.Of, "/"); ok {
		text += " x " + strings.ReplaceAll(base, "_", " ")
		if base != runc && v.Value != nil {
			text = number(*v.Value) + " " + text
		}
	}
	if v.Met {
		return []string{text, "ok"}
	}
	return []string{text, "MISSED"}
}

// number writes a value with about three digits.
func number(v float64) string {
	digits := 2
	switch abs := max(v, -v); {
	case abs >= 100:
		digits = 0
	case abs >= 10:
		digits = 1
	}
	text := strconv.FormatFloat(v, 'f', digits, 64)
	if strings.Contains(text, ".") {
		text = strings.TrimRight(strings.TrimRight(text, "0"), ".")
	}
	return text
}
