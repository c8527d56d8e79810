package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	containerd "github.com/containerd/containerd/v2/client"
	"golang.org/x/sys/unix"

	"containerd-shim-runsc/test/image"
)

const (
	runtimeName = "io.containerd.runsc.v1"
	imageName   = "docker.io/library/busybox:e2e"

	// patience bounds every wait of the tests. It is long because it is reached
	// only when something is broken.
	patience = 60 * time.Second
)

// daemon is a private containerd, which can be stopped and started again, and a
// client of it, which survives that.
type daemon struct {
	bin    string // SHIM_TEST_BIN
	dir    string // everything of containerd, runsc and the tests
	ns     string // containerd's namespace, also the parent of the cgroups
	client *containerd.Client
	cmd    *exec.Cmd
	exited chan error
}

// The places in the daemon's directory. They are short: see the package's comment.

func (d *daemon) address() string      { return filepath.Join(d.dir, "c.sock") }
func (d *daemon) fifos() string        { return filepath.Join(d.dir, "f") }
func (d *daemon) shimSockets() string  { return filepath.Join(d.dir, "s") }
func (d *daemon) runscRoot() string    { return filepath.Join(d.dir, "r", d.ns) }
func (d *daemon) logPath() string      { return filepath.Join(d.dir, "log") }
func (d *daemon) shimConfig() string   { return filepath.Join(d.dir, "runsc.toml") }
func (d *daemon) daemonConfig() string { return filepath.Join(d.dir, "config.toml") }

func (d *daemon) bundle(id string) string {
	return filepath.Join(d.dir, "state", "io.containerd.runtime.v2.task", d.ns, id)
}

// newDaemon starts a private containerd that has the image.
func newDaemon() (_ *daemon, err error) {
	d := &daemon{bin: os.Getenv("SHIM_TEST_BIN")}
	if d.bin == "" {
		return nil, errors.New("SHIM_TEST_BIN is not set; it names the directory with the tools, see `make test-e2e`")
	}
	for _, tool := range []string{"containerd", "ctr", "runsc", "containerd-shim-runsc-v1", "busybox-static"} {
		if _, err := os.Stat(filepath.Join(d.bin, tool)); err != nil {
			return nil, fmt.Errorf("SHIM_TEST_BIN: %w", err)
		}
	}
	if os.Getuid() != 0 {
		return nil, errors.New("only root can run containers")
	}
	// The default for temporary files may be a long path.
	if d.dir, err = os.MkdirTemp("/tmp", "e2e"); err != nil {
		return nil, err
	}
	// A name of its own, so that the cgroups that are left can be told from others'.
	d.ns = filepath.Base(d.dir)
	defer func() {
		if err != nil {
			err = errors.Join(err, d.stop(), d.remove(true))
		}
	}()
	if err := d.configure(); err != nil {
		return nil, err
	}
	if err := d.start(); err != nil {
		return nil, err
	}
	return d, d.importImage()
}

func (d *daemon) configure() error {
	config := fmt.Sprintf(`version = 3
root = '%[1]s/root'
state = '%[1]s/state'
imports = []
disabled_plugins = [
  'io.containerd.cri.v1.images', 'io.containerd.cri.v1.runtime', 'io.containerd.grpc.v1.cri',
  'io.containerd.internal.v1.opt', 'io.containerd.internal.v1.tracing', 'io.containerd.nri.v1.nri',
]
[grpc]
  address = '%[2]s'
[plugins.'io.containerd.shim.v1.manager']
  socket_dir = '%[3]s'
`, d.dir, d.address(), d.shimSockets())
	return errors.Join(
		os.WriteFile(d.daemonConfig(), []byte(config), 0o600),
		os.WriteFile(d.shimConfig(), []byte(shimConfig(filepath.Dir(d.runscRoot()), "")), 0o600),
	)
}

// start starts containerd and waits until it serves.
func (d *daemon) start() error {
	log, err := os.OpenFile(d.logPath(), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	d.cmd = exec.Command(filepath.Join(d.bin, "containerd"), "-c", d.daemonConfig())
	// containerd finds the shim by it, and the shim runsc.
	d.cmd.Env = append(os.Environ(), "PATH="+d.bin+":"+os.Getenv("PATH"))
	d.cmd.Stdout, d.cmd.Stderr = log, log
	// An interrupt at the terminal is the tests' to act on.
	d.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := d.cmd.Start(); err != nil {
		return err
	}
	exited := make(chan error, 1)
	d.exited = exited
	go func(cmd *exec.Cmd) { exited <- cmd.Wait() }(d.cmd)
	if d.client == nil {
		d.client, err = containerd.New(d.address(), containerd.WithDefaultNamespace(d.ns),
			containerd.WithDefaultRuntime(runtimeName))
		if err != nil {
			return err
		}
	}
	return d.awaitServing()
}

// awaitServing waits until containerd serves. A call may fail that was made while the
// client had not yet noticed the end of an earlier containerd.
func (d *daemon) awaitServing() error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for {
		serving, err := d.client.IsServing(ctx)
		if err == nil && serving {
			return nil
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("containerd does not serve: %w; its log is %s", err, d.logPath())
		}
	}
}

// end ends containerd with a signal and waits until it has ended. What it runs
// runs on.
func (d *daemon) end(sig unix.Signal) error {
	if err := d.cmd.Process.Signal(sig); err != nil {
		return err
	}
	select {
	case <-d.exited: // its status tells of the signal
		d.cmd = nil
		return nil
	case <-time.After(patience):
		return fmt.Errorf("containerd takes no %s", unix.SignalName(sig))
	}
}

// stop ends containerd for good.
func (d *daemon) stop() error {
	var errs []error
	if d.client != nil {
		errs = append(errs, d.client.Close())
		d.client = nil
	}
	if d.cmd != nil && d.cmd.Process != nil {
		errs = append(errs, d.end(unix.SIGTERM))
	}
	return errors.Join(errs...)
}

// remove removes the directory, but for containerd's log if that is to be kept.
func (d *daemon) remove(keepLog bool) error {
	if keepLog {
		kept := d.dir + ".log"
		if err := os.Rename(d.logPath(), kept); err == nil {
			fmt.Fprintln(os.Stderr, "e2e: containerd's log is", kept)
		}
	}
	return os.RemoveAll(d.dir)
}

// importImage makes the busybox image and unpacks it.
func (d *daemon) importImage() error {
	archive, err := imageArchive(d.bin)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if _, err := d.client.Import(ctx, archive); err != nil {
		return fmt.Errorf("import the image: %w", err)
	}
	img, err := d.client.GetImage(ctx, imageName)
	if err != nil {
		return err
	}
	return img.Unpack(ctx, "")
}

// imageArchive returns the busybox image as ctr and the client import it.
func imageArchive(bin string) (*bytes.Buffer, error) {
	files, err := image.Busybox(filepath.Join(bin, "busybox-static"))
	if err != nil {
		return nil, err
	}
	archive := &bytes.Buffer{}
	return archive, image.Write(archive, imageName, files)
}
