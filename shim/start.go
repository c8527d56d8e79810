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
// its socket, its log, and a pipe from which it learns how the start has ended.
const (
	listenerFD = 3
	logFD      = 4
	doneFD     = 5
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
	served, err := bootstrap.Served(ctx, socket)
	if err != nil {
		return err
	}
	var server *newServer
	if !served {
		if server, err = launch(ctx, p, opts, group, socket); err != nil {
			return err
		}
	}
	_, err = stdout.Write(reply)
	return server.done(ctx, err)
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

// newServer is a serving process that the start has made. It has the socket before that is
// there, and removes it in the end, so that containerd may kill a start at any moment, as
// it does when it ends itself. One that does not learn that the start is done ends soon if
// nobody comes. nil is one that there was.
type newServer struct {
	pipe   *os.File
	socket string
}

// done tells the server that the start is done, unless it has failed, and returns the
// start's error. A server that has ended already is Unavailable.
func (s *newServer) done(ctx context.Context, failed error) error {
	if s == nil {
		return failed
	}
	defer func() { _ = s.pipe.Close() }()
	if failed != nil {
		return failed
	}
	if _, err := s.pipe.Write([]byte{1}); err != nil {
		err = fmt.Errorf("the serving shim has ended at once; see its log: %w: %w", err, errdefs.ErrUnavailable)
		_, left := bootstrap.RemoveStale(ctx, s.socket)
		return errors.Join(err, left)
	}
	return nil
}

// launch makes a server of the group and its socket, unless there is one by then. Who
// connects waits in the socket until it accepts.
func launch(ctx context.Context, p bootstrap.Params, opts options.Options, group, socket string) (*newServer, error) {
	logFile, err := openLogFile(ctx, opts.LogFile(group))
	if err != nil {
		return nil, err
	}
	defer func() { _ = logFile.Close() }()
	listener, err := bootstrap.NewSocket(socket)
	if err != nil {
		return nil, err
	}
	defer func() { _ = listener.Close() }() // the server has its own
	server, err := spawn(ctx, p, opts, listener, logFile)
	if err != nil {
		return nil, err
	}
	joined, err := bootstrap.Listen(ctx, listener)
	if err != nil || joined {
		_ = server.pipe.Close() // it ends at once, as its socket is not bound
		return nil, err
	}
	return server, nil
}

// spawn starts the process that serves the group.
func spawn(ctx context.Context, p bootstrap.Params, opts options.Options, listener, logFile *os.File) (*newServer, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	isDone, pipe, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("make a pipe to the serving shim: %w", err)
	}
	defer func() { _ = isDone.Close() }()
	args := []string{"-namespace", p.Namespace, "-id", p.ID, "-address", p.Address, "-bundle", p.Bundle, "-socket", listener.Name()}
	if p.Debug {
		args = append(args, "-debug")
	}
	// It outlives this process, so it is not bound to ctx.
	cmd := exec.CommandContext(context.WithoutCancel(ctx), self, args...)
	cmd.Env = append(os.Environ(), "TTRPC_ADDRESS="+p.TTRPCAddress)
	if opts.LogLevel != "" {
		cmd.Env = append(cmd.Env, envLogLevel+"="+opts.LogLevel)
	}
	cmd.ExtraFiles = []*os.File{listenerFD - 3: listener, logFD - 3: logFile, doneFD - 3: isDone}
	// A signal to containerd's process group is not for the shim.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return nil, errors.Join(fmt.Errorf("start the serving shim: %w", err), pipe.Close())
	}
	if opts.ShimCgroup != "" {
		if err := cgroup.Join(opts.ShimCgroup, cmd.Process.Pid); err != nil {
			err = fmt.Errorf("shim_cgroup: %w", err)
			return nil, errors.Join(err, cmd.Process.Kill(), cmd.Wait(), pipe.Close())
		}
	}
	return &newServer{pipe, listener.Name()}, cmd.Process.Release()
}
