package proc

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"containerd-shim-runsc/utils/safe"
)

// drainTimeout bounds how long a delete waits for output that nobody reads. It
// leaves the rest of the 10 s that a delete may take (P14) to the runtime.
const drainTimeout = 8 * time.Second

// streams are the open standard streams of one process: the ends that the sandbox
// gets, and what the shim holds so that they behave.
type streams struct {
	// stdin is the write end that keeps the input open, or nil.
	stdin *holder
	// outputs are what is held per output until the process is deleted.
	outputs []output

	// mu guards the following. It is not held while anything waits.
	mu sync.Mutex
	// begun is set when the process was started, closed when it has ended.
	begun, closed bool
	// files are the sandbox's ends, until it has its own copies. They are lent while
	// they are handed to it, and closed afterwards if unneeded is set.
	files          Files
	lent, unneeded bool
	// closing are the ends of what is being closed.
	closing []<-chan struct{}
	// copyTo is where a terminal's output goes and copyFrom its input; nil
	// without a terminal.
	copyTo   *os.File
	copyFrom *os.File
	term     *terminal
}

// output is what the shim holds of a process's stdout or stderr.
type output interface {
	// ended is told when the process has ended; what it wrote is all there once
	// written is closed. It does not wait.
	ended(written <-chan struct{})
	// drain waits until what was written is read, or ctx ends.
	drain(ctx context.Context)
	// close lets go.
	close()
}

// Owner is who owns the streams that the shim makes: uid and gid on the host.
type Owner struct{ UID, GID int }

// opener opens the streams of a process.
type opener struct {
	// id and namespace name the container or exec to a logger.
	id, namespace string
	owner         Owner
}

// open opens the streams that stdio names, within ctx. On failure nothing stays open. An
// unknown scheme, or a path that is no FIFO, is InvalidArgument.
func (o opener) open(ctx context.Context, stdio Stdio) (*streams, error) {
	// A path may be on a file system that hangs.
	return safe.Within(ctx, "open the streams", func() (*streams, error) { return o.openAll(ctx, stdio) }, (*streams).abandon)
}

func (o opener) openAll(ctx context.Context, stdio Stdio) (_ *streams, err error) {
	s := &streams{}
	opened := false
	defer func() {
		if !opened {
			s.abandon()
		}
	}()
	if err := o.openStdin(s, stdio); err != nil {
		return nil, fmt.Errorf("stdin %q: %w", stdio.Stdin, kindOf(err))
	}
	outputs := []struct {
		name, uri string
		file      **os.File
	}{
		{"stdout", stdio.Stdout, &s.files[1]},
		{"stderr", stdio.Stderr, &s.files[2]},
	}
	if stdio.Terminal {
		// A terminal has one output.
		outputs = outputs[:1]
		outputs[0].file = &s.copyTo
	}
	if !stdio.Terminal && stdio.Stdout == stdio.Stderr && scheme(stdio.Stdout) == "binary" {
		if err := o.openLogger(ctx, s, stdio.Stdout, &s.files[1], &s.files[2]); err != nil {
			return nil, kindOf(err)
		}
		opened = true
		return s, nil
	}
	for _, out := range outputs {
		if err := o.openOutput(ctx, s, out.uri, out.file, stdio.Terminal); err != nil {
			return nil, fmt.Errorf("%s %q: %w", out.name, out.uri, kindOf(err))
		}
	}
	opened = true
	return s, nil
}

// kindOf gives the error of a path at which there is nothing, or cannot be anything, its kind.
func kindOf(err error) error {
	is := func(target error) bool { return errors.Is(err, target) }
	switch {
	case !errdefs.IsUnknown(errdefs.Resolve(err)):
		return err
	case is(fs.ErrNotExist):
		return fmt.Errorf("%w: %w", err, errdefs.ErrNotFound)
	case slices.ContainsFunc([]error{unix.ENOTDIR, unix.EISDIR, unix.ELOOP, unix.ENAMETOOLONG, unix.EINVAL}, is):
		return fmt.Errorf("%w: %w", err, errdefs.ErrInvalidArgument)
	case is(fs.ErrPermission):
		return fmt.Errorf("%w: %w", err, errdefs.ErrPermissionDenied)
	}
	return err
}

// scheme returns the scheme of a stream's URI; a plain path is a FIFO.
func scheme(uri string) string {
	u, err := url.Parse(uri)
	switch {
	case uri == "":
		return ""
	case filepath.IsAbs(uri):
		return "fifo" // whatever a URI would make of what is in it
	case err != nil:
		return "invalid"
	case u.Scheme == "":
		return "fifo"
	default:
		return u.Scheme
	}
}

// path returns the path of a stream's URI.
func path(uri string) string {
	if u, err := url.Parse(uri); err == nil && u.Scheme != "" {
		return u.Path
	}
	return uri
}

func (o opener) openStdin(s *streams, stdio Stdio) error {
	switch scheme(stdio.Stdin) {
	case "":
		if stdio.Terminal {
			return nil
		}
		null, err := os.Open(os.DevNull)
		s.files[0] = null
		return err
	case "fifo":
	default:
		return fmt.Errorf("only a FIFO can be an input: %w", errdefs.ErrInvalidArgument)
	}
	r, w, err := openFIFO(path(stdio.Stdin), ours(stdio.Terminal), 0)
	if err != nil {
		return err
	}
	s.stdin = &holder{f: w}
	if stdio.Terminal {
		s.copyFrom = r
	} else {
		s.files[0] = r
	}
	return o.owner.own(r)
}

