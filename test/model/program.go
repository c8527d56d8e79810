package model

import (
	"fmt"
	"strconv"
	"strings"
)

// Verb is what a call does. Most are the task API's.
type Verb string

// The verbs of the task API.
const (
	Create     Verb = "create"
	Start      Verb = "start"
	Exec       Verb = "exec"
	Kill       Verb = "kill"
	Delete     Verb = "delete"
	State      Verb = "state"
	Wait       Verb = "wait" // a wait that is kept until the process has ended
	CloseIO    Verb = "close"
	Resize     Verb = "resize"
	Pids       Verb = "pids"
	Stats      Verb = "stats"
	Update     Verb = "update"
	Pause      Verb = "pause"
	Resume     Verb = "resume"
	Checkpoint Verb = "checkpoint"
	Connect    Verb = "connect"
	Shutdown   Verb = "shutdown"
)

// What happens beside the task API.
const (
	// Tell gives a process's puppet a command over its stdin.
	Tell Verb = "tell"
	// Detach closes the client's end of stdin.
	Detach Verb = "detach"
	// GiveUp begins a wait and gives it up.
	GiveUp Verb = "giveup"
	// Murder kills the sandbox process.
	Murder Verb = "murder"
	// Reconnect is a containerd that starts again.
	Reconnect Verb = "reconnect"
	// Sink makes the event sink go "down", come "up" or "refuse".
	Sink Verb = "sink"
)

// Call is one call. What a verb does not use is zero.
type Call struct {
	Verb Verb
	// Task is the task's id, and Exec the exec's if Named is set, which may be empty.
	Task  string
	Exec  string
	Named bool
	// Word is what a process runs, the signal, or what is told.
	Word string
	N, M int
	All  bool
}

// Step is one or more calls that are made at the same moment.
type Step []Call

// Program is what is run.
type Program []Step

// execID is the id that the call is made with.
func (c Call) execID() string {
	if !c.Named {
		return ""
	}
	return c.Exec
}

// target is the process that the call is about, as the names of processes are.
func (c Call) target() string {
	if c.execID() == "" {
		return c.Task
	}
	return c.Task + "/" + c.Exec
}

// String writes a call: the verb, the target, and what is not zero.
func (c Call) String() string {
	target := c.Task
	if c.Named {
		target += "/" + c.Exec
	}
	words := []string{string(c.Verb), target}
	if c.Word != "" {
		words = append(words, c.Word)
	}
	if c.N != 0 {
		words = append(words, fmt.Sprintf("n=%d", c.N))
	}
	if c.M != 0 {
		words = append(words, fmt.Sprintf("m=%d", c.M))
	}
	if c.All {
		words = append(words, "all")
	}
	return strings.Join(words, " ")
}

// String writes a step on a line.
func (s Step) String() string {
	var calls []string
	for _, c := range s {
		calls = append(calls, c.String())
	}
	return strings.Join(calls, " | ")
}

// String writes a program, a step in a line.
func (p Program) String() string {
	var b strings.Builder
	for _, s := range p {
		b.WriteString(s.String() + "\n")
	}
	return b.String()
}

// Calls counts the calls of a program.
func (p Program) Calls() int {
	n := 0
	for _, s := range p {
		n += len(s)
	}
	return n
}

// Parse reads what String writes. Empty lines and those that begin with # are left out.
func Parse(text string) (Program, error) {
	var p Program
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		var s Step
		for part := range strings.SplitSeq(line, "|") {
			c, err := parseCall(part)
			if err != nil {
				return nil, fmt.Errorf("%q: %w", line, err)
			}
			s = append(s, c)
		}
		p = append(p, s)
	}
	return p, nil
}

func parseCall(text string) (Call, error) {
	words := strings.Fields(text)
	if len(words) < 2 {
		return Call{}, fmt.Errorf("%q has no verb and target", text)
	}
	c := Call{Verb: Verb(words[0])}
	c.Task, c.Exec, c.Named = strings.Cut(words[1], "/")
	for _, w := range words[2:] {
		var err error
		switch name, value, _ := strings.Cut(w, "="); {
		case w == "all":
			c.All = true
		case name == "n" && name != w:
			c.N, err = strconv.Atoi(value)
		case name == "m" && name != w:
			c.M, err = strconv.Atoi(value)
		default:
			c.Word = w
		}
		if err != nil {
			return Call{}, err
		}
	}
	return c, nil
}
