package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	runc "github.com/containerd/go-runc"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// serve is a sandbox that hands each connection to handle, and closes it then.
func serve(t *testing.T, path string, handle func(*net.UnixConn)) *Sandbox {
	t.Helper()
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := ln.AcceptUnix()
			if err != nil {
				return
			}
			handle(c)
			_ = c.Close()
		}
	}()
	s := New(path)
	t.Cleanup(func() { s.Close(); _ = ln.Close(); <-done })
	return s
}

// answering is a sandbox that reads one call of each connection and answers with text.
func answering(t *testing.T, text string) *Sandbox {
	t.Helper()
	return serve(t, filepath.Join(t.TempDir(), "s"), func(c *net.UnixConn) {
		_ = json.NewDecoder(c).Decode(&json.RawMessage{})
		_, _ = io.WriteString(c, text)
	})
}

func outcome(t *testing.T, err error) Outcome {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) {
		t.Fatalf("not a control error: %v", err)
	}
	return e.Outcome
}

func TestOutcomes(t *testing.T) {
	for text, want := range map[string]Outcome{
		"":                               Lost,
		`{"success":true,"resu`:          Lost,
		"garbage":                        Unreadable,
		"{}":                             Unreadable,
		`{"success":"yes"}`:              Unreadable,
		`{"success":true}`:               Unreadable,
		`{"success":true,"result":null}`: Unreadable,
		`{"success":true,"result":"x"}`:  Unreadable,
		`{"success":true,"result":-1}`:   Unreadable,
		`{"success":true,"result":127}`:  Unreadable, // stopped, not ended: see wait(2)
		`{"success":false}`:              Unreadable,
		`{"success":false,"err":"unknown method"}`:                              Unknown,
		`{"success":false,"err":"json: cannot unmarshal string into Go value"}`: Unknown,
		`{"success":false,"err":"container \"c\" not found"}`:                   Refused,
		`{"success":true,"result":[` + strings.Repeat("1,", maxAnswer/2):        Unreadable,
	} {
		status, err := answering(t, text).Wait(t.Context(), "c")
		if err == nil {
			t.Errorf("%.60q: status %d", text, status)
			continue
		}
		if got := outcome(t, err); got != want {
			t.Errorf("%.60q: outcome %d, want %d: %.200v", text, got, want, err)
		}
		if len(err.Error()) > maxPath+clipped*10 {
			t.Errorf("%.60q: an error of %d bytes", text, len(err.Error()))
		}
	}
}

func TestUnreached(t *testing.T) {
	_, err := New(filepath.Join(t.TempDir(), "none")).Wait(t.Context(), "c")
	if outcome(t, err) != Unreached || !errors.Is(err, unix.ENOENT) {
		t.Errorf("no socket: %v", err)
	}
}

func TestGivenUp(t *testing.T) {
	asked := make(chan struct{})
	s := serve(t, filepath.Join(t.TempDir(), "s"), func(c *net.UnixConn) {
		_ = json.NewDecoder(c).Decode(&json.RawMessage{})
		close(asked)
		_, _ = c.Read(make([]byte, 1)) // until the client goes
	})
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-asked; cancel() }()
	_, err := s.Wait(ctx, "c")
	if outcome(t, err) != Lost || !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

func TestStatuses(t *testing.T) {
	for text, want := range map[string]int{
		"0":     0,
		"1792":  7,
		"65280": 255,
		"9":     137,
		"139":   128 + 11, // with a core dump
	} {
		status, err := answering(t, `{"success":true,"err":"","result":`+text+`}`).Wait(t.Context(), "c")
		if err != nil || status != want {
			t.Errorf("%s: %d, %v", text, status, err)
		}
	}
}

