package main

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
)

// mark begins a line of the machine's own.
const mark = "@@ "

// report reads what the machine says, as it comes.
type report struct {
	// progress gets a line for each test that ended.
	progress io.Writer

	rest     []byte // of a line
	current  *outcome
	ended    []*outcome
	up, done bool
}

// outcome is how a suite went.
type outcome struct {
	suite string
	// status is its exit status, or -1 if it has none.
	status int
	output bytes.Buffer
	// tests are the results of its tests by their names: PASS, FAIL or SKIP.
	tests map[string]string
}

// Write takes a piece of what the machine says.
func (r *report) Write(b []byte) (int, error) {
	r.rest = append(r.rest, b...)
	for {
		line, rest, whole := bytes.Cut(r.rest, []byte("\n"))
		if !whole {
			return len(b), nil
		}
		r.line(strings.TrimSuffix(string(line), "\r"))
		r.rest = rest
	}
}

func (r *report) line(line string) {
	said, ok := strings.CutPrefix(line, mark)
	switch {
	case ok:
		r.event(strings.Fields(said))
	case r.current != nil:
		r.current.line(line, r.progress)
	}
}

// event is a line of the machine's own: up, begin SUITE, end SUITE STATUS, done.
func (r *report) event(words []string) {
	words = append(words, "", "", "")
	switch {
	case words[0] == "up":
		r.up = true
	case words[0] == "begin":
		r.current = &outcome{suite: words[1], status: -1, tests: map[string]string{}}
	case words[0] == "end" && r.current != nil && words[1] == r.current.suite:
		if status, err := strconv.Atoi(words[2]); err == nil {
			r.current.status = status
		}
		r.ended = append(r.ended, r.current)
		r.current = nil
	case words[0] == "done":
		r.done = true
	}
}

// line is one of the suite's output.
func (o *outcome) line(line string, progress io.Writer) {
	fmt.Fprintln(&o.output, line)
	// "--- PASS: TestName (0.12s)"; those of subtests are indented.
	result, ok := strings.CutPrefix(line, "--- ")
	if !ok {
		return
	}
	verdict, rest, _ := strings.Cut(result, ": ")
	name, _, _ := strings.Cut(rest, " ")
	// One that is run again may fail only once.
	if before := o.tests[name]; before == "" || before == "PASS" {
		o.tests[name] = verdict
	}
	fmt.Fprintf(progress, "%s: %s\n", o.suite, result)
}

// outcomes returns those of all suites that have begun.
func (r *report) outcomes() []*outcome {
	if r.current == nil {
		return r.ended
	}
	return append(slices.Clone(r.ended), r.current)
}

// readable is the output without what only says what is being run.
func (o *outcome) readable() string {
	var b strings.Builder
	for line := range strings.Lines(o.output.String()) {
		if !strings.HasPrefix(line, "=== ") {
			b.WriteString(line)
		}
	}
	return b.String()
}

// faults returns what is wrong with a run of the suites, by their names; "" has what is
// wrong with the machine. Unless other tests were asked for, each chosen one must have
// passed.
func (r *report) faults(wanted []suite, chosen bool) map[string][]string {
	faults := map[string][]string{}
	switch {
	case !r.up:
		faults[""] = []string{"the machine did not come up"}
		return faults
	case !r.done:
		faults[""] = []string{"the machine did not say that it is done"}
	}
	all := r.outcomes()
	for _, s := range wanted {
		i := slices.IndexFunc(all, func(o *outcome) bool { return o.suite == s.name })
		if i < 0 {
			faults[s.name] = []string{"it did not run"}
			continue
		}
		faults[s.name] = all[i].faults(s, chosen)
	}
	return faults
}

func (o *outcome) faults(s suite, chosen bool) (faults []string) {
	if chosen {
		for _, name := range s.names() {
			switch verdict := o.tests[name]; verdict {
			case "PASS":
			case "":
				faults = append(faults, name+" did not run to its end")
			default:
				faults = append(faults, verdict+": "+name)
			}
		}
	}
	if len(o.tests) == 0 {
		faults = append(faults, "no test was run")
	}
	switch o.status {
	case 0:
	case -1:
		faults = append(faults, "it did not end")
	default:
		faults = append(faults, fmt.Sprintf("exit status %d", o.status))
	}
	return faults
}
