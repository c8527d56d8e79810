package harness

import (
	"strings"
	"testing"
)

// TestOrderOf: E1 to E3 are seen to be broken where they are, and only there.
func TestOrderOf(t *testing.T) {
	for name, c := range map[string]struct {
		events string
		wrong  int
	}{
		"a whole life":               {"create a, start a, paused a, resumed a, exit a, delete a", 0},
		"never started":              {"create a, delete a", 0},
		"not over":                   {"create a, start a", 0},
		"an exec":                    {"create a, start a, exec-added a/e, exec-started a/e, exit a/e, exit a, delete a", 0},
		"paused again":               {"create a, start a, paused a, resumed a, paused a, exit a", 0},
		"the id again":               {"create a, delete a, create a, start a, exit a, delete a", 0},
		"two of them":                {"create a, create b, start b, start a, exit a, exit b", 0},
		"exit without start":         {"create a, exit a", 1},
		"exit before start":          {"create a, exit a, start a", 2},
		"twice":                      {"create a, start a, exit a, exit a", 1},
		"delete before exit":         {"create a, start a, delete a, exit a", 2},
		"not created":                {"start a", 1},
		"an exec after init":         {"create a, start a, exec-added a/e, exec-started a/e, exit a, exit a/e", 1},
		"an exec that never started": {"create a, start a, exec-added a/e, exit a/e", 1},
		"paused twice":               {"create a, start a, paused a, paused a", 1},
		"resumed unpaused":           {"create a, start a, resumed a", 1},
	} {
		var events []Event
		for _, e := range strings.Split(c.events, ", ") {
			kind, process, _ := strings.Cut(e, " ")
			container, exec, _ := strings.Cut(process, "/")
			events = append(events, Event{Kind: kind, Container: container, Exec: exec})
		}
		if wrong := orderOf(events); len(wrong) != c.wrong {
			t.Errorf("%s: found %q, want %d", name, wrong, c.wrong)
		}
	}
}
