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

// EchoPort is the port on which somebody listens in every sandbox of the fake.
const EchoPort = 7

// Action is what a fault does to a command, or to a call over the control socket.
type Action string

// What can happen to both.
const (
	// Fail makes a command log Message as runsc does and exit with 128, and a call
	// answer with it as the error.
	Fail Action = "fail"
	// Hang waits until the file Until exists, or for ever, and goes on. A call's
	// connection stays open meanwhile.
	Hang Action = "hang"
	// Print makes a command print Output on its stdout and exit with Status, and a
	// call answer with it as it is.
	Print Action = "print"
)

// What can happen to a command.
const (
	// Exit makes it exit with Status and say nothing.
	Exit Action = "exit"
	// Die makes it kill itself.
	Die Action = "die"
	// Slow makes it wait for For and go on.
	Slow Action = "slow"
)

// What can happen to a call over the control socket. At Before it takes the place of
// the operation, at After of the answer alone.
const (
	// Garbage answers with what is no JSON.
	Garbage Action = "garbage"
	// Half answers with half of the answer and closes the connection.
	Half Action = "half"
	// Disconnect closes the connection.
	Disconnect Action = "disconnect"
	// Unknown says that there is no such method, as an older gVisor does.
	Unknown Action = "unknown"
	// Wrong reports success with a result of another type.
	Wrong Action = "wrong"
	// Sever closes the connection, and the operation is done all the same, for
	// nobody.
	Sever Action = "sever"
	// Leave answers truly and closes the connection, on which nothing can be sent
	// any more when the answer arrives.
	Leave Action = "leave"
	// Huge answers without an end.
	Huge Action = "huge"
)

// How the sandbox that a create makes can be, and the file that it writes.
const (
	// NoSocket makes no control socket and names none.
	NoSocket Action = "nosocket"
	// Deaf makes a control socket on which nobody listens.
	Deaf Action = "deaf"
	// State makes Output the content of the container's state file.
	State Action = "state"
)

// Sock is the verb of the calls over the control socket of a method, which is named as
// gVisor does but without "containerManager.".
func Sock(method string) string { return sockPrefix + method }

const sockPrefix = "sock:"

// IsSock tells the verb of a call over the control socket from a command's.
func IsSock(verb string) bool { return strings.HasPrefix(verb, sockPrefix) }

// Step is a moment in a command's work, or in a call's: Before or After.
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

// Fault is something that goes wrong in a command or in a call over the control
// socket. Empty fields match every one.
type Fault struct {
	// Verb is runsc's, or one of Sock.
	Verb string
	// Container is the id as containerd knows it.
	Container string
	// Args is a part of the command's arguments, joined by blanks. A call's are the
	// full name of the method, and its argument as JSON.
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
	For     time.Duration

	// Since is where in the list of calls counting begins; Write sets it.
	Since int64
}

// Call is an entry in the list of calls: the begin of a command or of a call over the
// control socket, its end, or that it hangs at a fault.
type Call struct {
	Time time.Time
	// PID is the command's, or 1 for a sandbox's own.
	PID       int
	Verb      string
	Container string
	Args      []string
	// Input is what an update was given on its stdin.
	Input string
	End   bool
	Hangs bool
	// Status is with End a command's exit status, or 1 for a call that failed.
	Status int
}

// Write makes faults the script for the commands of the fake in dir from now on.
func Write(dir string, faults ...Fault) error {
	calls, err := open(dir, os.O_RDONLY)
	if err != nil {
		return err
	}
	defer func() { _ = calls.Close() }()
	fi, err := calls.Stat()
	if err != nil {
		return err
	}
	for i := range faults {
		faults[i].Since = fi.Size()
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
	// Counting and entering is one step, or two commands could both be the nth.
	f, err := open(dir, os.O_RDWR)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
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
	f, err := open(dir, os.O_WRONLY)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	return enter(f, c)
}

// open opens the list of calls and locks it until it is closed: the file may grow in the
// middle of an entry.
func open(dir string, mode int) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, callsName), mode|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		return nil, errors.Join(fmt.Errorf("lock calls: %w", err), f.Close())
	}
	return f, nil
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
