package harness

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Stdio are a process's standard streams as a client holds them.
type Stdio struct {
	// Stdin, Stdout and Stderr are what the shim is told.
	Stdin, Stdout, Stderr string
	Terminal              bool
	// Out and Err receive what is written to the FIFOs.
	Out, Err *Stream

	t testing.TB
	// in is the writing end of Stdin once somebody wanted it.
	in *os.File
	// held is a reading end of Stdout that nobody reads yet.
	held *os.File
}

// newFIFOs makes the streams of a process.
func (e *Env) newFIFOs(name string, terminal bool) *Stdio {
	e.t.Helper()
	s := &Stdio{t: e.t, Terminal: terminal, Out: &Stream{name: name + "'s stdout"}, Err: &Stream{name: name + "'s stderr"}}
	e.mu.Lock()
	e.fifos++
	n := e.fifos // an exec's id can be used again
	e.mu.Unlock()
	fifo := func(stream string) string {
		path := filepath.Join(e.ioDir(), fmt.Sprintf("%s.%d.%s", name, n, stream))
		if err := unix.Mkfifo(path, 0o700); err != nil {
			e.t.Fatal(err)
		}
		return path
	}
	s.Stdin, s.Stdout = fifo("in"), fifo("out")
	if !terminal {
		s.Stderr = fifo("err")
	}
	return s
}

// Read begins to read the output.
func (s *Stdio) Read() {
	if s.held != nil {
		s.Out.read(s.held)
		s.held = nil
	} else {
		s.Out.open(s.Stdout)
	}
	if s.Stderr != "" {
		s.Err.open(s.Stderr)
	}
}

// Open opens the output and leaves it unread until Read is called.
func (s *Stdio) Open() {
	s.t.Helper()
	f, err := os.OpenFile(s.Stdout, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		s.t.Fatal(err)
	}
	s.held = f
}

// Leave closes the client's ends, as when the client ends.
func (s *Stdio) Leave() {
	s.Detach()
	s.Out.leave()
	s.Err.leave()
}

// Write writes to the process's stdin.
func (s *Stdio) Write(text string) {
	s.t.Helper()
	done := make(chan error, 1)
	go func() {
		if s.in == nil {
			f, err := os.OpenFile(s.Stdin, os.O_WRONLY, 0)
			if err != nil {
				done <- err
				return
			}
			s.in = f
		}
		_, err := s.in.WriteString(text)
		done <- err
	}()
	select {
	case err := <-done:
		if err != nil {
			s.t.Fatalf("write to stdin: %v", err)
		}
	case <-time.After(Patience):
		s.t.Fatalf("nobody takes what is written to %s", s.Stdin)
	}
}

// Detach closes the client's end of stdin.
func (s *Stdio) Detach() {
	if s.in != nil {
		_ = s.in.Close()
		s.in = nil
	}
}

func (s *Stdio) close() {
	if s == nil {
		return
	}
	s.Detach()
	if s.held != nil {
		_ = s.held.Close()
	}
	for _, o := range []*Stream{s.Out, s.Err} {
		if o != nil {
			o.close()
		}
	}
}

// Stream collects what is read from a file.
type Stream struct {
	name string
	path string

	changing
	buf     bytes.Buffer
	ended   bool
	opening int
	files   []*os.File
	wg      sync.WaitGroup
}

// open begins to read a FIFO, as soon as somebody opens it for writing.
func (s *Stream) open(path string) {
	s.update(func() { s.path = path; s.opening++ })
	s.wg.Go(func() {
		f, err := os.OpenFile(path, os.O_RDONLY, 0)
		s.update(func() {
			s.opening--
			if err == nil {
				s.files = append(s.files, f)
			}
		})
		if err != nil {
			return
		}
		s.copy(f)
		s.update(func() { s.ended = true })
	})
}

// read begins to read an open file.
func (s *Stream) read(f *os.File) {
	s.update(func() { s.files = append(s.files, f) })
	s.wg.Go(func() {
		s.copy(f)
		s.update(func() { s.ended = true })
	})
}

func (s *Stream) copy(f *os.File) {
	defer func() { _ = f.Close() }()
	b := make([]byte, 64<<10)
	for {
		n, err := f.Read(b)
		s.update(func() { s.buf.Write(b[:n]) })
		if err != nil {
			return
		}
	}
}

// String returns what has been read so far.
func (s *Stream) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.buf.String()
}

// All waits for the end and returns everything.
func (s *Stream) All(t testing.TB) string {
	t.Helper()
	if !s.await(func() bool { return s.ended }) {
		t.Fatalf("%s has not ended after %s; so far it is %.200q", s.name, Patience, s.String())
	}
	return s.String()
}

// Ended reports whether the end was read.
func (s *Stream) Ended() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ended
}

// Until waits until text has been read.
func (s *Stream) Until(t testing.TB, text string) {
	t.Helper()
	if !s.await(func() bool { return bytes.Contains(s.buf.Bytes(), []byte(text)) }) {
		t.Fatalf("%s has no %q after %s; it is %.200q", s.name, text, Patience, s.String())
	}
}

// leave closes what is being read. What was read stays, and it can be opened again.
func (s *Stream) leave() {
	s.close()
	s.update(func() { s.ended = false })
}

// close gives up reading.
func (s *Stream) close() {
	s.mu.Lock()
	path := s.path
	s.mu.Unlock()
	if path != "" {
		// A reader that nobody has written for is still opening, or is about to. A
		// writer that stays until it has opened lets it on.
		fd, err := unix.Open(path, unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
		if err == nil {
			s.await(func() bool { return s.opening == 0 })
			_ = unix.Close(fd)
		}
	}
	s.mu.Lock()
	files := s.files
	s.files = nil
	s.mu.Unlock()
	for _, f := range files {
		_ = f.Close()
	}
	s.wg.Wait()
}
