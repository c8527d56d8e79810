package reaper

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
)

// maxOutput bounds what a command may print into a buffer of this process, in bytes. An
// answer has some thousand, and a command that logs to its stderr some hundred thousand.
const maxOutput = 4 << 20

// OutputError says that a command printed more than it may, and was stopped at that.
type OutputError struct {
	// Limit is how much it may print, in bytes.
	Limit int
}

// Error implements error.
func (e *OutputError) Error() string {
	return fmt.Sprintf("it printed more than %d bytes", e.Limit)
}

// output is where a command's output goes that this process collects.
type output struct {
	mu   sync.Mutex
	to   io.Writer
	left int
	// over is set when the command has printed more than it may, and left when nobody
	// wants any more of it.
	over, closed bool
}

// bound bounds what the command may print. A file is not ours to bound: this process does
// not read it.
func bound(cmd *exec.Cmd) {
	shared := sameWriter(cmd.Stdout, cmd.Stderr)
	if collected(cmd.Stdout) {
		cmd.Stdout = &output{to: cmd.Stdout, left: maxOutput}
	}
	switch {
	case shared:
		// One, by which it is known that there is one pipe and one who writes.
		cmd.Stderr = cmd.Stdout
	case collected(cmd.Stderr):
		cmd.Stderr = &output{to: cmd.Stderr, left: maxOutput}
	}
}

func collected(w io.Writer) bool {
	_, file := w.(*os.File)
	return w != nil && !file
}

// sameWriter tells whether both are one. Types that cannot be compared are not.
func sameWriter(a, b io.Writer) bool {
	defer func() { _ = recover() }()
	return a != nil && a == b
}

// Write implements io.Writer. An error makes os/exec close the pipe, which ends a command
// that goes on printing.
func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return 0, os.ErrClosed
	}
	if len(p) > o.left {
		o.over = true
		return 0, &OutputError{Limit: maxOutput}
	}
	o.left -= len(p)
	return o.to.Write(p)
}

// close ends the writing, after which the caller may do with its buffer what it likes. It
// reports whether the command has printed more than it may.
func (o *output) close() (over bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed = true
	return o.over
}

// closeOutputs does so with both of a command's.
func closeOutputs(cmd *exec.Cmd) error {
	var err error
	for _, w := range []io.Writer{cmd.Stdout, cmd.Stderr} {
		if o, ok := w.(*output); ok && o.close() {
			err = &OutputError{Limit: maxOutput}
		}
	}
	return err
}
