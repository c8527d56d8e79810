package runsc

import (
	"errors"
	"fmt"
	"io/fs"
	"os/exec"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
)

// maxSaid bounds what an error says of what runsc has said, in bytes.
const maxSaid = 4 << 10

// Error is a runsc command that failed.
type Error struct {
	// Verb is runsc's subcommand, Container the id as the caller knows it.
	Verb, Container string
	// Said is the last error that runsc logged, or "" if it logged none.
	Said string
	// Err is how the command ended.
	Err error
}

// Error implements error.
func (e *Error) Error() string {
	what := e.Said
	if what == "" {
		what = e.Err.Error()
	}
	if len(what) > maxSaid {
		what = what[:maxSaid] + "..."
	}
	return fmt.Sprintf("runsc %s %s: %s", e.Verb, e.Container, what)
}

// Unwrap returns how the command ended.
func (e *Error) Unwrap() error { return e.Err }

// commandError gives the failure of a command its errdefs kind.
func commandError(verb, container, said string, err error) error {
	e := &Error{Verb: verb, Container: container, Said: said, Err: err}
	var notRun *exec.Error
	var noFile *fs.PathError
	switch {
	case errors.As(err, &notRun), errors.As(err, &noFile):
		// The binary itself is missing or cannot be run: nothing that the
		// caller asked for is wrong.
		if notRun != nil {
			e.Said = notRun.Error()
		} else {
			e.Said = noFile.Error()
		}
		return fmt.Errorf("%w: %w", e, errdefs.ErrFailedPrecondition)
	case e.speaksOf("error setting flag", "Cannot set it to"):
		// A flag in an annotation that a container may not have (Config.Override).
		return fmt.Errorf("%w: %w", e, errdefs.ErrInvalidArgument)
	case e.speaksOf(
		"does not exist",         // no state file
		`" not found`,            // no such container in the sandbox
		"sandbox is not running", // the sandbox process is gone
		"no such process",        // the process is gone
	):
		return fmt.Errorf("%w: %w", e, errdefs.ErrNotFound)
	case e.speaksOf(
		"connection refused",           // nobody listens on the control socket
		"connecting to control server", // the socket is gone
		"no control socket found",      // it is gone with the sandbox's root container
	):
		return fmt.Errorf("%w: %w", e, errdefs.ErrUnavailable)
	case e.speaksOf("<flags> <subcommand>"):
		// How to use it is all that it says to a command that it does not know.
		e.Said = "this runsc has no such command"
		return fmt.Errorf("%w: %w", e, errdefs.ErrNotImplemented)
	case e.speaksOf("in state paused"):
		return fmt.Errorf("%w: %w", e, errdefs.ErrFailedPrecondition)
	default:
		return e
	}
}

// speaksOf reports whether runsc said one of these. runsc has no codes for what is
// wrong, so its words are what there is. They choose an error's kind; who acts on that
// makes sure by other means.
func (e *Error) speaksOf(words ...string) bool {
	said := e.Said
	if said == "" {
		said = e.Err.Error()
	}
	return slices.ContainsFunc(words, func(w string) bool { return strings.Contains(said, w) })
}
