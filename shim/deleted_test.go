package shim

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"containerd-shim-runsc/shim/bootstrap"
	"containerd-shim-runsc/utils/journal"
)

// record makes init's record in the bundle.
func record(t *testing.T, bundle, id, state string) {
	t.Helper()
	r := map[string]any{"ID": id, "PID": 77, "State": state, "Exit": map[string]any{"Status": 42, "At": time.Unix(1000, 0)}}
	if err := journal.Append(filepath.Join(bundle, "init.jsonl"), 1<<20, r); err != nil {
		t.Fatal(err)
	}
}

// calledRunsc makes a runsc that notes that it was called, and returns what tells it.
func calledRunsc(t *testing.T, bundle string) (called func() bool) {
	t.Helper()
	note := filepath.Join(bundle, "called")
	fakeRunsc(t, bundle, "touch "+note)
	return func() bool {
		_, err := os.Stat(note)
		return err == nil
	}
}

// TestR2_DeleteAfterADelete: of what a Task.Delete has deleted, or what was never created,
// runsc has nothing. Processes of the bundle are killed all the same.
func TestR2_DeleteAfterADelete(t *testing.T) {
	for name, tt := range map[string]struct {
		leave func(t *testing.T, bundle string)
		want  uint32
		guess bool
	}{
		"deleted":               {leave: func(t *testing.T, b string) { record(t, b, "c", "stopped") }, want: 42},
		"never created":         {leave: func(*testing.T, string) {}, want: 137},
		"its state is lost":     {leave: func(t *testing.T, b string) { record(t, b, "c", "running") }, want: 137, guess: true},
		"and created":           {leave: func(t *testing.T, b string) { record(t, b, "c", "created") }, want: 137, guess: true},
		"with another's record": {leave: func(t *testing.T, b string) { record(t, b, "d", "stopped") }, want: 137, guess: true},
	} {
		t.Run(name, func(t *testing.T) {
			bundle := t.TempDir()
			called := calledRunsc(t, bundle)
			if err := os.Remove(filepath.Join(bundle, stateName)); err != nil {
				t.Fatal(err)
			}
			tt.leave(t, bundle)
			killed := startSandbox(t, bundle)
			status, out, errs := runDelete(t, bundle)
			if r := reply(t, out); status != 0 || r.ExitStatus != tt.want {
				t.Errorf("status %d, reply %v, want %d", status, r, tt.want)
			}
			if called() != tt.guess || (errs != "") != tt.guess {
				t.Errorf("runsc was called: %t, and said was %q; want %t", called(), errs, tt.guess)
			}
			select {
			case <-killed:
			case <-time.After(10 * time.Second):
				t.Error("the sandbox still runs")
			}
		})
	}
}

// slowly makes the first opening of a file take its time, as on a slow disk.
func slowly(t *testing.T, path string, takes time.Duration) {
	t.Helper()
	group, err := unix.FanotifyInit(unix.FAN_CLASS_CONTENT|unix.FAN_CLOEXEC, unix.O_RDONLY|unix.O_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.FanotifyMark(group, unix.FAN_MARK_ADD, unix.FAN_OPEN_PERM, unix.AT_FDCWD, path); err != nil {
		t.Fatal(err)
	}
	end, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		wait := time.After(takes)
		for {
			fds := []unix.PollFd{{Fd: int32(group), Events: unix.POLLIN}}
			if n, _ := unix.Poll(fds, 10); n == 1 {
				allow(t, group, wait, end)
			}
			select {
			case <-end:
				return
			default:
			}
		}
	}()
	t.Cleanup(func() {
		close(end)
		<-ended
		_ = unix.Close(group)
	})
}

// allow lets one open a file after a time.
func allow(t *testing.T, group int, after <-chan time.Time, end <-chan struct{}) {
	var event unix.FanotifyEventMetadata
	b := unsafe.Slice((*byte)(unsafe.Pointer(&event)), unsafe.Sizeof(event))
	if _, err := unix.Read(group, b); err != nil {
		t.Error(err)
		return
	}
	select {
	case <-after:
	case <-end:
	}
	answer := unix.FanotifyResponse{Fd: event.Fd, Response: unix.FAN_ALLOW}
	if _, err := unix.Write(group, unsafe.Slice((*byte)(unsafe.Pointer(&answer)), unsafe.Sizeof(answer))); err != nil {
		t.Error(err)
	}
	_ = unix.Close(int(event.Fd))
}

// TestR2_ASlowRecord: the exit is told though it takes its time to read it, and that it
// cannot be read as well.
func TestR2_ASlowRecord(t *testing.T) {
	for name, tt := range map[string]struct {
		takes time.Duration
		want  uint32
		said  string
	}{
		"slow": {600 * time.Millisecond, 42, ""},
		"hung": {time.Hour, 137, "read the exit: given up after"},
	} {
		t.Run(name, func(t *testing.T) {
			bundle := t.TempDir()
			called := calledRunsc(t, bundle)
			record(t, bundle, "c", "stopped")
			slowly(t, filepath.Join(bundle, "init.jsonl"), tt.takes)
			began := time.Now()
			status, out, errs := runDelete(t, bundle)
			if took := time.Since(began); took > 1900*time.Millisecond {
				t.Errorf("it took %s", took)
			}
			if r := reply(t, out); status != 0 || r.ExitStatus != tt.want || !strings.Contains(errs, tt.said) || (errs == "") != (tt.said == "") {
				t.Errorf("status %d, reply %v, %q; want %d and %q", status, r, errs, tt.want, tt.said)
			}
			if !called() {
				t.Error("nothing was cleaned up")
			}
		})
	}
}

// TestR2_DeleteRemovesTheSocketWithoutAnAddress: it is where a start would have made it.
func TestR2_DeleteRemovesTheSocketWithoutAnAddress(t *testing.T) {
	for name, tt := range map[string]struct {
		make func(path string) error
		said string
	}{
		"no address":       {func(string) error { return nil }, ""},
		"an empty address": {func(path string) error { return os.WriteFile(path, nil, 0o600) }, "is empty"},
	} {
		t.Run(name, func(t *testing.T) {
			bundle := t.TempDir()
			dir, err := os.MkdirTemp("", "s") // a short path for a socket
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = os.RemoveAll(dir) })
			p := bootstrap.Params{ID: "c", Namespace: "n", Address: filepath.Join(dir, "c.sock")}
			socket := bootstrap.SocketPath(p, p.ID)
			if err := os.Mkdir(filepath.Dir(socket), 0o700); err != nil {
				t.Fatal(err)
			}
			l, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket, Net: "unix"})
			if err != nil {
				t.Fatal(err)
			}
			l.SetUnlinkOnClose(false)
			if err := errors.Join(l.Close(), tt.make(filepath.Join(bundle, "address"))); err != nil {
				t.Fatal(err)
			}
			status, _, errs := runMain(t, bundle, "-namespace", p.Namespace, "-id", p.ID, "-address", p.Address, "delete")
			if _, err := os.Lstat(socket); status != 0 || !os.IsNotExist(err) || !strings.Contains(errs, tt.said) || (errs == "") != (tt.said == "") {
				t.Errorf("status %d, socket %v, %q", status, err, errs)
			}
		})
	}
}
