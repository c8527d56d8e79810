package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// settings are what the environment says about a run.
type settings struct {
	bin    string        // the tools
	out    string        // where the results go
	rounds int           // of calls
	idle   time.Duration // how long idle pods are watched
	only   []string      // sections; all if empty
	strict bool
}

// The names of the tools.
const (
	ourShim    = "containerd-shim-runsc-v1"
	runcShim   = "containerd-shim-runc-v2"
	ourEngine  = "runsc"
	runcEngine = "runc"
)

func settingsFromEnv() (settings, error) {
	s := settings{
		bin: os.Getenv("SHIM_TEST_BIN"), out: os.Getenv("BENCH_OUT"),
		rounds: 20, idle: 20 * time.Second, strict: os.Getenv("BENCH_STRICT") == "1",
	}
	if s.bin == "" {
		return s, errors.New("SHIM_TEST_BIN is not set; run: make bench")
	}
	if os.Getuid() != 0 {
		return s, errors.New("only root can run containers")
	}
	for _, tool := range []string{ourShim, runcShim, ourEngine, runcEngine, "containerd", "busybox-static"} {
		if _, err := os.Stat(s.tool(tool)); err != nil {
			return s, fmt.Errorf("SHIM_TEST_BIN: %w", err)
		}
	}
	var err error
	if v := os.Getenv("BENCH_ROUNDS"); v != "" {
		if s.rounds, err = strconv.Atoi(v); err != nil || s.rounds < 1 {
			return s, fmt.Errorf("BENCH_ROUNDS=%s is no number of rounds", v)
		}
	}
	if v := os.Getenv("BENCH_IDLE"); v != "" {
		if s.idle, err = time.ParseDuration(v); err != nil || s.idle <= 0 {
			return s, fmt.Errorf("BENCH_IDLE=%s is no duration", v)
		}
	}
	if v := os.Getenv("BENCH_ONLY"); v != "" {
		s.only = strings.Split(v, ",")
		for _, name := range s.only {
			if !slices.ContainsFunc(sections(), func(sec section) bool { return sec.name == name }) {
				return s, fmt.Errorf("BENCH_ONLY: there is no section %q", name)
			}
		}
	}
	return s, nil
}

// tool returns the path of a tool.
func (s settings) tool(name string) string { return filepath.Join(s.bin, name) }

// wants tells whether a section is to be run.
func (s settings) wants(section string) bool {
	return len(s.only) == 0 || slices.Contains(s.only, section)
}

// part returns a number of rounds for what takes long: one of n of all, but at least
// one, and no more than limit.
func (s settings) part(n, limit int) int {
	return max(1, min(s.rounds/n, limit))
}
