package critest

import (
	_ "embed"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/BurntSushi/toml"
)

// The runs of the suite.
const (
	runDefaults = "defaults" // the shim's
	runOptions  = "options"  // those that expected.toml names
	runRunc     = "runc"     // its shim, for comparison
)

// Who cannot do what a test wants.
const (
	byGVisor  = "gvisor"
	byMachine = "machine"
)

// The suite may run where this folder is not.
//
//go:embed expected.toml
var expectedText string

// expected is expected.toml.
type expected struct {
	// Options is the shim's configuration of the run with options.
	Options string
	// AtLeast is how many of the tests that runc passes must pass, for each run.
	AtLeast map[string]int
	Cannot  []exception
}

// exception is a test that cannot pass.
type exception struct {
	Test string
	// Who lacks something: "gvisor" or "machine".
	Who string
	Why string
	// How it is shown that it is so.
	Shown string
	// Runs has the runs in which it does not pass. Without it, what gVisor lacks is
	// missing with the shim in both runs, and what the machine lacks in all.
	Runs []string
}

func readExpected(t *testing.T) expected {
	t.Helper()
	var e expected
	meta, err := toml.Decode(expectedText, &e)
	if err != nil {
		t.Fatal(err)
	}
	if more := meta.Undecoded(); len(more) > 0 {
		t.Fatalf("expected.toml: unknown %v", more)
	}
	// A run that is not named, or misspelt, would not be counted at all.
	named := slices.Sorted(maps.Keys(e.AtLeast))
	if want := []string{runDefaults, runOptions}; !slices.Equal(named, want) {
		t.Errorf("expected.toml: AtLeast is for the runs %q, want %q", named, want)
	}
	seen := map[string]bool{}
	for _, x := range e.Cannot {
		if err := x.check(); err != nil {
			t.Errorf("expected.toml: %q: %v", x.Test, err)
		}
		if seen[x.Test] {
			t.Errorf("expected.toml: %q is listed twice", x.Test)
		}
		seen[x.Test] = true
	}
	return e
}

func (x exception) check() error {
	if x.Why == "" || x.Shown == "" {
		return fmt.Errorf("it must be said why, and how that is shown")
	}
	if x.Who != byGVisor && x.Who != byMachine {
		return fmt.Errorf("who must be %s or %s", byGVisor, byMachine)
	}
	for _, run := range x.Runs {
		if run != runDefaults && run != runOptions && run != runRunc {
			return fmt.Errorf("there is no run %q", run)
		}
	}
	return nil
}

// in tells whether the test cannot pass in a run.
func (x exception) in(run string) bool {
	if len(x.Runs) > 0 {
		return slices.Contains(x.Runs, run)
	}
	return x.Who == byMachine || run != runRunc
}

// differences returns what is not as the list says. The results may be those of a part
// of the suite.
func (e expected) differences(run string, results []result, part bool) []string {
	cannot := map[string]exception{}
	for _, x := range e.Cannot {
		if x.in(run) {
			cannot[x.Test] = x
		}
	}
	var list []string
	for _, r := range results {
		x, listed := cannot[r.name]
		delete(cannot, r.name)
		switch {
		case r.passed() && listed:
			list = append(list, fmt.Sprintf("passes, though expected.toml says that it cannot (%s): %s", x.Why, r.name))
		case !r.passed() && !listed:
			list = append(list, fmt.Sprintf("%s: %s\n%s\n%s", r.state, r.name, r.message, r.output))
		}
	}
	if !part {
		for name := range cannot {
			list = append(list, "expected.toml lists a test that the suite does not have: "+name)
		}
	}
	return list
}

// count is how many tests have passed in a run, of those that runc passes.
type count struct{ passed, ofRunc, least int }

// count counts the results of a run. What runc passes is what it has passed, if it ran too,
// and otherwise what the list says.
func (e expected) count(run string, results, runc []result) count {
	byRunc := func(name string) bool {
		return !slices.ContainsFunc(e.Cannot, func(x exception) bool { return x.Test == name && x.in(runRunc) })
	}
	if len(runc) > 0 {
		byRunc = func(name string) bool {
			return slices.ContainsFunc(runc, func(r result) bool { return r.name == name && r.passed() })
		}
	}
	c := count{least: e.AtLeast[run]}
	for _, r := range results {
		if !byRunc(r.name) {
			continue
		}
		c.ofRunc++
		if r.passed() {
			c.passed++
		}
	}
	return c
}

func TestCount(t *testing.T) {
	e := expected{
		AtLeast: map[string]int{runDefaults: 2},
		Cannot: []exception{
			{Test: "sentry", Who: byGVisor},
			{Test: "machine", Who: byMachine},
			{Test: "nobody", Who: byGVisor, Runs: []string{runDefaults, runRunc}},
		},
	}
	all := func(states ...string) []result {
		var list []result
		for i, name := range []string{"sentry", "machine", "nobody", "one", "two"} {
			list = append(list, result{name: name, state: states[i]})
		}
		return list
	}
	for _, c := range []struct {
		name          string
		results, runc []result
		want          count
	}{
		{"by the list", all("failed", "passed", "passed", "passed", "failed"), nil, count{1, 3, 2}},
		{"by what runc has passed", all("failed", "failed", "passed", "passed", "passed"),
			all("passed", "passed", "passed", "failed", "skipped"), count{1, 3, 2}},
		{"nothing", nil, nil, count{0, 0, 2}},
	} {
		if got := e.count(runDefaults, c.results, c.runc); got != c.want {
			t.Errorf("%s: got %+v, want %+v", c.name, got, c.want)
		}
	}
}

func TestDifferences(t *testing.T) {
	e := expected{Cannot: []exception{
		{Test: "sentry", Who: byGVisor},
		{Test: "machine", Who: byMachine},
		{Test: "option", Who: byGVisor, Runs: []string{runDefaults}},
	}}
	all := func(states ...string) []result {
		var list []result
		for i, name := range []string{"sentry", "machine", "option", "other"} {
			list = append(list, result{name: name, state: states[i]})
		}
		return list
	}
	for _, c := range []struct {
		name, run string
		results   []result
		part      bool
		want      []string // beginnings
	}{
		{"as listed", runDefaults, all("failed", "skipped", "failed", "passed"), false, nil},
		{"as listed with options", runOptions, all("failed", "failed", "passed", "passed"), false, nil},
		{"as listed with runc", runRunc, all("passed", "failed", "passed", "passed"), false, nil},
		{"listed and passes", runDefaults, all("passed", "failed", "failed", "passed"), false, []string{"passes, though"}},
		{"not listed and fails", runOptions, all("failed", "failed", "failed", "passed"), false, []string{"failed: option"}},
		{"not listed and skipped", runDefaults, all("failed", "failed", "failed", "skipped"), false, []string{"skipped: other"}},
		{"what gVisor lacks fails with runc", runRunc, all("failed", "failed", "passed", "passed"), false, []string{"failed: sentry"}},
		{"listed and gone", runRunc, nil, false, []string{"expected.toml lists a test"}},
		{"listed and not asked for", runRunc, nil, true, nil},
	} {
		got := e.differences(c.run, c.results, c.part)
		if !slices.EqualFunc(got, c.want, strings.HasPrefix) {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
}
