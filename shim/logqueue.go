package shim

import (
	"context"
	"fmt"
	"io"
	"sync"
	"time"

	"containerd-shim-runsc/utils/safe"
)

const (
	// maxLogQueue is how much of the log may wait to be written, in bytes, beside one line.
	maxLogQueue = 256 << 10

	// logAgain is when it is tried again to say how many lines are lost, if nothing is logged
	// meanwhile.
	logAgain = 5 * time.Second
)

// logFile is what a log queue needs of its file.
type logFile interface {
	io.WriteCloser
	SetWriteDeadline(t time.Time) error
}

// logQueue is what the log is written to, so that whoever logs waits for nothing: a log may
// be on a disk that hangs, or be a FIFO that nobody reads. One goroutine writes it. Lines for
// which there is no room are lost, the newest first, and their number is logged when there
// is room again.
type logQueue struct {
	file logFile

	mu      sync.Mutex
	waiting [][]byte
	size    int
	lost    int
	closed  bool

	wake chan struct{} // holds a token while the goroutine should look
	done chan struct{} // closed when the goroutine has ended
}

// newLogQueue returns the queue to a file, which must be in non-blocking mode if it is a
// FIFO. The queue closes it.
func newLogQueue(file logFile) *logQueue {
	q := &logQueue{file: file, wake: make(chan struct{}, 1), done: make(chan struct{})}
	safe.Go("write the log", q.run)
	return q
}

// Write implements io.Writer for whole lines. It never waits and never fails.
func (q *logQueue) Write(line []byte) (int, error) {
	q.mu.Lock()
	switch {
	case q.closed, q.size >= maxLogQueue:
		q.lost++
	default:
		// It is the caller's.
		q.waiting = append(q.waiting, append([]byte(nil), line...))
		q.size += len(line)
	}
	q.mu.Unlock()
	q.look()
	return len(line), nil
}

func (q *logQueue) look() {
	select {
	case q.wake <- struct{}{}:
	default: // the goroutine is going to look already
	}
}

func (q *logQueue) run() {
	defer close(q.done)
	for {
		line, lost, closed := q.take()
		switch {
		case line != nil:
			q.write(line)
		case lost > 0:
			q.tell(lost)
		case closed:
			return
		default:
			<-q.wake
		}
	}
}

// take returns the next line, or if there is none how many were lost since it was last asked.
// What is being written counts as waiting.
func (q *logQueue) take() (line []byte, lost int, closed bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.waiting) == 0 {
		lost, q.lost = q.lost, 0
		return nil, lost, q.closed
	}
	line, q.waiting[0] = q.waiting[0], nil
	q.waiting = q.waiting[1:]
	return line, 0, false
}

// tell writes how many lines are lost. If that fails too, as on a full disk, it waits: to
// write again at once would fail again.
func (q *logQueue) tell(lost int) {
	_, err := q.file.Write(fmt.Appendf(nil, "time=%q level=warning msg=\"%d lines of the shim's log are lost: it was not written in time\"\n",
		time.Now().Format(time.RFC3339), lost))
	if err == nil || !q.stillLost(lost) {
		return
	}
	t := time.NewTimer(logAgain)
	defer t.Stop()
	select {
	case <-q.wake:
	case <-t.C:
	}
}

// stillLost counts the lines as lost again, unless the queue is closed: then nobody will say
// it any more.
func (q *logQueue) stillLost(lost int) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return false
	}
	q.lost += lost
	return true
}

func (q *logQueue) write(line []byte) {
	_, err := q.file.Write(line)
	q.mu.Lock()
	defer q.mu.Unlock()
	q.size = max(q.size-len(line), 0)
	if err != nil && !q.closed {
		q.lost++
	}
}

// close writes what waits, until ctx ends, and closes the file. It is the log's end: what
// comes later is lost.
func (q *logQueue) close(ctx context.Context) {
	q.mu.Lock()
	q.closed = true
	q.mu.Unlock()
	q.look()
	if deadline, ok := ctx.Deadline(); ok {
		_ = q.file.SetWriteDeadline(deadline) // a file has none
	}
	select {
	case <-q.done:
		_ = q.file.Close()
	case <-ctx.Done():
		// It hangs, and ends with the process.
	}
}
