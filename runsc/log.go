package runsc

import (
	"bytes"
	"encoding/json"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"containerd-shim-runsc/utils/safe"
)

const (
	// maxLog bounds how much of a command's log is read, in bytes: then nobody reads it
	// any more. A log holds a few lines.
	maxLog = 8 << 20

	// logTail is how much of its end is kept, in bytes. What went wrong is said last.
	logTail = 64 << 10

	// maxEntries bounds how many entries of a log are looked at, from its end.
	maxEntries = 1000
)

// commandLog is where a command writes its log: a pipe. It takes no space on a disk that
// may be full, and no memory that grows: the sandbox that a command makes inherits the
// log.
type commandLog struct {
	r, w *os.File
	tail []byte
	done chan struct{}
}

// newLog makes the log of a command. It must be ended.
func newLog() (*commandLog, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	l := &commandLog{r: r, w: w, done: make(chan struct{})}
	safe.Go("read the log of a command", func() {
		defer close(l.done)
		l.read()
	})
	return l, nil
}

// path is where another process can open the log.
func (l *commandLog) path() string { return pathOf(l.w) }

// read reads the log until somebody ends that, or until it is too long.
func (l *commandLog) read() {
	b := make([]byte, 16<<10)
	for size := 0; size < maxLog; {
		n, err := l.r.Read(b)
		l.keep(b[:n])
		size += n
		if err != nil {
			return
		}
	}
	// Who goes on writing gets an error now, and is not held up.
	_ = l.r.Close()
}

func (l *commandLog) keep(b []byte) {
	l.tail = append(l.tail, b...)
	if len(l.tail) > 2*logTail {
		l.tail = append(l.tail[:0], l.tail[len(l.tail)-logTail:]...)
	}
}

// end ends the log and returns the end of what was written to it before, by whoever has
// ended since.
func (l *commandLog) end() []byte {
	_ = l.r.SetReadDeadline(time.Unix(1, 0))
	<-l.done
	// What is in the pipe still; with its deadline in the past it is not read from.
	if l.r.SetReadDeadline(time.Time{}) == nil {
		if raw, err := l.r.SyscallConn(); err == nil {
			_ = raw.Read(func(fd uintptr) bool {
				b := make([]byte, logTail)
				for range maxLog / logTail {
					n, err := unix.Read(int(fd), b)
					if n <= 0 || err != nil {
						break
					}
					l.keep(b[:n])
				}
				return true
			})
		}
	}
	_ = l.r.Close()
	_ = l.w.Close()
	return l.tail
}

// lastError returns the last error in the JSON log of a command, or "". The log may begin
// in the middle of an entry, and hold what is none.
func lastError(log []byte) string {
	for range maxEntries {
		// No text in JSON holds this.
		i := bytes.LastIndex(log, []byte(`{"`))
		if i < 0 {
			return ""
		}
		var entry struct {
			Level string `json:"level"`
			Msg   string `json:"msg"`
		}
		err := json.NewDecoder(bytes.NewReader(log[i:])).Decode(&entry)
		if err == nil && entry.Level == "error" && entry.Msg != "" {
			return strings.TrimSpace(entry.Msg)
		}
		log = log[:i]
	}
	return ""
}
