package harness

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os/exec"
)

// Starting is an action start that has not been told yet what it needs to know.
type Starting struct {
	// PID is the action's.
	PID int

	cmd   *exec.Cmd
	stdin io.WriteCloser
	told  []byte
	out   bytes.Buffer
	end   context.CancelFunc
}

// BeginStart runs the action start for a bundle that exists, and leaves it waiting for
// its input.
func (e *Env) BeginStart(g *Generation, id string) *Starting {
	e.t.Helper()
	if err := e.openLog(e.BundleOf(id)); err != nil {
		e.t.Fatal(err)
	}
	told, err := g.stdin(e, id, e.Options())
	if err != nil {
		e.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*Patience)
	s := &Starting{cmd: e.command(ctx, g, id, "start"), told: told, end: cancel}
	s.cmd.Stdout, s.cmd.Stderr = &s.out, &s.out
	if s.stdin, err = s.cmd.StdinPipe(); err == nil {
		err = s.cmd.Start()
	}
	if err != nil {
		cancel()
		e.t.Fatal(err)
	}
	s.PID = s.cmd.Process.Pid
	return s
}

// Tell gives the action its input. One that has ended takes none.
func (s *Starting) Tell() {
	_, _ = s.stdin.Write(s.told)
	_ = s.stdin.Close()
}

// Wait waits for the action's end and returns what it printed, with an error too.
func (s *Starting) Wait() ([]byte, error) {
	defer s.end()
	if err := s.cmd.Wait(); err != nil {
		return s.out.Bytes(), fmt.Errorf("start: %w: %s", err, s.out.Bytes())
	}
	return s.out.Bytes(), nil
}
