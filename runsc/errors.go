package runsc

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os/exec"
	"strings"

	"github.com/containerd/errdefs"
)

// maxLog bounds how much of a command's log is read, in bytes. A log holds a
// few lines; what is longer is garbage.
const maxLog = 1 << 20

// lastError returns the last error in the JSON log of a command, or "".
func lastError(log io.Reader) string {
	var last string
	dec := json.NewDecoder(io.LimitReader(log, maxLog))
	for {
		var entry struct {
			Level string `json:"level"`
			Msg   string `json:"msg"`
		}
		if err := dec.Decode(&entry); err != nil {
			// The end, or garbage: what was understood before it still counts.
			return last
		}
		if entry.Level == "error" && entry.Msg != "" {
			last = strings.TrimSpace(entry.Msg)
		}
	}
}

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
	case gone(said, err):
		return fmt.Errorf("%w: %w", e, errdefs.ErrNotFound)
	default:
		return e
	}
}

// gone reports whether runsc said that the container, its sandbox or the process
// does not exist. runsc has no codes for it, so its words are what there is. They
// choose an error's kind; who acts on that makes sure by other means.
func gone(said string, err error) bool {
	if said == "" {
		said = err.Error()
	}
	for _, s := range []string{
		"file does not exist",          // the container has no state file
		"does not exist",               // the sandbox does not know the container
		"sandbox is not running",       // the sandbox process is gone
		"no such process",              // the process is gone
		"connection refused",           // nobody listens on the control socket
		"connecting to control server", // the socket is gone
	} {
		if strings.Contains(said, s) {
			return true
		}
	}
	return false
}
