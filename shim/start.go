package shim

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"

	"github.com/containerd/errdefs"

	"containerd-shim-runsc/shim/bootstrap"
	"containerd-shim-runsc/shim/options"
	"containerd-shim-runsc/utils/oci"
)

// The serving process gets these from the start that made it, as they come from
// the runtime options, which only the start is given.
const (
	envLogPath  = "RUNSC_SHIM_LOG_PATH"
	envLogLevel = "RUNSC_SHIM_LOG_LEVEL"
)

// listenerFD is the descriptor on which the serving process finds its socket.
const listenerFD = 3

// start makes sure that a shim serves the sandbox of the bundle, and prints its address.
func start(ctx context.Context, p bootstrap.Params, stdin io.Reader, stdout io.Writer) error {
	if err := p.ReadStdin(stdin); err != nil {
		return err
	}
	opts, err := options.FromAny(optionsAny(p))
	if err != nil {
		return err
	}
	group, err := groupOf(p.ID, p.Bundle, opts)
	if err != nil {
		return err
	}
	socket := bootstrap.SocketPath(p, group)
	listener, joined, err := bootstrap.Listen(socket)
	if err != nil {
		return err
	}
	if !joined {
		defer func() { _ = listener.Close() }()
		if err := spawn(ctx, p, opts, socket, listener); err != nil {
			return errors.Join(err, bootstrap.Remove(socket))
		}
	}
	address := bootstrap.Address(socket)
	// A containerd that starts anew finds the shim by this file.
	if err := bootstrap.WriteAddress(p.Bundle, address); err != nil {
		return err
	}
	reply, err := p.Reply.Encode(p.TaskVersion, address)
	if err != nil {
		return err
	}
	_, err = stdout.Write(reply)
	return err
}

// groupOf returns the id of the sandbox whose shim serves the container: its own
// where containers are not grouped, or where the bundle has no spec because it
// is that of a sandbox of the Sandbox API.
func groupOf(id, bundle string, opts options.Options) (string, error) {
	spec, err := oci.Load(bundle)
	if errdefs.IsNotFound(err) || err == nil && !opts.Grouping {
		return id, nil
	}
	if err != nil {
		return "", err
	}
	place, err := oci.PlaceOf(id, spec)
	return place.SandboxID, err
}

// spawn starts the serving process. It is ready at once: who connects waits in the
// socket until it accepts.
func spawn(ctx context.Context, p bootstrap.Params, opts options.Options, socket string, listener *os.File) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	args := []string{"-namespace", p.Namespace, "-id", p.ID, "-address", p.Address, "-socket", socket}
	if p.Debug {
		args = append(args, "-debug")
	}
	// It outlives this process, so it is not bound to ctx.
	cmd := exec.CommandContext(context.WithoutCancel(ctx), self, args...)
	cmd.Env = append(os.Environ(), "TTRPC_ADDRESS="+p.TTRPCAddress)
	if opts.LogPath != "" {
		cmd.Env = append(cmd.Env, envLogPath+"="+opts.LogFile(p.ID))
	}
	if opts.LogLevel != "" {
		cmd.Env = append(cmd.Env, envLogLevel+"="+opts.LogLevel)
	}
	cmd.ExtraFiles = []*os.File{listener}
	// A signal to containerd's process group is not for the shim.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start the serving shim: %w", err)
	}
	if opts.ShimCgroup != "" {
		if err := joinCgroup(cmd.Process.Pid, opts.ShimCgroup); err != nil {
			return errors.Join(err, cmd.Process.Kill(), cmd.Wait())
		}
	}
	return cmd.Process.Release()
}
