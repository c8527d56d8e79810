package e2e

import (
	"bytes"
	"context"
	"io"
	"strings"
	"sync"
	"testing"

	"github.com/containerd/containerd/v2/pkg/cio"
)

// streams are the streams of one process, through FIFOs that the test reads and
// writes. They are a client's IO that loses nothing: see the package's comment.
type streams struct {
	t        *testing.T
	terminal bool
	// noStdin leaves the process without a stdin.
	noStdin bool
	// noWait makes a client delete the process though its output is unread.
	noWait bool
	// out and err get what the process writes; stderr goes to out at a terminal.
	out, err *output
	// stdin is written to by the test, from the moment that the process is made.
	stdin io.WriteCloser

	copying sync.WaitGroup
	direct  *cio.DirectIO
}

var _ cio.IO = (*streams)(nil)

func newStreams(t *testing.T) *streams {
	return &streams{t: t, out: &output{}, err: &output{}}
}

func newTerminal(t *testing.T) *streams {
	s := newStreams(t)
	s.terminal = true
	return s
}

// create is a cio.Creator.
func (s *streams) create(id string) (cio.IO, error) {
	fifos, err := cio.NewFIFOSetInDir(suite.fifos(), id, s.terminal)
	if err != nil {
		return nil, err
	}
	return s.attach(fifos)
}

// attach is a cio.Attach.
func (s *streams) attach(fifos *cio.FIFOSet) (_ cio.IO, err error) {
	if s.noStdin {
		fifos.Stdin = ""
	}
	if s.terminal {
		fifos.Stderr = ""
	}
	// The client ends it with Cancel and Close.
	if s.direct, err = cio.NewDirectIO(context.WithoutCancel(s.t.Context()), fifos); err != nil {
		return nil, err
	}
	s.stdin = s.direct.Stdin
	for to, from := range map[*output]io.Reader{s.out: s.direct.Stdout, s.err: s.direct.Stderr} {
		if from != nil {
			s.copying.Go(func() { _, _ = io.Copy(to, from) })
		}
	}
	return s, nil
}

// detach closes the client's ends and nothing else, as a client does that goes away.
func (s *streams) detach() {
	for _, end := range []io.Closer{s.direct.Stdin, s.direct.Stdout, s.direct.Stderr} {
		if end != nil {
			_ = end.Close()
		}
	}
	s.copying.Wait()
}

// Config implements cio.IO.
func (s *streams) Config() cio.Config { return s.direct.Config() }

// Cancel implements cio.IO. Only what is not open yet is given up.
func (s *streams) Cancel() { s.direct.Cancel() }

// Wait implements cio.IO: it waits for the end of all output.
func (s *streams) Wait() {
	if !s.noWait {
		s.drained()
	}
}

// drained waits for the end of all output.
func (s *streams) drained() {
	s.t.Helper()
	within(s.t, "the end of the output", s.copying.Wait)
}

// Close implements cio.IO.
func (s *streams) Close() error { return s.direct.Close() }

// output collects what a process writes.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

// Write implements io.Writer.
func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(b)
}

func (o *output) String() string { return string(o.bytes()) }

func (o *output) bytes() []byte {
	o.mu.Lock()
	defer o.mu.Unlock()
	return bytes.Clone(o.buf.Bytes())
}

// has waits until the output contains text.
func (o *output) has(t *testing.T, text string) {
	t.Helper()
	until(t, "output "+text, func() (bool, string) {
		got := o.String()
		return strings.Contains(got, text), got
	})
}
