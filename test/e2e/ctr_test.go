package e2e

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/containerd/console"
)

// ctrResult is how a ctr command ended.
type ctrResult struct {
	stdout, stderr string
	status         int
}

// ctrCommand is a ctr command at the private containerd.
func ctrCommand(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	// Also a clean-up runs ctr, when the test's own context has ended.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), patience)
	t.Cleanup(cancel)
	return exec.CommandContext(ctx, filepath.Join(suite.bin, "ctr"),
		append([]string{"--address", suite.address(), "--namespace", suite.ns}, args...)...)
}

// ctrRun are the arguments of `ctr run` up to the flags of the test.
func ctrRun(args ...string) []string {
	return append([]string{"run", "--runtime", runtimeName, "--runtime-config-path", suite.shimConfig(),
		"--fifo-dir", suite.fifos()}, args...)
}

// ctrID returns an id for a container that ctr makes. Whatever ctr has left of it at
// the end of the test is removed.
func ctrID(t *testing.T) string {
	id := idOf(t)
	cleanup(t, func(ctx context.Context) {
		if c, err := suite.client.LoadContainer(ctx, id); err == nil {
			removeContainer(ctx, t, c)
		}
	})
	return id
}

// ctr runs a ctr command.
func ctr(t *testing.T, args ...string) ctrResult {
	t.Helper()
	return ctrInput(t, "", args...)
}

// ctrInput runs a ctr command that reads input.
func ctrInput(t *testing.T, input string, args ...string) ctrResult {
	t.Helper()
	var stdout, stderr bytes.Buffer
	cmd := ctrCommand(t, args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewBufferString(input), &stdout, &stderr
	status := exitStatus(t, cmd.Run())
	return ctrResult{stdout: stdout.String(), stderr: stderr.String(), status: status}
}

// ctrMust runs a ctr command that must succeed, and returns its output.
func ctrMust(t *testing.T, args ...string) string {
	t.Helper()
	r := ctr(t, args...)
	if r.status != 0 {
		t.Fatalf("ctr %v: status %d: %s", args, r.status, r.stderr)
	}
	return r.stdout
}

func exitStatus(t *testing.T, err error) int {
	t.Helper()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	if exit != nil {
		return exit.ExitCode()
	}
	return 0
}

// terminalCtr is a ctr command at a terminal.
type terminalCtr struct {
	t      *testing.T
	cmd    *exec.Cmd
	master console.Console
	out    *output
	done   chan error
}

// ctrTerminal starts a ctr command at a terminal of its own, of the given size.
func ctrTerminal(t *testing.T, size console.WinSize, args ...string) *terminalCtr {
	t.Helper()
	master, path, err := console.NewPty()
	check(t, err)
	check(t, master.Resize(size))
	slave, err := os.OpenFile(path, os.O_RDWR|syscall.O_NOCTTY, 0)
	check(t, err)
	defer slave.Close()
	cmd := ctrCommand(t, args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
	// The terminal's window changes are told to the session that it controls.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	check(t, cmd.Start())
	c := &terminalCtr{t: t, cmd: cmd, master: master, out: &output{}, done: make(chan error, 1)}
	copied := make(chan struct{})
	go func() {
		defer close(copied)
		buf := make([]byte, 4096)
		for {
			n, err := master.Read(buf)
			_, _ = c.out.Write(buf[:n])
			if err != nil {
				return // EIO: nobody has the terminal open any more
			}
		}
	}()
	go func() {
		err := cmd.Wait()
		<-copied
		c.done <- err
	}()
	t.Cleanup(func() { _ = master.Close() })
	return c
}

// types writes to the terminal.
func (c *terminalCtr) types(text string) {
	c.t.Helper()
	_, err := c.master.Write([]byte(text))
	check(c.t, err)
}

// status waits for the end of the command and returns its exit status.
func (c *terminalCtr) status() int {
	c.t.Helper()
	return exitStatus(c.t, <-c.done)
}
