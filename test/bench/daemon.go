package main

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

const imageName = "docker.io/library/busybox:bench"

// patience bounds every wait. It is long because it is reached only when something is
// broken.
const patience = 60 * time.Second

// daemon is a private containerd, with everything of it and of what it runs in one
// directory.
type daemon struct {
	// dir has a short path: a unix socket's has at most 107 bytes.
	dir string
	// ns is containerd's namespace, also the parent of the containers' cgroups.
	ns     string
	client *containerd.Client
	image  containerd.Image
	cmd    *exec.Cmd
	exited chan struct{}
}

func (d *daemon) path(parts ...string) string {
	return filepath.Join(append([]string{d.dir}, parts...)...)
}

func (d *daemon) address() string { return d.path("c.sock") }

// startDaemon starts a containerd that has the image.
func startDaemon(ctx context.Context, cfg settings) (_ *daemon, err error) {
	d := &daemon{}
	if d.dir, err = os.MkdirTemp("/tmp", "bench"); err != nil {
		return nil, err
	}
	d.ns = filepath.Base(d.dir)
	defer func() {
		if err != nil {
			err = errors.Join(err, d.end())
		}
	}()
	if err := d.start(cfg); err != nil {
		return nil, err
	}
	if d.client, err = containerd.New(d.address(), containerd.WithDefaultNamespace(d.ns)); err != nil {
		return nil, err
	}
	if err := d.awaitServing(ctx); err != nil {
		return nil, err
	}
	return d, d.importImage(ctx, cfg.tool("busybox-static"))
}

func (d *daemon) start(cfg settings) error {
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
  socket_dir = '%[1]s/s'
`, d.dir, d.address())
	if err := os.WriteFile(d.path("config.toml"), []byte(config), 0o600); err != nil {
		return err
	}
	log, err := os.Create(d.path("log"))
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }()
	d.cmd = exec.Command(cfg.tool("containerd"), "-c", d.path("config.toml"))
	// containerd finds the shims by it.
	d.cmd.Env = append(os.Environ(), "PATH="+cfg.bin+":"+os.Getenv("PATH"))
	d.cmd.Stdout, d.cmd.Stderr = log, log
	// An interrupt at the terminal is this process's to act on.
	d.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := d.cmd.Start(); err != nil {
		return err
	}
	d.exited = make(chan struct{})
	go func() {
		defer close(d.exited)
		_ = d.cmd.Wait() // its status tells of the signal that ended it
	}()
	return nil
}

func (d *daemon) awaitServing(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		serving, err := d.client.IsServing(ctx)
		if err == nil && serving {
			return nil
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("containerd does not serve: %w", errors.Join(ctx.Err(), err))
		}
	}
}

// importImage makes the busybox image and unpacks it.
func (d *daemon) importImage(ctx context.Context, busybox string) error {
	files, err := image.Busybox(busybox)
	if err != nil {
		return err
	}
	var archive bytes.Buffer
	if err := image.Write(&archive, imageName, files); err != nil {
		return err
	}
	if _, err := d.client.Import(ctx, &archive); err != nil {
		return fmt.Errorf("import the image: %w", err)
	}
	if d.image, err = d.client.GetImage(ctx, imageName); err != nil {
		return err
	}
	return d.image.Unpack(ctx, "")
}

// end ends containerd and removes all that is there because of it, in whatever state
// it is.
func (d *daemon) end() error {
	var errs []error
	if d.client != nil {
		errs = append(errs, d.client.Close())
	}
	if d.exited != nil {
		errs = append(errs, d.cmd.Process.Signal(unix.SIGTERM))
		select {
		case <-d.exited:
		case <-time.After(patience):
			errs = append(errs, errors.New("containerd takes no SIGTERM"), d.cmd.Process.Kill())
		}
	}
	errs = append(errs, d.sweep(), os.RemoveAll(d.dir))
	return errors.Join(errs...)
}
