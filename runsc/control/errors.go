package control

import "fmt"

// Outcome is how a call failed.
type Outcome int

const (
	// Unreached says that there was no connection, or that it broke before the
	// call was complete. Nothing has happened.
	Unreached Outcome = iota
	// Unknown says that the sandbox does not know the method, or not this
	// argument. Nothing has happened.
	Unknown
	// Refused says that the sandbox did not do it, and why.
	Refused
	// Lost says that no answer came before the connection or the caller's context
	// ended. It may have happened.
	Lost
	// Unreadable says that what came is no answer. It may have happened.
	Unreadable
)

// Error is a call that failed.
type Error struct {
	// Method is gVisor's name of what was called.
	Method  string
	Outcome Outcome
	// Err is what went wrong; of a Refused call, what the sandbox said.
	Err error
}

// Error implements error.
func (e *Error) Error() string {
	switch e.Outcome {
	case Unreached:
		return fmt.Sprintf("control socket: %v", e.Err)
	case Unknown:
		return fmt.Sprintf("control socket: the sandbox does not take %s: %v", e.Method, e.Err)
	case Refused:
		return e.Err.Error()
	case Lost:
		return fmt.Sprintf("control socket: no answer to %s: %v", e.Method, e.Err)
	default:
		return fmt.Sprintf("control socket: unreadable answer to %s: %v", e.Method, e.Err)
	}
}

// InDoubt reports whether the operation may have happened.
func (e *Error) InDoubt() bool { return e.Outcome == Lost || e.Outcome == Unreadable }

// Unwrap returns what went wrong.
func (e *Error) Unwrap() error { return e.Err }
