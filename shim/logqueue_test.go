package shim

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"
)

// fullDisk is a log that cannot be written until there is room.
type fullDisk struct {
	mu    sync.Mutex
	room  bool
	tries int
	text  strings.Builder
}

func (d *fullDisk) Write(b []byte) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	const most = 10_000 // who tries that often would never stop
	if d.tries++; !d.room && d.tries < most {
		return 0, unix.ENOSPC
	}
	return d.text.Write(b)
}

func (d *fullDisk) SetWriteDeadline(time.Time) error { return nil }
func (d *fullDisk) Close() error                     { return nil }

func (d *fullDisk) seen() (tries int, text string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.tries, d.text.String()
}

var _ io.WriteCloser = (*fullDisk)(nil)

// TestALogThatCannotBeWritten: a disk that is full is not tried all the time, and when there
// is room, the log tells what is missing in it.
func TestALogThatCannotBeWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := &fullDisk{}
		q := newLogQueue(disk)
		const lines = 20
		for range lines {
			_, _ = q.Write([]byte("a line\n"))
			time.Sleep(time.Second)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		// Each line, with it what is lost, and that now and then.
		if tries, text := disk.seen(); tries > 2*lines+20 || text != "" {
			t.Errorf("it was tried %d times, and written is %q", tries, text)
		}
		disk.mu.Lock()
		disk.room = true
		disk.mu.Unlock()
		time.Sleep(logAgain)
		synctest.Wait()
		_, text := disk.seen()
		if want := fmt.Sprintf("%d lines of the shim's log are lost", lines); strings.Count(text, "\n") != 1 || !strings.Contains(text, want) {
			t.Errorf("written is %q, want %q", text, want)
		}
		closeLog(t, q, time.Second)
	})
}

// TestALogThatCannotBeWrittenEnds: nor does it hold up the end.
func TestALogThatCannotBeWrittenEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newLogQueue(&fullDisk{})
		_, _ = q.Write([]byte("a line\n"))
		synctest.Wait()
		began := time.Now()
		closeLog(t, q, time.Minute)
		if took := time.Since(began); took > 0 {
			t.Errorf("it took %s", took)
		}
	})
}
