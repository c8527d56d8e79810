package proc

import (
	"context"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"
)

// keeper is a sandbox that keeps the output of a container that it could not start.
type keeper struct {
	*fakeRuntime
	t *testing.T
	// leave makes it let go.
	leave func()
}

func (k *keeper) Create(_ context.Context, o CreateOptions) (pid int, _ *os.File, err error) {
	pid, k.leave = holding(k.t, o.Files[1])
	return pid, nil, nil
}

func (k *keeper) Start(ctx context.Context, _ Files) error {
	_ = k.call(ctx, "start")
	return errBoom
}

// holding starts another process that has a file open, until it is told to leave or the test
// ends.
func holding(t *testing.T, f *os.File) (pid int, leave func()) {
	t.Helper()
	p, err := os.StartProcess("/bin/sleep", []string{"sleep", "1000"}, &os.ProcAttr{Files: []*os.File{f}})
	if err != nil {
		t.Fatal(err)
	}
	leave = func() {
		_ = p.Kill()
		_, _ = p.Wait()
	}
	t.Cleanup(leave)
	return p.Pid, leave
}

// reader starts a process that reads a FIFO.
func reader(t *testing.T, path string) (leave func()) {
	t.Helper()
	f, err := openRaw(path, unix.O_RDONLY|unix.O_NONBLOCK)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	_, leave = holding(t, f)
	return leave
}

// TestP6_ReaderOfAFailedStart: somebody who waits for the end of what a container has written
// that could not be started sees it, if the sandbox must end for that; and it ends for
// nothing else.
func TestP6_ReaderOfAFailedStart(t *testing.T) {
	const long = time.Hour
	for name, tt := range map[string]struct {
		do func(t *testing.T, path string, k *keeper)
		// after says when the sandbox is killed, 0 for never.
		after time.Duration
	}{
		"reads on": {func(t *testing.T, path string, _ *keeper) { reader(t, path) }, strandedTime},
		"leaves": {func(t *testing.T, path string, _ *keeper) {
			leave := reader(t, path)
			time.Sleep(strandedTime / 2)
			leave()
		}, 0},
		"comes and goes": {func(t *testing.T, path string, _ *keeper) {
			for range 5 {
				leave := reader(t, path)
				time.Sleep(strandedTime / 2)
				leave()
				time.Sleep(2 * lastLook)
			}
		}, 0},
		"comes late": {func(t *testing.T, path string, _ *keeper) {
			time.Sleep(long)
			reader(t, path)
		}, long + strandedTime},
		"sees the end in time": {func(t *testing.T, path string, k *keeper) {
			reader(t, path)
			time.Sleep(strandedTime / 2)
			k.leave()
		}, 0},
		"is nobody": {func(*testing.T, string, *keeper) {}, 0},
		"has removed it": {func(t *testing.T, path string, _ *keeper) {
			reader(t, path)
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
		}, strandedTime},
		"waits for somebody else": {func(t *testing.T, path string, k *keeper) {
			w, err := openRaw(path, unix.O_RDWR|unix.O_NONBLOCK)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = w.Close() }()
			holding(t, w)
			k.leave()
		}, 0},
		"is another container of the shim": {func(t *testing.T, path string, _ *keeper) {
			f, err := openRaw(path, unix.O_RDONLY|unix.O_NONBLOCK)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = f.Close() })
		}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			path := fifo(t)
			synctest.Test(t, func(t *testing.T) {
				var k *keeper
				c, f, _ := newTask(t, func(cfg *Config) {
					k = &keeper{fakeRuntime: cfg.Runtime.(*fakeRuntime), t: t}
					cfg.Root, cfg.Runtime, cfg.Stdio.Stdout = false, k, path
				})
				if _, err := c.Start(t.Context(), ""); err == nil {
					t.Fatal("the start succeeds")
				}
				synctest.Wait() // the watch has begun
				began := time.Now()
				tt.do(t, path, k)
				select {
				case <-f.SandboxLife().Done():
				case <-time.After(2 * long):
				}
				took := time.Since(began)
				if killed := f.called("killsandbox") > 0; killed != (tt.after != 0) {
					t.Errorf("killed: %t", killed)
				}
				// It is looked for a reader no more often.
				if tt.after != 0 && (took < tt.after || took > tt.after+4*lastLook) {
					t.Errorf("the sandbox was killed after %s, want %s", took, tt.after)
				}
			})
		})
	}
}
