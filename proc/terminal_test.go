package proc

import (
	"bytes"
	"errors"
	"io"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// failing is a reader's end that fails as often as there are errors.
type failing struct {
	bytes.Buffer
	errs []error
}

func (f *failing) Write(b []byte) (int, error) {
	if len(f.errs) > 0 {
		err := f.errs[0]
		f.errs = f.errs[1:]
		return 0, err
	}
	return f.Buffer.Write(b)
}

// A logger that has ended gets no more, a disk that was full goes on where it can, and in
// neither case does the process wait for ever for a terminal that nobody reads.
func TestTerminalWhoseReaderFails(t *testing.T) {
	gone := &failing{errs: []error{unix.EPIPE}}
	full := &failing{errs: []error{unix.ENOSPC, unix.EDQUOT}}
	var toGone, toFull io.Writer = gone, full
	for _, text := range []string{"a", "b", "c"} {
		toGone, toFull = pass(toGone, []byte(text)), pass(toFull, []byte(text))
	}
	if gone.String() != "" || toGone != io.Discard {
		t.Errorf("a reader that is gone got %q", gone)
	}
	if full.String() != "c" {
		t.Errorf("a disk that was full has %q", full)
	}
}

// What a terminal shows is read to its end though nobody takes it.
func TestTerminalGoesOnWithoutReader(t *testing.T) {
	master, slave := terminalPair(t)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	_ = r.Close()
	term := startTerminal(master, nil, w, nil)
	text := bytes.Repeat([]byte("x"), 1<<20) // more than the kernel holds
	if n, err := slave.Write(text); err != nil || n != len(text) {
		t.Errorf("%d of %d written: %v", n, len(text), err)
	}
	if err := slave.Close(); err != nil {
		t.Error(err)
	}
	<-term.outDone
	term.close(t.Context())
	if _, err := master.Read(text); !errors.Is(err, os.ErrClosed) {
		t.Errorf("the master: %v", err)
	}
}
