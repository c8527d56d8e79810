package main

import (
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestReport(t *testing.T) {
	list := []suite{
		{name: "one", tests: []choice{{names: []string{"TestA", "TestB"}}}},
		{name: "two", tests: []choice{{names: []string{"TestC"}}}},
	}
	const good = `noise
@@ up
@@ begin one
=== RUN   TestA
--- PASS: TestA (0.10s)
    --- PASS: TestA/sub (0.10s)
--- PASS: TestB (0.00s)
PASS
@@ end one 0
@@ begin two
--- PASS: TestC (1.00s)
@@ end two 0
@@ done
`
	without := func(text string) string { return strings.Replace(good, text, "", 1) }
	instead := func(old, text string) string { return strings.Replace(good, old, text, 1) }
	for name, tt := range map[string]struct {
		said string
		want map[string][]string
	}{
		"good":            {good, nil},
		"with carriages":  {strings.ReplaceAll(good, "\n", "\r\n"), nil},
		"silent":          {"", map[string][]string{"": {"the machine did not come up"}}},
		"dead at the end": {without("@@ done\n"), map[string][]string{"": {"the machine did not say that it is done"}}},
		"a failure":       {instead("PASS: TestB", "FAIL: TestB"), map[string][]string{"one": {"FAIL: TestB"}}},
		"a failure, then not": {
			instead("--- PASS: TestB", "--- FAIL: TestB\n--- PASS: TestB"),
			map[string][]string{"one": {"FAIL: TestB"}},
		},
		"a skipped test":     {instead("PASS: TestB", "SKIP: TestB"), map[string][]string{"one": {"SKIP: TestB"}}},
		"a test not run":     {without("--- PASS: TestB (0.00s)\n"), map[string][]string{"one": {"TestB did not run to its end"}}},
		"only a subtest run": {instead("--- PASS: TestB", "    --- PASS: TestB"), map[string][]string{"one": {"TestB did not run to its end"}}},
		"a status":           {instead("end one 0", "end one 2"), map[string][]string{"one": {"exit status 2"}}},
		"no status":          {instead("end one 0", "end one"), map[string][]string{"one": {"it did not end"}}},
		"a suite not run": {
			good[:strings.Index(good, "@@ begin two")] + "@@ done\n",
			map[string][]string{"two": {"it did not run"}},
		},
		"dead in a suite": {
			good[:strings.Index(good, "--- PASS: TestC")],
			map[string][]string{
				"":    {"the machine did not say that it is done"},
				"two": {"TestC did not run to its end", "no test was run", "it did not end"},
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := &report{progress: io.Discard}
			for _, b := range []byte(tt.said) {
				if n, err := r.Write([]byte{b}); n != 1 || err != nil {
					t.Fatal(n, err)
				}
			}
			got := r.faults(list, true)
			maps.DeleteFunc(got, func(_ string, faults []string) bool { return len(faults) == 0 })
			if !maps.EqualFunc(got, tt.want, slices.Equal[[]string]) {
				t.Errorf("have %v, want %v", got, tt.want)
			}
		})
	}
}

func TestOutput(t *testing.T) {
	r := &report{progress: io.Discard}
	_, _ = io.WriteString(r, "@@ up\n@@ begin one\n=== RUN   TestA\n    a_test.go:1: wrong\n--- FAIL: TestA (0.10s)\n@@ end one 1\n")
	if got, want := r.ended[0].readable(), "    a_test.go:1: wrong\n--- FAIL: TestA (0.10s)\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

// TestTable: what the table says can be run.
func TestTable(t *testing.T) {
	for _, s := range suites() {
		if len(s.on) == 0 || len(s.names()) == 0 {
			t.Errorf("%s is run nowhere, or has no tests", s.name)
		}
		for _, c := range s.tests {
			if c.why == "" {
				t.Errorf("%s: nobody says why %v", s.name, c.names)
			}
		}
		sources := testSources(t, s.pkg)
		for _, name := range s.names() {
			if !strings.Contains(sources, "\nfunc "+name+"(t *testing.T)") {
				t.Errorf("%s has no %s", s.pkg, name)
			}
		}
		for _, on := range s.on {
			if !slices.ContainsFunc(machines(), func(m machine) bool { return m.name == on }) {
				t.Errorf("%s: there is no machine %s", s.name, on)
			}
		}
	}
}

// testSources returns the tests of a package as text.
func testSources(t *testing.T, pkg string) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("../..", pkg, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		all.Write(b)
	}
	return all.String()
}
