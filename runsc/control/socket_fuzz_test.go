package control

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	runc "github.com/containerd/go-runc"
	"golang.org/x/sys/unix"
)

// patience bounds what a fake sandbox does at once.
const patience = 5 * time.Second

// FuzzSandbox checks that whatever a sandbox sends, in two pieces and before it closes the
// connection, each call ends with a value or an error that says whether it can have happened,
// and that the next call is none the worse for it.
func FuzzSandbox(f *testing.F) {
	for method := range byte(9) {
		f.Add([]byte(`{"success":true,"err":"","result":256}`), uint8(7), method, false)
	}
	f.Add([]byte(`{"success":true,"result":[{"pid":1},{"pid":2147483647}]}`), uint8(30), uint8(4), true)
	f.Add([]byte(`{"success":true,"result":[{"pid":-1}]}`), uint8(0), uint8(4), false)
	f.Add([]byte(`{"success":true,"result":{"event":{"data":{"pids":{"current":3}}},"containerUsage":{"c":1}}}`), uint8(0), uint8(5), false)
	f.Add([]byte(`{"success":true,"result":17}{"success":true,"result":0}`), uint8(28), uint8(2), false)
	f.Add([]byte(`{"success":false,"err":"unknown method"}`), uint8(200), uint8(3), true)
	f.Add([]byte(`{"success":false,"err":"no such process"}`), uint8(3), uint8(3), true)
	f.Add([]byte(`[[[[[[[[[[`), uint8(3), uint8(0), true)
	f.Add([]byte{}, uint8(0), uint8(8), false)
	path := filepath.Join(f.TempDir(), "s")
	f.Fuzz(func(t *testing.T, said []byte, at, method uint8, slowly bool) {
		_ = os.Remove(path)
		s := serve(t, path, func(c *net.UnixConn) {
			_ = c.SetDeadline(time.Now().Add(patience))
			if _, _, _, _, err := c.ReadMsgUnix(make([]byte, 64<<10), make([]byte, 128)); err != nil {
				return
			}
			first := min(int(at), len(said))
			_, _ = c.Write(said[:first])
			if slowly {
				time.Sleep(time.Millisecond)
			}
			_, _ = c.Write(said[first:])
		})
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		for range 2 {
			ask(ctx, t, s, method)
		}
		if ctx.Err() != nil {
			t.Fatal("it hangs")
		}
	})
}

// ask makes a call and checks that its answer is whole, or none.
func ask(ctx context.Context, t *testing.T, s *Sandbox, method uint8) {
	t.Helper()
	check := func(err error, good, none bool) {
		t.Helper()
		var failed *Error
		switch {
		case err == nil && !good:
			t.Error("an answer that can be none")
		case err != nil && !none:
			t.Errorf("an answer, and %v", err)
		case err != nil && (!errors.As(err, &failed) || failed.Method == ""):
			t.Errorf("not a control error: %v", err)
		case err != nil && len(err.Error()) > maxAnswer:
			t.Errorf("an error of %d bytes", len(err.Error()))
		}
	}
	switch method % 9 {
	case 0:
		status, err := s.Wait(ctx, "c")
		check(err, status >= 0 && status <= 255, status == 0)
	case 1:
		status, err := s.WaitExec(ctx, "c", 2)
		check(err, status >= 0 && status <= 255, status == 0)
	case 2:
		null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = null.Close() }()
		pid, wait, err := s.Exec(ctx, Process{Argv: []string{"true"}}, null, null, null)
		check(err, pid > 0 && wait != nil, pid == 0 && wait == nil)
		if err == nil {
			status, err := wait(ctx)
			check(err, status >= 0 && status <= 255, status == 0)
		}
	case 3:
		check(s.Signal(ctx, Target{Container: "c"}, unix.SIGTERM), true, true)
	case 4:
		pids, err := s.Processes(ctx, "c")
		good := true
		for _, pid := range pids {
			good = good && pid > 0
		}
		check(err, good, pids == nil)
	case 5:
		var st runc.Stats
		usage, err := s.Stats(ctx, "c", &st)
		check(err, true, usage == nil)
	case 6:
		check(s.Pause(ctx), true, true)
	case 7:
		check(s.Resume(ctx), true, true)
	case 8:
		check(s.Destroy(ctx, "c"), true, true)
	}
}