// ours is the mode of an end that is the shim's own, in which an operation on it can be
// given up. The sandbox's are in blocking mode, as a process expects its streams.
func ours(own bool) int {
	if own {
		return unix.O_NONBLOCK
	}
	return 0
}

func (o opener) openOutput(ctx context.Context, s *streams, uri string, file **os.File, terminal bool) error {
	switch sch := scheme(uri); sch {
	case "":
		null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
		*file = null
		return err
	case "fifo":
		r, w, err := openFIFO(path(uri), 0, ours(terminal))
		if err != nil {
			return err
		}
		*file = w
		s.outputs = append(s.outputs, newFIFOOutput(path(uri), r))
		return o.owner.own(w)
	case "file":
		f, err := openLogFile(path(uri), ours(terminal))
		if err != nil {
			return err
		}
		*file = f
		return nil
	case "binary":
		return o.openLogger(ctx, s, uri, file, nil)
	default:
		return fmt.Errorf("scheme %q is none of fifo, file, binary: %w", sch, errdefs.ErrInvalidArgument)
	}
}

// own gives a stream to the owner, if there is one.
func (o Owner) own(f *os.File) error {
	if o.UID == 0 && o.GID == 0 {
		return nil
	}
	return f.Chown(o.UID, o.GID)
}

// ends returns the sandbox's ends.
func (s *streams) ends() Files {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.files
}

// lend returns the sandbox's ends for a call that hands them to it. They are not closed
// before they are given back, whatever becomes of the process: the number of a file that is
// closed may be another file's in the next moment, which the sandbox would have then.
func (s *streams) lend() (ends Files, giveBack func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lent = true
	return s.files, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.lent = false
		if s.unneeded {
			s.closeFilesLocked()
		}
	}
}

// started is told when the sandbox has its ends: the shim's copies are closed, so
// that a reader sees the end when the process ends. With a terminal, copying
// begins; the master is the streams' from here on. foreground is as startTerminal has it.
func (s *streams) started(master *os.File, foreground signaler) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.begun = true
	s.closeFilesLocked()
	if master == nil {
		return
	}
	s.term = startTerminal(master, s.copyFrom, s.copyTo, foreground)
	s.copyFrom, s.copyTo = nil, nil
	if s.closed {
		s.term.end()
	}
}

// ended is told when the process has ended. A reader sees the end once it has read
// everything; what it has not read yet stays for it. It does not wait.
func (s *streams) ended() {
	s.closeStdin()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	s.closeFilesLocked()
	written := alreadyClosed()
	if s.term != nil {
		s.term.end()
		written = s.term.outDone
	} else {
		// It ended before it had its terminal.
		s.closeUnusedLocked()
	}
	for _, o := range s.outputs {
		o.ended(written)
	}
}

func alreadyClosed() <-chan struct{} {
	ch := make(chan struct{})
	close(ch)
	return ch
}

func (s *streams) closeFilesLocked() {
	if s.lent {
		s.unneeded = true
		return
	}
	s.closeAsideLocked(s.files[:]...)
	s.files = Files{}
}

// closeAsideLocked closes files without waiting for that: a log may be on a file system that
// does not answer, and who closes it waits for what is not written yet.
func (s *streams) closeAsideLocked(files ...*os.File) {
	for _, f := range files {
		if f == nil {
			continue
		}
		closed := make(chan struct{})
		s.closing = append(s.closing, closed)
		safe.Go("close "+f.Name(), func() {
			defer close(closed)
			_ = f.Close()
		})
	}
}

// closeUnusedLocked closes what a terminal would have copied from and to.
func (s *streams) closeUnusedLocked() {
	s.closeAsideLocked(s.copyFrom, s.copyTo)
	s.copyFrom, s.copyTo = nil, nil
}

func (s *streams) closeStdin() {
	if s.stdin != nil {
		s.stdin.close()
	}
}

func (s *streams) resize(width, height uint16) error {
	s.mu.Lock()
	term := s.term
	s.mu.Unlock()
	if term == nil {
		return nil
	}
	err := term.resize(width, height)
	if errors.Is(err, os.ErrClosed) {
		return nil // it has just ended
	}
	return err
}

// abandon closes everything without waiting for a reader.
func (s *streams) abandon() {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	s.close(ctx)
}

// close closes everything, after what the process wrote is read or ctx or
// drainTimeout ends. Of a process that was never started there is at most the reason,
// which the caller was told too: a reader that is there keeps it, and none is waited for.
func (s *streams) close(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, drainTimeout)
	defer cancel()
	s.ended()
	s.mu.Lock()
	term, begun := s.term, s.begun
	s.mu.Unlock()
	if term != nil {
		term.close(ctx)
	}
	for _, o := range s.outputs {
		if begun {
			o.drain(ctx)
		}
		o.close()
	}
	s.mu.Lock()
	closing := s.closing
	s.mu.Unlock()
	waitOrLetGo("close the streams", func() {
		for _, closed := range closing {
			<-closed
		}
	})
}
