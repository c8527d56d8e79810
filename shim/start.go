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
	"containerd-shim-runsc/utils/cgroup"
	"containerd-shim-runsc/utils/oci"
)

// envLogLevel tells the serving process the level that the runtime options ask for,
// as only the start is given them.
const envLogLevel = "RUNSC_SHIM_LOG_LEVEL"

// The serving process finds what the start has opened for it at these descriptors:
// its socket, and its log.
const (
	listenerFD = 3
	logFD      = 4
)

// start makes sure that a shim serves the sandbox of the bundle, and prints its address.
func start(ctx context.Context, p bootstrap.Params, stdin io.Reader, stdout io.Writer) error {
	if err := p.ReadStdin(stdin); err != nil {
		return err
	}
	opts, err := options.FromAny(optionsAny(p))
	if err != nil {
		// The create that follows is given the same options and refuses them
		// with InvalidArgument, which a failed start cannot say.
		opts = options.Default()
	}
	group, err := groupOf(p.ID, p.Bundle, opts)
	if err != nil {
		return err
	}
	socket := bootstrap.SocketPath(p, group)
	address := bootstrap.Address(socket)
	// A containerd that starts anew finds the shim by this file.
	if err := bootstrap.WriteAddress(p.Bundle, address); err != nil {
		return err
	}
	reply, err := p.Reply.Encode(p.TaskVersion, address)
	if err != nil {
		return err
	}
	listener, joined, err := bootstrap.Listen(ctx, socket)
	if err != nil {
		return err
	}
	if !joined {
		defer func() { _ = listener.Close() }()
		if err := spawn(ctx, p, opts, group, listener); err != nil {
			return errors.Join(err, bootstrap.Remove(ctx, socket))
		}
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

// spawn starts the process that serves the group. It is ready at once: who connects
// waits in the socket until it accepts.
func spawn(ctx context.Context, p bootstrap.Params, opts options.Options, group string, listener *os.File) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	logFile, err := openLogFile(ctx, opts.LogFile(group))
	if err != nil {
		return err
	}
	defer func() { _ = logFile.Close() }()
	args := []string{"-namespace", p.Namespace, "-id", p.ID, "-address", p.Address, "-socket", listener.Name()}
	if p.Debug {
		args = append(args, "-debug")
	}
	// It outlives this process, so it is not bound to ctx.
	cmd := exec.CommandContext(context.WithoutCancel(ctx), self, args...)
	cmd.Env = append(os.Environ(), "TTRPC_ADDRESS="+p.TTRPCAddress)
	if opts.LogLevel != "" {
		cmd.Env = append(cmd.Env, envLogLevel+"="+opts.LogLevel)
	}
	cmd.ExtraFiles = []*os.File{listenerFD - 3: listener, logFD - 3: logFile}
	// A signal to containerd's process group is not for the shim.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start the serving shim: %w", err)
	}
	if opts.ShimCgroup != "" {
		if err := cgroup.Join(opts.ShimCgroup, cmd.Process.Pid); err != nil {
			err = fmt.Errorf("shim_cgroup: %w", err)
			return errors.Join(err, cmd.Process.Kill(), cmd.Wait())
		}
	}
	return cmd.Process.Release()
}
