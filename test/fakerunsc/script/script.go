package script

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// The files in the directory of the fake's binary.
const (
	faultsName = "faults.json"
	callsName  = "calls.jsonl"
)

// FeatureMark is the annotation among the features that tells which fake answered:
// its value is the fake's directory.
const FeatureMark = "fakerunsc.directory"

// Action is what a fault does to a command.
type Action string

const (
	// Fail makes the command log Message as runsc does and exit with 128.
	Fail Action = "fail"
	// Exit makes it exit with Status and say nothing.
	Exit Action = "exit"
	// Die makes it kill itself.
	Die Action = "die"
	// Hang makes it wait until the file Until exists, or for ever, and go on.
	Hang Action = "hang"
	// Print makes it print Output on its stdout and exit with Status.
	Print Action = "print"
)

// Step is a moment in a command's work.
type Step string

const (
	// Before is before any work is done.
	Before Step = ""
	// Sandbox is in a create: the sandbox process runs, no file names it yet.
	Sandbox Step = "sandbox"
	// Started is in an exec: the process runs and its pid is written.
	Started Step = "started"
	// After is after all work, before the command exits.
	After Step = "after"
)

// Fault is something that goes wrong in a command. Empty fields match every one.
type Fault struct {
	Verb string
	// Container is the id as containerd knows it.
	Container string
	// Args is a part of the command's arguments, joined by blanks.
	Args string
	// Nth counts the matching calls since the script was written, from 1. With
	// 0 the fault hits all of them.
	Nth int

	At      Step
	Do      Action
	Message string
	Status  int
	Output  string
	Until   string

	// Since is where in the list of calls counting begins; Write sets it.
	Since int64
}

// Call is an entry in the list of calls: a command's begin, its end, or that it
// hangs at a fault.
type Call struct {
	Time      time.Time
	PID       int
	Verb      string
	Container string
	Args      []string
	// Input is what an update was given on its stdin.
	Input string
	End   bool
	Hangs bool
	// Status is the exit status, with End.
	Status int
}

// Write makes faults the script for the commands of the fake in dir from now on.
func Write(dir string, faults ...Fault) error {
	var size int64
	if fi, err := os.Stat(filepath.Join(dir, callsName)); err == nil {
		size = fi.Size()
	}
	for i := range faults {
		faults[i].Since = size
	}
	b, err := json.Marshal(faults)
	if err != nil {
		return fmt.Errorf("encode script: %w", err)
	}
	// In one step, as a command may read at any moment.
	path := filepath.Join(dir, faultsName)
	if err := os.WriteFile(path+".new", b, 0o600); err != nil {
		return fmt.Errorf("write script: %w", err)
	}
	return os.Rename(path+".new", path)
}

// Calls returns what the commands of the fake in dir have entered so far.
func Calls(dir string) ([]Call, error) {
	b, err := os.ReadFile(filepath.Join(dir, callsName))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read calls: %w", err)
	}
	return parse(b)
}

func parse(b []byte) ([]Call, error) {
	var calls []Call
	for line := range bytes.Lines(b) {
		if line[len(line)-1] != '\n' {
			break // still being written
		}
		var c Call
		if err := json.Unmarshal(line, &c); err != nil {
			return nil, fmt.Errorf("entry %q: %w", line, err)
		}
		calls = append(calls, c)
	}
	return calls, nil
}

// Begin enters a call and returns the faults that hit it.
func Begin(dir string, c Call) (hit []Fault, err error) {
	f, err := os.OpenFile(filepath.Join(dir, callsName), os.O_RDWR|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	// Counting and entering is one step, or two commands could both be the nth.
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		return nil, fmt.Errorf("lock calls: %w", err)
	}
	faults, err := read(dir)
	if err != nil {
		return nil, err
	}
	for _, fault := range faults {
		if !fault.matches(c) {
			continue
		}
		n, err := fault.count(f.Name())
		if err != nil {
			return nil, err
		}
		if fault.Nth == 0 || fault.Nth == n+1 {
			hit = append(hit, fault)
		}
	}
	return hit, enter(f, c)
}

// Hanging enters that a call hangs.
func Hanging(dir string, c Call) error {
	c.Hangs = true
	return enterLater(dir, c)
}

// End enters the end of a call.
func End(dir string, c Call) error {
	c.End = true
	return enterLater(dir, c)
}

func enterLater(dir string, c Call) error {
	f, err := os.OpenFile(filepath.Join(dir, callsName), os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	return enter(f, c)
}

func enter(f *os.File, c Call) error {
	c.Time = time.Now()
	b, err := json.Marshal(c)
	if err != nil {
		return err
	}
	_, err = f.Write(append(b, '\n'))
	return err
}

func read(dir string) ([]Fault, error) {
	b, err := os.ReadFile(filepath.Join(dir, faultsName))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read script: %w", err)
	}
	var faults []Fault
	if err := json.Unmarshal(b, &faults); err != nil {
		return nil, fmt.Errorf("script: %w", err)
	}
	return faults, nil
}

func (f Fault) matches(c Call) bool {
	return (f.Verb == "" || f.Verb == c.Verb) &&
		(f.Container == "" || f.Container == PlainID(c.Container)) &&
		(f.Args == "" || strings.Contains(strings.Join(c.Args, " "), f.Args))
}

// count returns how many calls hit so far.
func (f Fault) count(path string) (int, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	calls, err := parse(b[min(f.Since, int64(len(b))):])
	if err != nil {
		return 0, err
	}
	calls = slices.DeleteFunc(calls, func(c Call) bool { return c.End || c.Hangs || !f.matches(c) })
	return len(calls), nil
}

// PlainID returns a container's id as containerd knows it. The shim may end the
// ids that it gives to runsc with a character that containerd allows in none.
func PlainID(id string) string {
	return strings.TrimRight(id, "+")
}
