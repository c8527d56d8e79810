package shim

import (
	"bytes"
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	taskapi "github.com/containerd/containerd/api/runtime/task/v2"
	"github.com/containerd/errdefs"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"

	"containerd-shim-runsc/shim/options"
	"containerd-shim-runsc/utils/journal"
	"containerd-shim-runsc/utils/oci"
)

func TestMain(m *testing.M) {
	switch {
	case os.Getenv(sandboxEnv) != "":
		beSandbox()
	case os.Getenv(mainEnv) != "":
		os.Exit(Main(os.Args, os.Stdin, os.Stdout, os.Stderr))
	default:
		goleak.VerifyTestMain(m)
	}
}

// main runs Main in a bundle and returns what it printed.
func runMain(t *testing.T, bundle string, args ...string) (status int, stdout []byte, stderr string) {
	t.Helper()
	t.Chdir(bundle)
	var out, errs bytes.Buffer
	status = Main(append([]string{"containerd-shim-runsc-v1"}, args...), strings.NewReader(""), &out, &errs)
	return status, out.Bytes(), errs.String()
}

func TestR3_Version(t *testing.T) {
	status, out, _ := runMain(t, t.TempDir(), "-v")
	if status != 0 || !bytes.Contains(out, []byte("Version:")) || !bytes.Contains(out, []byte("Go version: go")) {
		t.Errorf("status %d: %s", status, out)
	}
}

func TestUsageErrorsNameWhatIsWrong(t *testing.T) {
	for want, args := range map[string][]string{
		"frobnicate": {"-namespace", "n", "-id", "i", "frobnicate"},
		"-id":        {"-namespace", "n", "start"},
		"-namespace": {"-id", "i", "delete"},
	} {
		status, out, errs := runMain(t, t.TempDir(), args...)
		if status == 0 || len(out) > 0 || !strings.Contains(errs, want) {
			t.Errorf("%v: status %d, %q, %q", args, status, out, errs)
		}
	}
}

// fakeRunsc writes a runsc that is a shell script, and the state of a container that
// was created with it.
func fakeRunsc(t *testing.T, bundle, script string) {
	t.Helper()
	binary := filepath.Join(bundle, "runsc")
	if err := os.WriteFile(binary, []byte("#!/bin/sh\n"+script), 0o700); err != nil {
		t.Fatal(err)
	}
	s := bundleState{SandboxID: "c", Runsc: runscCall{Binary: binary, Root: filepath.Join(bundle, "root")}}
	if err := s.save(bundle); err != nil {
		t.Fatal(err)
	}
}

func reply(t *testing.T, b []byte) *taskapi.DeleteResponse {
	t.Helper()
	resp := &taskapi.DeleteResponse{}
	if err := proto.Unmarshal(b, resp); err != nil {
		t.Fatal(err)
	}
	return resp
}

func TestR2_DeleteTellsTheRecordedExit(t *testing.T) {
	record := map[string]any{
		"ID": "c", "PID": 77, "State": "stopped", "Exit": map[string]any{"Status": 42, "At": time.Unix(1000, 0)},
	}
	for name, tt := range map[string]struct {
		record any
		runsc  string
		want   uint32
	}{
		"recorded":                     {record, "exit 0", 42},
		"recorded, and runsc fails":    {record, "exit 9", 42},
		"recorded, and runsc hangs":    {record, "exec sleep 60", 42},
		"running when the shim died":   {map[string]any{"State": "running"}, "exit 0", 137},
		"no record at all":             {nil, "exit 0", 137},
		"a record that cannot be read": {"garbage", "exit 0", 137},
		"another's record": {
			map[string]any{"ID": "d", "State": "stopped", "Exit": map[string]any{"Status": 42, "At": time.Unix(1000, 0)}}, "exit 0", 137,
		},
	} {
		t.Run(name, func(t *testing.T) {
			bundle := t.TempDir()
			fakeRunsc(t, bundle, tt.runsc)
			if tt.record != nil {
				if err := journal.Append(filepath.Join(bundle, "init.jsonl"), 1<<20, tt.record); err != nil {
					t.Fatal(err)
				}
			}
			for range 2 {
				status, out, errs := runMain(t, bundle, "-namespace", "n", "-id", "c", "-bundle", bundle, "delete")
				if status != 0 || reply(t, out).ExitStatus != tt.want {
					t.Errorf("status %d, reply %v, %s", status, reply(t, out), errs)
				}
			}
		})
	}
}

func TestR2_DeleteOfNothing(t *testing.T) {
	status, out, errs := runMain(t, t.TempDir(), "-namespace", "n", "-id", "c", "delete")
	if status != 0 || errs != "" || reply(t, out).ExitStatus != 137 {
		t.Errorf("status %d, %q", status, errs)
	}
}

func TestR2_DeleteRemovesTheSocketOfADeadShim(t *testing.T) {
	bundle := t.TempDir()
	dir, err := os.MkdirTemp("", "s") // a short path for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	socket := filepath.Join(dir, "s")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	_ = l.Close()
	if err := os.WriteFile(filepath.Join(bundle, "address"), []byte("unix://"+socket), 0o600); err != nil {
		t.Fatal(err)
	}
	status, _, errs := runMain(t, bundle, "-namespace", "n", "-id", "c", "delete")
	if _, err := os.Lstat(socket); status != 0 || !os.IsNotExist(err) {
		t.Errorf("status %d, socket %v, %s", status, err, errs)
	}
}

