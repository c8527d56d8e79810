package proc

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/containerd/console"
	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
)

func fifo(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "fifo")
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// open opens streams and closes them at the end of the test.
func open(t *testing.T, stdio Stdio) *streams {
	t.Helper()
	s, err := opener{id: "c", namespace: "ns"}.open(t.Context(), stdio)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.abandon)
	return s
}

func TestP15_OutputWithoutAReaderStaysUntilItIsRead(t *testing.T) {
	path := fifo(t)
	s := open(t, Stdio{Stdout: path})
	if _, err := s.ends()[1].WriteString("said before the end"); err != nil {
		t.Fatal(err)
	}
	s.started(nil, nil)
	s.ended()
	done := make(chan struct{})
	go func() { defer close(done); s.close(context.Background()) }()
	b, err := os.ReadFile(path)
	if err != nil || string(b) != "said before the end" {
		t.Errorf("%q, %v", b, err)
	}
	<-done
}

func TestR5_AReaderHasTimeToCome(t *testing.T) {
	path := fifo(t)
	s := open(t, Stdio{Stdout: path})
	if _, err := s.ends()[1].WriteString("last"); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
	defer cancel()
	s.started(nil, nil)
	s.ended()
	s.awaitReader(ctx)
	if took := time.Since(began); took < readerTime {
		t.Errorf("it had %s", took)
	}
	if b, err := os.ReadFile(path); err != nil || string(b) != "last" {
		t.Errorf("%q, %v", b, err)
	}
	<-s.outputs[0].(*fifoOutput).empty
	s.awaitReader(ctx)
}

func TestP14_OutputThatNobodyReadsDoesNotHoldUpForEver(t *testing.T) {
	s := open(t, Stdio{Stdout: fifo(t)})
	if _, err := s.ends()[1].WriteString("unread"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	s.close(ctx)
}

func TestAVanishedReaderIsNoSIGPIPE(t *testing.T) {
	path := fifo(t)
	s := open(t, Stdio{Stdout: path})
	r, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	_ = r.Close()
	if _, err := s.ends()[1].WriteString("x"); err != nil {
		t.Errorf("write: %v", err)
	}
}

func TestP11_OnlyCloseStdinIsTheEndOfInput(t *testing.T) {
	path := fifo(t)
	s := open(t, Stdio{Stdin: path})
	client := func(text string) {
		w, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.WriteString(text); err != nil {
			t.Fatal(err)
		}
		_ = w.Close()
	}
	client("one ")
	client("two")
	b := make([]byte, 7)
	if _, err := io.ReadFull(s.ends()[0], b); err != nil || string(b) != "one two" {
		t.Errorf("%q, %v", b, err)
	}
	s.closeStdin()
	s.closeStdin()
	if n, err := s.ends()[0].Read(b); n != 0 || !errors.Is(err, io.EOF) {
		t.Errorf("%d bytes, %v, want the end", n, err)
	}
}

func TestStreamsThatCannotBe(t *testing.T) {
	regular := filepath.Join(t.TempDir(), "file")
	write(t, regular, "")
	for name, tt := range map[string]struct {
		stdio Stdio
		want  func(error) bool
	}{
		"unknown scheme":   {Stdio{Stdout: "http://x"}, errdefs.IsInvalidArgument},
		"no FIFO":          {Stdio{Stderr: regular}, errdefs.IsInvalidArgument},
		"missing FIFO":     {Stdio{Stdout: regular + "-missing"}, errdefs.IsNotFound},
		"file as stdin":    {Stdio{Stdin: "file://" + regular}, errdefs.IsInvalidArgument},
		"relative logger":  {Stdio{Stdout: "binary:logger"}, errdefs.IsInvalidArgument},
		"not a URI at all": {Stdio{Stdout: "%zz://\x01"}, errdefs.IsInvalidArgument},
		"FIFO as a file":   {Stdio{Stdout: "file://" + fifo(t)}, errdefs.IsInvalidArgument},
		"relative file":    {Stdio{Stdout: "file:log"}, errdefs.IsInvalidArgument},
	} {
		s, err := opener{}.open(t.Context(), tt.stdio)
		if !tt.want(err) {
			t.Errorf("%s: %v", name, err)
		}
		if err == nil {
			s.abandon()
		}
	}
}

func TestAFileIsAppendedTo(t *testing.T) {
	path := filepath.Join(t.TempDir(), "dir", "log")
	for _, text := range []string{"a", "b"} {
		s := open(t, Stdio{Stdout: "file://" + path})
		if _, err := s.ends()[1].WriteString(text); err != nil {
			t.Fatal(err)
		}
	}
	if b, err := os.ReadFile(path); err != nil || string(b) != "ab" {
		t.Errorf("%q, %v", b, err)
	}
	// What a container says is for root.
	for path, want := range map[string]os.FileMode{path: 0o600, filepath.Dir(path): 0o700 | os.ModeDir} {
		if fi, err := os.Stat(path); err != nil || fi.Mode() != want {
			t.Errorf("%s: %v, %v", path, fi.Mode(), err)
		}
	}
}

// A device is no file to make, but to append to.
func TestADeviceIsAppendedTo(t *testing.T) {
	s := open(t, Stdio{Stdout: "file://" + os.DevNull})
	if _, err := s.ends()[1].WriteString("text"); err != nil {
		t.Error(err)
	}
}

// program writes a shell script and returns the URI of it as a logger.
func program(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "logger")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text), 0o700); err != nil {
		t.Fatal(err)
	}
	return "binary://" + path
}