// TestExec shows what the sandbox gets: the call, the files, and then the wait on the
// same connection. The path is longer than a socket's address.
func TestExec(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "s")
	type call struct {
		Method string
		Arg    map[string]any
	}
	calls := make(chan call, 2)
	given := make(chan []byte, 1)
	serve(t, path, func(c *net.UnixConn) {
		b, oob := make([]byte, 4096), make([]byte, 128)
		n, oobn, _, _, err := c.ReadMsgUnix(b, oob)
		if err != nil {
			return
		}
		var first call
		_ = json.Unmarshal(b[:n], &first)
		calls <- first
		msgs, _ := unix.ParseSocketControlMessage(oob[:oobn])
		fds, _ := unix.ParseUnixRights(&msgs[0])
		for _, fd := range fds {
			f := os.NewFile(uintptr(fd), "given")
			_, _ = f.WriteString("x")
			_ = f.Close()
		}
		_, _ = io.WriteString(c, `{"success":true,"err":"","result":17}`)
		var second call
		_ = json.NewDecoder(c).Decode(&second)
		calls <- second
		_, _ = io.WriteString(c, `{"success":true,"err":"","result":256}`)
	})
	long := dir + strings.Repeat("/.", maxPath/2) + "/s"
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		b, _ := io.ReadAll(r)
		given <- b
	}()
	deep := New(long)
	defer deep.Close()
	p := Process{Argv: []string{"true"}, KUID: 5, GuestFDs: []int{0, 1, 2}, ContainerID: "c+"}
	pid, wait, err := deep.Exec(t.Context(), p, w, w, w)
	if err != nil || pid != 17 {
		t.Fatalf("%d, %v", pid, err)
	}
	_ = w.Close()
	if status, err := wait(t.Context()); err != nil || status != 1 {
		t.Errorf("%d, %v", status, err)
	}
	first, second := <-calls, <-calls
	if first.Method != MethodExec || first.Arg["KUID"] != 5.0 || first.Arg["ContainerID"] != "c+" {
		t.Errorf("%+v", first)
	}
	if second.Method != MethodWaitPID || second.Arg["PID"] != 17.0 || second.Arg["CID"] != "c+" {
		t.Errorf("%+v", second)
	}
	if b := <-given; !bytes.Equal(b, []byte("xxx")) {
		t.Errorf("through the files came %q", b)
	}
	_ = r.Close()
}

// TestExecInDoubt: a sandbox that acts and goes before it answers may have acted.
func TestExecInDoubt(t *testing.T) {
	s := serve(t, filepath.Join(t.TempDir(), "s"), func(c *net.UnixConn) {
		_, _, _, _, _ = c.ReadMsgUnix(make([]byte, 4096), make([]byte, 128))
	})
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = null.Close() }()
	for range 100 {
		_, _, err := s.Exec(t.Context(), Process{}, null, null, null)
		if outcome(t, err) != Lost {
			t.Fatal(err)
		}
	}
}

func TestProcessesOfNone(t *testing.T) {
	pids, err := answering(t, `{"success":true,"err":"","result":null}`).Processes(t.Context(), "c")
	if err != nil || len(pids) != 0 {
		t.Errorf("%v, %v", pids, err)
	}
}

func TestStats(t *testing.T) {
	var st runc.Stats
	usage, err := answering(t, `{"success":true,"err":"","result":{"event":{"type":"stats","id":"c",
"data":{"memory":{"usage":{"usage":4096}},"pids":{"current":3}}},"containerUsage":{"c":5,"d":7}}}`).Stats(t.Context(), "c", &st)
	if err != nil || usage["d"] != 7 || st.Memory.Usage.Usage != 4096 || st.Pids.Current != 3 {
		t.Errorf("%v, %+v, %v", usage, st, err)
	}
	for _, text := range []string{`{}`, `{"event":{}}`, `{"event":{"data":null}}`, `{"event":{"data":5}}`, `null`} {
		_, err := answering(t, `{"success":true,"result":`+text+`}`).Stats(t.Context(), "c", &st)
		if err == nil || outcome(t, err) != Unreadable {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func FuzzAnswer(f *testing.F) {
	f.Add([]byte(`{"success":true,"err":"","result":256}`))
	f.Add([]byte(`{"success":false,"err":"unknown method","result":null}`))
	f.Add([]byte(`{"success":true,"result":[{"pid":1,"uid":0}]}`))
	f.Add([]byte(`{"success":true,"result":{"event":{"data":{}},"containerUsage":{"c":1}}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		var status waitStatus
		if _, err := receive(bytes.NewReader(b), maxAnswer, &status); err == nil {
			if n := status.code(); n < 0 || n > 255 {
				t.Errorf("%q is status %d", b, n)
			}
		}
		var list []struct {
			PID int32 `json:"pid"`
		}
		_, _ = receive(bytes.NewReader(b), maxProcesses, &list)
		_, _ = receive(bytes.NewReader(b), maxAnswer, nil)
	})
}
