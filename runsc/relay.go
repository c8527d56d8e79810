package runsc

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/containerd/errdefs"
	"github.com/containerd/log"
	"golang.org/x/sys/unix"

	"containerd-shim-runsc/runsc/control"
	"containerd-shim-runsc/utils/safe"
	"containerd-shim-runsc/utils/selfexe"
)

// nobody is the user of what the shim starts for itself in a sandbox.
const nobody = 65534

// ExecSelf starts this process's program in the running container, with an argument, as
// nobody and without capabilities. stdin is its standard input, and all it has. Where it can
// never be had, as there is no control socket, runsc does not know the method or the kernel
// cannot keep the program from being written, that is NotImplemented. After another failure
// it may work the next time; how the sandbox refuses it does not tell.
func (c *Container) ExecSelf(ctx context.Context, argument string, stdin *os.File) error {
	s := c.sandbox()
	if s == nil || !s.direct.tries(control.MethodExec) {
		return fmt.Errorf("exec in %s: it has no control socket: %w", c.name, errdefs.ErrNotImplemented)
	}
	// What is in a sandbox must not be able to write it.
	program, err := selfexe.Open()
	if err != nil {
		return fmt.Errorf("exec in %s: %w", c.name, err)
	}
	defer func() { _ = program.Close() }()
	_, wait, err := s.direct.Exec(ctx, control.Process{
		Argv:             []string{"shim", argument},
		WorkingDirectory: "/",
		KUID:             nobody,
		KGID:             nobody,
		NoNewPrivileges:  true,
		GuestFDs:         []int{0},
		ContainerID:      c.id,
	}, stdin, program)
	var failed *control.Error
	if errors.As(err, &failed) && isLasting(failed) {
		return fmt.Errorf("exec in %s: %w: %w", c.name, err, errdefs.ErrNotImplemented)
	}
	if err != nil {
		return fmt.Errorf("exec in %s: %w", c.name, err)
	}
	// It ends with the sandbox at the latest.
	safe.Go("wait for what the shim has run in "+c.name, func() {
		if status, err := wait(s.life); status != 0 || err != nil && s.running() {
			log.G(ctx).WithError(err).Debugf("what the shim has run in %s ended with %d", c.name, status)
		}
	})
	return nil
}

// isLasting reports whether a call that has failed would always fail.
func isLasting(failed *control.Error) bool {
	return failed.Outcome == control.Unknown ||
		failed.Outcome == control.Unreached && errors.Is(failed.Err, unix.ENOENT)
}
