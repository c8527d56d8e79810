package pods

import (
	"context"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

// byCommands tells that the shim drives its sandboxes by runsc's commands alone.
func byCommands() bool { return os.Getenv("SHIM_TEST_CONTROL") == "cli" }

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// equal checks a value.
func equal[T comparable](t *testing.T, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s: %#v, want %#v", what, got, want)
	}
}

// unhindered checks that something is not held up by output that nobody reads or that
// somebody else holds open, for which the shim waits 8 s (contract P14 allows 10). A machine
// that is slow for a while is asked again: who waits takes too long each time.
func unhindered(t *testing.T, what string, do func()) {
	t.Helper()
	const enough = 7500 * time.Millisecond
	var took time.Duration
	for range 3 {
		begun := time.Now()
		do()
		if took = time.Since(begun); took < enough {
			return
		}
	}
	t.Errorf("%s takes %s, each time", what, took)
}

// until waits for a condition.
func (p *pod) until(what string, holds func(context.Context) (bool, string)) {
	p.t.Helper()
	check(p.t, p.node.Until(bounded(p.t), what, holds))
}

// written returns what a container wrote, out of its log: the lines have a time, the
// stream's name, and F, or P if the line goes on.
func written(log string) string { return stream(log, "") }

// stream returns what a container wrote to one of its streams.
func stream(log, name string) string {
	var b strings.Builder
	for line := range strings.Lines(log) {
		parts := strings.SplitN(line, " ", 4)
		if len(parts) < 4 || name != "" && parts[1] != name {
			continue
		}
		text := parts[3]
		if parts[2] == "P" {
			text = strings.TrimSuffix(text, "\n")
		}
		b.WriteString(text)
	}
	return b.String()
}

// warnings returns the lines of a shim's log that are for people.
func warnings(log string) string {
	return strings.Join(slices.DeleteFunc(strings.Split(log, "\n"), func(line string) bool {
		return strings.Contains(line, "level=debug") || strings.Contains(line, "stacks of all goroutines")
	}), "\n")
}

// oneOf tells whether a text has one of the words in it, whatever their case.
func oneOf(text string, words ...string) bool {
	return slices.ContainsFunc(words, func(word string) bool {
		return strings.Contains(strings.ToLower(text), strings.ToLower(word))
	})
}
