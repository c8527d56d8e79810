package runsc

import (
	"context"
	"encoding/json"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"containerd-shim-runsc/runsc/control"
	"containerd-shim-runsc/test/hungfs"
)

// noRunsc are runscs with which nothing can be done.
func noRunsc() map[string]string {
	return map[string]string{
		"fails":           "exit 1",
		"is killed":       "kill -KILL $$",
		"hangs":           "exec sleep 1000",
		"prints for ever": "exec cat /dev/zero",
		"logs for ever":   `while [ "$1" != --log ]; do shift; done; exec cat /dev/zero >>$2`,
		"panics":          "echo 'panic: no' >&2; exit 2",
		"cannot be run":   "",
	}
}

// processOf starts a process that is called as runsc calls those of a bundle, and is reaped.
func processOf(t *testing.T, c *Container, name, bundle string) *sandbox {
	t.Helper()
	hold := c.driver.reaper.Hold()
	defer hold.Release()
	cmd := &exec.Cmd{Path: "/proc/self/exe", Args: []string{name, "boot", "--bundle", bundle}}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s := newSandbox(cmd.Process.Pid)
	var err error
	if s.process, err = openProcess(s.pid); err != nil {
		t.Fatal(err)
	}
	exits := hold.Watch(s.pid)
	go func() { s.exit = <-exits; s.end() }()
	t.Cleanup(func() {
		_ = unix.Kill(s.pid, unix.SIGKILL)
		<-s.life.Done()
		_ = cmd.Process.Release()
	})
	// It has its name when it is executed.
	for {
		if is, _, _ := readArgs(s.pid); is == name {
			return s
		}
		time.Sleep(time.Millisecond)
	}
}

