package model

import (
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"containerd-shim-runsc/test/harness"
)

func TestMain(m *testing.M) {
	harness.Main(m)
}

// The environment says how much is run: MODEL_STEPS_FAKE and MODEL_STEPS_REAL are numbers
// of calls, MODEL_SEED is that of the first program.
const (
	stepsFake = 5000
	stepsReal = 300
	// length is the number of calls in a program.
	length = 500
	// workers is the number of programs that run side by side.
	workers = 5
	// shrinking is how long a program that fails is made smaller.
	shrinking = 2 * time.Minute
)

// number returns a number of the environment.
func number(t *testing.T, name string, otherwise uint64) uint64 {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}

func TestModel_Fake(t *testing.T) {
	random(t, harness.Fake, number(t, "MODEL_STEPS_FAKE", stepsFake))
}

func TestModel_Real(t *testing.T) {
	random(t, harness.Real, number(t, "MODEL_STEPS_REAL", stepsReal))
}

// limit is how long a program waits for what must come.
const limit = 20 * time.Second

// control is how sandboxes are asked in a program: one of five uses commands alone, which
// are slower.
func control(seed uint64) string {
	if seed%5 == 4 {
		return "cli"
	}
	return "auto"
}

// random runs programs until they have made so many calls.
func random(t *testing.T, rt harness.Runtime, steps uint64) {
	t.Helper()
	if steps == 0 {
		t.Skip("no steps were asked for")
	}
	base := number(t, "MODEL_SEED", rand.Uint64N(1<<48))
	t.Logf("MODEL_SEED=%d", base)
	began := time.Now()
	var (
		mu    sync.Mutex
		next  = base
		made  uint64
		rules = map[string]int{}
		bad   *Result
		seed  uint64
		wg    sync.WaitGroup
	)
	for range workers {
		wg.Go(func() {
			for {
				mu.Lock()
				mine := next
				next++
				done := made >= steps || bad != nil
				mu.Unlock()
				if done {
					return
				}
				r := Run(t, Config{Runtime: rt, Control: control(mine), Limit: limit}, Generate(mine, int(min(length, steps))))
				mu.Lock()
				made += uint64(r.Made)
				for rule, n := range r.Rules {
					rules[rule] += n
				}
				if r.Err != nil && bad == nil {
					bad, seed = &r, mine
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	t.Logf("%d calls in %d programs in %s", made, next-base-workers, time.Since(began).Round(time.Second))
	if bad == nil {
		for _, rule := range slices.Sorted(maps.Keys(rules)) {
			t.Logf("  %7d %s", rules[rule], rule)
		}
		return
	}
	report(t, rt, seed, int(min(length, steps)), *bad)
}

// report shrinks the program that failed and says what to do with it.
func report(t *testing.T, rt harness.Runtime, seed uint64, n int, bad Result) {
	t.Helper()
	cfg := Config{Runtime: rt, Control: control(seed), Limit: 5 * time.Second}
	p := Generate(seed, n)
	t.Errorf("MODEL_SEED=%d MODEL_STEPS_%s=%d fails:\n%v", seed, map[harness.Runtime]string{harness.Fake: "FAKE", harness.Real: "REAL"}[rt], n, bad.Err)
	if bad.Step >= 0 && bad.Step < len(p) {
		p = p[:bad.Step+1]
	}
	last := bad
	// What does not happen each time is tried more often.
	tries, failed := 1, 0
	fails := func(p Program) bool {
		for range tries {
			if r := Run(t, cfg, p); r.Err != nil && kindOfFailure(r.Err) == kindOfFailure(bad.Err) {
				last = r
				return true
			}
		}
		return false
	}
	for range 4 {
		if fails(p) {
			failed++
		}
	}
	if failed < 4 {
		tries = 5 - failed
	}
	t.Logf("it fails in %d of 4 more runs", failed)
	small := Shrink(p, shrinking, fails)
	t.Errorf("the smallest program that fails so, of %d calls (keep it in testdata):\n# on %s %s\n%s\n%v", small.Calls(), rt, cfg.Control, small, last.Err)
	if os.Getenv("MODEL_LOGS") != "" {
		t.Log(strings.Join(last.Logs, "\n"))
	}
}

// kindOfFailure is what failures of one cause have in common: the rule.
func kindOfFailure(err error) string {
	text := err.Error()
	for _, word := range strings.FieldsFunc(text, func(r rune) bool { return r == ' ' || r == ':' || r == '\n' || r == ';' }) {
		if len(word) > 1 && len(word) < 4 && strings.Contains("PTER", word[:1]) {
			if _, err := strconv.Atoi(word[1:]); err == nil {
				return word
			}
		}
	}
	first, _, _ := strings.Cut(text, "\n")
	return first[:min(10, len(first))]
}
