package shim

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"

	"containerd-shim-runsc/test/hungfs"
)

// logAt makes a FIFO as containerd does, and returns the shim's queue to it.
func logAt(t *testing.T) *logQueue {
	t.Helper()
	t.Chdir(t.TempDir())
	if err := unix.Mkfifo(logFIFO, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := openLogFile(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	return newLogQueue(f)
}

func closeLog(t *testing.T, q *logQueue, within time.Duration) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	q.close(ctx)
	<-q.done // a FIFO's write ends with its deadline
}

func TestALogWithoutRoomLosesLinesAndHoldsNobodyUp(t *testing.T) {
	q := logAt(t)
	const lines = 1024
	for i := range lines { // a megabyte, of which nothing is read
		line := fmt.Appendf(nil, "%06d%s\n", i, strings.Repeat("x", 1017))
		if n, err := q.Write(line); n != len(line) || err != nil {
			t.Fatalf("%d, %v", n, err)
		}
	}
	q.mu.Lock()
	size, lost := q.size, q.lost
	q.mu.Unlock()
	if size > maxLogQueue+1024 || lost == 0 {
		t.Errorf("%d bytes wait and %d lines are lost", size, lost)
	}
	// Whoever reads at last gets the first lines, whole and in order, and how many are not there.
	f, err := os.OpenFile(logFIFO, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	var got []byte
	for buf := make([]byte, 1<<16); !bytes.Contains(got, []byte("lost")) || !bytes.HasSuffix(got, []byte("\n")); {
		n, err := f.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, buf[:n]...)
	}
	all := strings.Split(strings.TrimSuffix(string(got), "\n"), "\n")
	whole := all[:len(all)-1]
	if !slices.IsSorted(whole) {
		t.Error("the lines are not in order")
	}
	for i, line := range whole {
		if len(line) != 1023 {
			t.Fatalf("line %d is %q", i, line)
		}
	}
	if want := fmt.Sprintf("%d lines", lines-len(whole)); len(whole) < 128 || !strings.Contains(all[len(whole)], want) {
		t.Errorf("%d lines came and %q, want that %s are lost", len(whole), all[len(whole)], want)
	}
	closeLog(t, q, time.Second)
}

func TestALogThatIsNotReadDoesNotHoldTheEndUp(t *testing.T) {
	q := logAt(t)
	for range 1024 {
		_, _ = q.Write(make([]byte, 1024))
	}
	closeLog(t, q, 50*time.Millisecond)
	if _, err := q.Write([]byte("after the end")); err != nil {
		t.Error(err)
	}
}

func TestWhatWaitsIsWrittenAtTheEnd(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sub", "log")
	f, err := openLogFile(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	q := newLogQueue(f)
	var want []byte
	for i := range 200 {
		line := fmt.Appendf(nil, "line %d\n", i)
		want = append(want, line...)
		_, _ = q.Write(line)
	}
	closeLog(t, q, 10*time.Second)
	if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, want) {
		t.Errorf("%d bytes, %v, want %d", len(got), err, len(want))
	}
	for _, p := range []string{path, filepath.Dir(path)} {
		if fi, err := os.Stat(p); err != nil || fi.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s: %v, %v", p, fi.Mode(), err)
		}
	}
}

func TestWhatIsNoLogIsRefused(t *testing.T) {
	dir := t.TempDir()
	link, fifo := filepath.Join(dir, "link"), filepath.Join(dir, "fifo")
	if err := errors.Join(os.Symlink("elsewhere", link), unix.Mkfifo(fifo, 0o600)); err != nil {
		t.Fatal(err)
	}
	if _, err := openLogFile(t.Context(), link); !errdefs.IsFailedPrecondition(err) || !strings.Contains(err.Error(), link) {
		t.Errorf("a link: %v", err)
	}
	if _, err := os.Lstat(filepath.Join(dir, "elsewhere")); !os.IsNotExist(err) {
		t.Errorf("the link was followed: %v", err)
	}
	if _, err := openLogFile(t.Context(), dir); err == nil {
		t.Error("a directory is no log")
	}
	// One that nobody reads yet is.
	f, err := openLogFile(t.Context(), fifo)
	if err != nil {
		t.Fatal(err)
	}
	_ = f.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	dir = t.TempDir()
	goOn := hungfs.On(t, dir)
	hung := filepath.Join(dir, "log")
	if _, err := openLogFile(ctx, hung); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), hung) {
		t.Errorf("one that hangs: %v", err)
	}
	goOn()
	// What goes on must not find the folder without the mount, and make the log in it.
	for stacks := make([]byte, 1<<20); bytes.Contains(stacks[:runtime.Stack(stacks, true)], []byte("openLogPath")); {
		time.Sleep(time.Millisecond)
	}
}

func TestLinesAreCut(t *testing.T) {
	format := func(fifo bool, level logrus.Level) string {
		e := logrus.NewEntry(logrus.New())
		e.Level, e.Message = level, strings.Repeat("é", 100_000)
		b, err := (&cutting{Formatter: &logrus.TextFormatter{}, fifo: fifo}).Format(e)
		if err != nil || !bytes.HasSuffix(b, []byte("…\n")) || !bytes.Equal(bytes.ToValidUTF8(b, nil), b) {
			t.Errorf("%q, %v", b, err)
		}
		return string(b)
	}
	if n := len(format(true, logrus.WarnLevel)); n > maxFIFOLine || n < maxFIFOLine-4 {
		t.Errorf("a FIFO's line has %d bytes", n)
	}
	for _, s := range []string{format(true, logrus.ErrorLevel), format(false, logrus.InfoLevel)} {
		if n := len(s); n > maxLine || n < maxLine-4 {
			t.Errorf("the line has %d bytes", n)
		}
	}
}