// broken returns a container whose runsc is a script, or a file that cannot be executed.
func broken(t *testing.T, script string) *Container {
	t.Helper()
	c := testContainer(t, script)
	if script == "" {
		if err := os.Remove(c.runc.Command); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.MkdirAll(c.runc.Root, 0o700); err != nil {
		t.Fatal(err)
	}
	return c
}

// leave makes files that runsc has made of the container.
func leave(t *testing.T, c *Container) []string {
	t.Helper()
	files := append(c.stateFiles(c.id), filepath.Join(c.bundle, "rootfs", ".gvisor.filestore."+c.sandboxID))
	for _, f := range files {
		if err := os.MkdirAll(filepath.Dir(f), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(f, []byte("{}"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return files
}

// deadline is what a delete has in tests; what hangs gets a part of it.
const deadline = 6 * time.Second

func TestP14_DeleteWithoutRunsc(t *testing.T) {
	for name, script := range noRunsc() {
		t.Run(name, func(t *testing.T) {
			c := broken(t, script)
			c.joined = processOf(t, c, sandboxName, c.bundle)
			gofer := processOf(t, c, goferName, c.bundle)
			other := processOf(t, c, sandboxName, c.bundle+"-1")
			files := leave(t, c)
			for range 2 { // it can be repeated
				ctx, cancel := context.WithTimeout(t.Context(), deadline)
				if err := c.Delete(ctx); err != nil {
					t.Error(err)
				}
				cancel()
			}
			if c.joined.running() {
				t.Error("the sandbox still runs")
			}
			<-gofer.life.Done()
			if !other.running() {
				t.Error("the sandbox of another bundle was killed")
			}
			for _, f := range files {
				if exists(f) {
					t.Errorf("%s is left", f)
				}
			}
		})
	}
}

// member makes of the container one in the sandbox of another, with a gofer of its own.
// The sandbox answers to calls over its control socket.
func member(t *testing.T, c *Container, answer string) (sandbox, gofer *sandbox, calls chan string) {
	t.Helper()
	c.root, c.sandboxID = false, "pod"+idEnd
	c.joined = processOf(t, c, sandboxName, filepath.Join(filepath.Dir(c.bundle), "pod"))
	path := filepath.Join(c.runc.Root, "s")
	c.joined.direct = &direct{Sandbox: control.New(path), givenUp: map[string]bool{}, told: map[string]bool{}}
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
	if err != nil {
		t.Fatal(err)
	}
	calls, done := make(chan string, 10), make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := ln.AcceptUnix()
			if err != nil {
				return
			}
			var call struct {
				Method string
				Arg    string
			}
			_ = json.NewDecoder(conn).Decode(&call)
			calls <- strings.TrimPrefix(call.Method, "containerManager.") + " " + call.Arg
			if answer == "" {
				_, _ = conn.Read(make([]byte, 1)) // until the client goes
			} else {
				_, _ = conn.Write([]byte(answer))
			}
			_ = conn.Close()
		}
	}()
	t.Cleanup(func() { c.joined.direct.Close(); _ = ln.Close(); <-done })
	return c.joined, processOf(t, c, goferName, c.bundle), calls
}

// A container in the sandbox of a pod is ended in it, and nobody else is.
func TestP14_DeleteOfAMemberWithoutRunsc(t *testing.T) {
	for name, script := range noRunsc() {
		t.Run(name, func(t *testing.T) {
			c := broken(t, script)
			sandbox, gofer, calls := member(t, c, `{"success":true,"err":"","result":{}}`)
			files := leave(t, c)
			c.started.Store(true)
			ctx, cancel := context.WithTimeout(t.Context(), deadline)
			defer cancel()
			if err := c.Delete(ctx); err != nil {
				t.Error(err)
			}
			if call := <-calls; call != "DestroySubcontainer web+" {
				t.Errorf("the sandbox was asked for %s", call)
			}
			<-gofer.life.Done()
			if !sandbox.running() {
				t.Error("the pod's sandbox was killed")
			}
			for _, f := range files {
				if exists(f) {
					t.Errorf("%s is left", f)
				}
			}
		})
	}
}

// What cannot be ended is no harm if it has ended already, and an error if it may run.
func TestP14_DeleteOfAMemberOfADeafSandbox(t *testing.T) {
	for answer, kind := range map[string]func(error) bool{
		"": errdefs.IsUnavailable, "garbage": errdefs.IsUnavailable,
		`{"success":false,"err":"unknown method"}`:               errdefs.IsUnavailable,
		`{"success":false,"err":"no"}`:                           func(err error) bool { return err != nil },
		`{"success":false,"err":"container \"web+\" not found"}`: nil,
		`{"success":true,"err":"","result":{"more":[1,2,3]}}`:    nil,
	} {
		t.Run(answer, func(t *testing.T) {
			c := broken(t, "exit 1")
			sandbox, gofer, _ := member(t, c, answer)
			del := func() error {
				ctx, cancel := context.WithTimeout(t.Context(), deadline)
				defer cancel()
				return c.Delete(ctx)
			}
			c.started.Store(true)
			if err := del(); (kind == nil) != (err == nil) || kind != nil && !kind(err) {
				t.Errorf("while it may run: %v", err)
			}
			<-gofer.life.Done()
			c.ended.Store(true)
			if err := del(); err != nil {
				t.Errorf("when it has ended: %v", err)
			}
			if !sandbox.running() {
				t.Error("the pod's sandbox was killed")
			}
		})
	}
}

// A file system that does not answer, or not any more, keeps no container from being
// deleted.
func TestP14_DeleteOnADeadFileSystem(t *testing.T) {
	for name, answers := range map[string]bool{"does not answer": false, "has gone": true} {
		t.Run(name, func(t *testing.T) {
			c := broken(t, "exit 0")
			files := leave(t, c)
			gone := hungfs.On(t, filepath.Join(c.bundle, "rootfs"))
			if answers {
				gone()
			}
			c.joined = processOf(t, c, sandboxName, c.bundle)
			ctx, cancel := context.WithTimeout(t.Context(), deadline)
			defer cancel()
			if err := c.Delete(ctx); err != nil {
				t.Error(err)
			}
			if c.joined.running() || exists(files[0]) || exists(files[1]) {
				t.Error("not all was removed that could be")
			}
		})
	}
}