func TestR1_Groups(t *testing.T) {
	bundle := t.TempDir()
	group := func(grouping bool) string {
		t.Helper()
		o := options.Default()
		o.Grouping = grouping
		g, err := groupOf("c", bundle, o)
		if err != nil {
			t.Fatal(err)
		}
		return g
	}
	if g := group(true); g != "c" {
		t.Errorf("a sandbox of the Sandbox API: %s", g)
	}
	spec := &specs.Spec{
		Process: &specs.Process{}, Root: &specs.Root{},
		Annotations: map[string]string{
			"io.kubernetes.cri.container-type": "container", "io.kubernetes.cri.sandbox-id": "pod",
		},
	}
	if err := oci.Save(bundle, spec); err != nil {
		t.Fatal(err)
	}
	if g := group(true); g != "pod" {
		t.Errorf("grouped: %s", g)
	}
	if g := group(false); g != "c" {
		t.Errorf("not grouped: %s", g)
	}
}

func TestAStateThatIsNone(t *testing.T) {
	dir := t.TempDir()
	if _, err := loadState(dir); !errdefs.IsNotFound(err) {
		t.Errorf("no state: %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, stateName), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := loadState(dir); !errdefs.IsInvalidArgument(err) {
		t.Errorf("half a state: %v", err)
	}
}

func TestClientsGoFirst(t *testing.T) {
	c := newClients(time.Hour, func(time.Duration) opinion { return opinion{} }, func() {})
	defer c.stop()
	c.wait(t.Context()) // nobody is there
	a, b := net.Pipe()
	defer func() { _ = b.Close() }()
	c.came()
	conn := &client{Conn: a, left: c.left}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	c.wait(ctx) // the context ends the wait
	_ = conn.Close()
	c.wait(t.Context())
}

// A shim that nobody is connected to looks whether it is needed, until that is enough.
func TestNobodyComesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var looks atomic.Int32
		c := newClients(time.Minute, func(alone time.Duration) opinion {
			looks.Add(1)
			return opinion{again: alone < 3*time.Minute}
		}, func() { t.Error("it ends") })
		want := func(n int32, after time.Duration) {
			t.Helper()
			time.Sleep(after)
			synctest.Wait()
			if looks := looks.Load(); looks != n {
				t.Errorf("%d looks, want %d", looks, n)
			}
		}
		want(0, time.Minute-1)
		want(1, 1)
		want(2, time.Minute)
		want(3, time.Hour)
		c.came()
		c.came()
		c.left()
		want(3, time.Hour) // somebody is connected
		c.left()
		want(3, time.Minute-1)
		want(4, 1)
		c.came()
		want(4, time.Hour)
		c.left()
		want(7, time.Hour)
		c.came()
		c.left()
		c.stop()
		want(7, time.Hour)
		c.came()
		c.left()
		want(7, time.Hour)
	})
}

// What is thought of it while somebody comes does not count.
func TestNobodyComesBack_DuringALook(t *testing.T) {
	for name, tt := range map[string]struct {
		comes, leaves bool
		looks, ends   int32
	}{
		"nobody comes":             {looks: 4, ends: 4},     // at 60, 130, 200, 270 s
		"somebody comes and stays": {comes: true, looks: 1}, // at 60 s
		"somebody comes and goes":  {true, true, 4, 3},      // at 60, 125, 195, 265 s
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var looks, ends atomic.Int32
				made := make(chan *clients, 1)
				c := newClients(time.Minute, func(time.Duration) opinion {
					if looks.Add(1) == 1 {
						c := <-made
						if tt.comes {
							c.came()
						}
						time.Sleep(5 * time.Second)
						if tt.leaves {
							c.left()
						}
						time.Sleep(5 * time.Second)
					} else {
						time.Sleep(10 * time.Second)
					}
					return opinion{end: true, again: true}
				}, func() { ends.Add(1) })
				made <- c
				defer c.stop()
				time.Sleep(280*time.Second + 1)
				synctest.Wait()
				if looks.Load() != tt.looks || ends.Load() != tt.ends {
					t.Errorf("%d looks, %d ends", looks.Load(), ends.Load())
				}
			})
		})
	}
}

// TestLonely: contract R6.
func TestLonely(t *testing.T) {
	bundle := t.TempDir()
	file := filepath.Join(bundle, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		bundle string
		alone  time.Duration
		want   opinion
	}{
		"a while":                {bundle, time.Minute, opinion{again: true}},
		"for long":               {bundle, time.Hour, opinion{end: true}},
		"its bundle is gone":     {bundle + "x", time.Minute, opinion{end: true, again: true}},
		"it is gone, for long":   {bundle + "x", time.Hour, opinion{end: true}},
		"it cannot be looked at": {filepath.Join(file, "x"), time.Minute, opinion{again: true}},
	} {
		l := &lonely{patience: time.Hour, bundle: tt.bundle}
		for range 2 {
			if got := l.look(tt.alone); got != tt.want {
				t.Errorf("%s: %+v", name, got)
			}
		}
	}
	// Nobody waits for one look beside another that hangs.
	l := &lonely{patience: time.Hour, bundle: bundle + "x"}
	l.looking.Store(true)
	if got := l.look(time.Minute); got != (opinion{again: true}) {
		t.Errorf("while another looks: %+v", got)
	}
}