func TestLoggers(t *testing.T) {
	t.Run("gets output, arguments and names", func(t *testing.T) {
		out := filepath.Join(t.TempDir(), "out")
		uri := program(t, `exec 5>&-; { echo "$CONTAINER_ID $CONTAINER_NAMESPACE $1=$2"; cat <&3; } >`+out)
		s := open(t, Stdio{Stdout: uri + "?key=value"})
		if _, err := s.ends()[1].WriteString("text"); err != nil {
			t.Fatal(err)
		}
		s.started(nil, nil)
		s.close(t.Context())
		if b, err := os.ReadFile(out); err != nil || string(b) != "c ns key=value\ntext" {
			t.Errorf("%q, %v", b, err)
		}
	})
	t.Run("one that ends at once", func(t *testing.T) {
		uri := program(t, "exit 3")
		for range 10 {
			begun := time.Now()
			s, err := opener{}.open(t.Context(), Stdio{Stdout: uri})
			if err != nil {
				if !errdefs.IsFailedPrecondition(err) || !strings.Contains(err.Error(), "status 3") {
					t.Errorf("%v", err)
				}
				return
			}
			// On a machine that is busy its end may be seen late, but it is waited for.
			if took := time.Since(begun); took < loggerDies {
				t.Errorf("it was taken for ready after %s", took)
			}
			s.abandon()
		}
		t.Error("nobody was told that it has ended")
	})
}

// TestALoggerThatIsNotReady is given up, and ended, when its time is over or its caller has
// gone.
func TestALoggerThatIsNotReady(t *testing.T) {
	t.Parallel()
	for name, leaves := range map[string]bool{"its time is over": false, "its caller has gone": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			told := fifo(t)
			uri := program(t, "echo $$ >"+told+"; exec sleep 3600")
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			begun := time.Now()
			opened := make(chan error, 1)
			go func() {
				s, err := opener{}.openAll(ctx, Stdio{Stdout: uri, Stderr: uri})
				if err == nil {
					s.abandon()
				}
				opened <- err
			}()
			b, err := os.ReadFile(told)
			if err != nil {
				t.Fatal(err)
			}
			pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
			if err != nil {
				t.Fatal(err)
			}
			if leaves {
				cancel()
			}
			if err := <-opened; !errdefs.IsUnavailable(err) || !strings.Contains(err.Error(), "was not ready") {
				t.Errorf("%v", err)
			}
			if took := time.Since(begun); leaves != (took < loggerReady) || took > loggerReady+5*time.Second {
				t.Errorf("it took %s", took)
			}
			if err := unix.Kill(pid, 0); !errors.Is(err, unix.ESRCH) {
				t.Errorf("it still runs: %v", err)
			}
		})
	}
}

// terminalPair makes a terminal and returns its master, as the runtime would, and
// the other end.
func terminalPair(t *testing.T) (master, slave *os.File) {
	t.Helper()
	c, path, err := console.NewPty()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	slave, err = os.OpenFile(path, os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	fd, err := unix.FcntlInt(c.Fd(), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		t.Fatal(err)
	}
	return os.NewFile(uintptr(fd), "master"), slave
}

func TestP15_ATerminalsOutputIsCopiedThoughSomebodyHoldsItOpen(t *testing.T) {
	path := fifo(t)
	s := open(t, Stdio{Stdout: path, Terminal: true})
	master, slave := terminalPair(t)
	defer func() { _ = slave.Close() }()
	s.started(master, nil)
	text := strings.Repeat("x", 3000)
	if _, err := slave.WriteString(text); err != nil {
		t.Fatal(err)
	}
	s.ended()
	b, err := os.ReadFile(path)
	if err != nil || string(b) != text {
		t.Errorf("%d bytes, %v", len(b), err)
	}
	s.close(t.Context())
}

func TestP10_ResizeIsSeenByTheOtherEnd(t *testing.T) {
	s := open(t, Stdio{Terminal: true})
	master, slave := terminalPair(t)
	defer func() { _ = slave.Close() }()
	s.started(master, nil)
	if err := s.resize(132, 43); err != nil {
		t.Fatal(err)
	}
	ws, err := unix.IoctlGetWinsize(int(slave.Fd()), unix.TIOCGWINSZ)
	if err != nil || ws.Col != 132 || ws.Row != 43 {
		t.Errorf("%+v, %v", ws, err)
	}
}

func TestP14_ATerminalWhoseReaderIsStuckIsClosedInTime(t *testing.T) {
	path := fifo(t)
	s := open(t, Stdio{Stdout: path, Terminal: true})
	// Somebody opens the FIFO and does not read.
	r, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.Close() }()
	master, slave := terminalPair(t)
	defer func() { _ = slave.Close() }()
	s.started(master, nil)
	_ = slave.SetWriteDeadline(time.Now())
	go func() {
		defer func() { _ = slave.Close() }()
		b := make([]byte, 4096)
		for range 64 { // more than the FIFO and the terminal hold
			if _, err := slave.Write(b); err != nil {
				return
			}
		}
	}()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	s.close(ctx)
}

// TestP14_ATerminalThatIsWrittenForEver: what a background process goes on writing is not
// waited for.
func TestP14_ATerminalThatIsWrittenForEver(t *testing.T) {
	pty, path, err := console.NewPty()
	if err != nil {
		t.Fatal(err)
	}
	fd, err := unix.FcntlInt(pty.Fd(), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		t.Fatal(err)
	}
	_ = pty.Close()
	if err := unix.SetNonblock(fd, true); err != nil {
		t.Fatal(err)
	}
	slave, err := os.OpenFile(path, os.O_WRONLY|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	written := make(chan struct{})
	go func() {
		defer close(written)
		for {
			if _, err := slave.WriteString(strings.Repeat("on and on ", 400)); err != nil {
				return
			}
		}
	}()
	s := open(t, Stdio{Terminal: true})
	s.started(os.NewFile(uintptr(fd), "terminal"), nil)
	s.close(t.Context())
	_ = slave.Close()
	<-written
}
