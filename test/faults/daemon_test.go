package faults

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/containerd/containerd/api/types/runtimeoptions/v1"
	containerd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/containerd/v2/pkg/oci"
	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/proto"

	"containerd-shim-runsc/test/harness"
	"containerd-shim-runsc/test/image"
)

const (
	runtimeName = "io.containerd.runsc.v1"
	imageName   = "docker.io/library/busybox:faults"
)

// daemon is a real containerd in the place of a world's sink. Its runsc is the world's.
type daemon struct {
	t      *testing.T
	e      *harness.Env
	dir    string
	cmd    *exec.Cmd
	client *containerd.Client
}

// newDaemon starts a containerd that has an image.
func newDaemon(t *testing.T, e *harness.Env) *daemon {
	t.Helper()
	d := &daemon{t: t, e: e, dir: filepath.Join(e.Dir, "d")}
	e.Events.Down()
	if err := os.Mkdir(d.dir, 0o755); err != nil {
		t.Fatal(err)
	}
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
`, d.dir, e.Address(), e.SocketDir())
	if err := os.WriteFile(d.path("config.toml"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	d.start()
	t.Cleanup(d.stop)
	d.importImage()
	return d
}

func (d *daemon) path(name string) string { return filepath.Join(d.dir, name) }

// start starts containerd and waits until it serves.
func (d *daemon) start() {
	d.t.Helper()
	log, err := os.OpenFile(d.path("log"), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		d.t.Fatal(err)
	}
	defer func() { _ = log.Close() }()
	d.cmd = exec.Command(harness.Tool(d.t, "containerd"), "-c", d.path("config.toml"))
	d.cmd.Env = append(os.Environ(), "PATH="+os.Getenv("SHIM_TEST_BIN")+":"+os.Getenv("PATH"), "TMPDIR="+d.dir)
	d.cmd.Stdout, d.cmd.Stderr = log, log
	d.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := d.cmd.Start(); err != nil {
		d.t.Fatal(err)
	}
	if d.client == nil {
		d.client, err = containerd.New(d.e.Address(), containerd.WithDefaultNamespace(d.e.Namespace))
		if err != nil {
			d.t.Fatal(err)
		}
	}
	harness.Eventually(d.t, "containerd serves", func() bool {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		serving, err := d.client.IsServing(ctx)
		return err == nil && serving
	})
}

// end ends containerd with a signal and waits for its end.
func (d *daemon) end(sig unix.Signal) {
	d.t.Helper()
	if err := d.cmd.Process.Signal(sig); err != nil {
		d.t.Fatal(err)
	}
	_ = d.cmd.Wait()
	d.cmd = nil
}

func (d *daemon) stop() {
	if d.cmd != nil {
		_ = d.cmd.Process.Signal(unix.SIGCONT)
		d.end(unix.SIGTERM)
	}
	if d.client != nil {
		_ = d.client.Close()
	}
	if d.t.Failed() {
		b, _ := os.ReadFile(d.path("log"))
		d.t.Logf("containerd's log:\n%s", b)
	}
}

func (d *daemon) importImage() {
	d.t.Helper()
	files, err := image.Busybox(harness.Tool(d.t, "busybox-static"))
	if err != nil {
		d.t.Fatal(err)
	}
	var archive bytes.Buffer
	if err := image.Write(&archive, imageName, files); err != nil {
		d.t.Fatal(err)
	}
	ctx := d.t.Context()
	if _, err := d.client.Import(ctx, &archive); err != nil {
		d.t.Fatal(err)
	}
	img, err := d.client.GetImage(ctx, imageName)
	if err == nil {
		err = img.Unpack(ctx, "")
	}
	if err != nil {
		d.t.Fatal(err)
	}
}

// container makes a container of containerd's.
func (d *daemon) container(id string, args ...string) containerd.Container {
	d.t.Helper()
	ctx := d.t.Context()
	img, err := d.client.GetImage(ctx, imageName)
	if err != nil {
		d.t.Fatal(err)
	}
	var options runtimeoptions.Options
	if err := proto.Unmarshal(d.e.Options().Value, &options); err != nil {
		d.t.Fatal(err)
	}
	inCgroup := func(_ context.Context, _ oci.Client, _ *containers.Container, s *oci.Spec) error {
		s.Linux.CgroupsPath = filepath.Join("/", d.e.CgroupPrefix(), id)
		return nil
	}
	c, err := d.client.NewContainer(ctx, id, containerd.WithNewSnapshot(id, img),
		containerd.WithNewSpec(oci.WithImageConfig(img), oci.WithProcessArgs(args...), inCgroup),
		containerd.WithRuntime(runtimeName, &options))
	if err != nil {
		d.t.Fatal(err)
	}
	return c
}
