package harness

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/containerd/containerd/api/types"
	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// Container says what a test wants of a container. The zero value of everything
// but ID is what most tests need.
type Container struct {
	ID string
	// Args is what init runs; nil is a process that does nothing, for ever, and
	// ends at SIGTERM.
	Args []string
	// Pod is the id of the sandbox's root container that it joins.
	Pod string
	// Sandbox gives a root the annotation that CRI gives to a pod's.
	Sandbox bool
	// CRIO uses CRI-O's annotations instead of containerd's.
	CRIO bool
	// Terminal asks for a terminal, NoIO for no streams at all.
	Terminal, NoIO bool
	// Unread leaves the output to the test to read.
	Unread bool
	// Stdout and Stderr are given to the shim as they are, if set.
	Stdout, Stderr string
	// PlainRootfs is a directory in the bundle instead of a mount.
	PlainRootfs bool
	// Remapped, if it is not 0, is the first of the ids that the rootfs's files have in a
	// user namespace. It is an overlay then, as snapshotters make it.
	Remapped int
	// Edit changes the spec at last.
	Edit func(*specs.Spec)
	// As is the containerd that starts the shim; nil is the newest.
	As *Generation
}

// Shell returns the arguments of a shell that runs a script.
func Shell(script string) []string {
	return []string{"/bin/sh", "-c", script}
}

// Forever is a process that ends at SIGTERM, and takes SIGUSR1 for nothing.
func Forever() []string {
	return Shell("trap '' USR1; trap 'exit 143' TERM; while :; do sleep 3600 & wait $!; done")
}

// applets are the programs in a rootfs.
func applets() []string {
	return []string{
		"sh", "cat", "sleep", "echo", "true", "false", "kill", "stty", "dd", "head", "seq", "test", "mkdir", "ls",
		"ps", "printf", "wc", "md5sum", "trap", "nohup", "tr", "id", "yes", "touch", "setsid", "readlink",
	}
}

// env is the environment of every process.
func env() []string {
	return []string{"PATH=/bin:/usr/bin", "HOME=/", "TERM=xterm"}
}

// makeBundle makes the bundle of a container, and what is to be mounted on its
// rootfs.
func (e *Env) makeBundle(c Container) (rootfs []*types.Mount, err error) {
	bundle := e.BundleOf(c.ID)
	target := filepath.Join(bundle, "rootfs")
	if err := os.MkdirAll(target, 0o711); err != nil {
		return nil, err
	}
	image := target
	if !c.PlainRootfs {
		image = filepath.Join(e.images(), c.ID)
		rootfs = []*types.Mount{{Type: "bind", Source: image, Options: []string{"rbind", "rw"}}}
	}
	if c.Remapped != 0 {
		if rootfs, err = remapped(image, c.Remapped); err != nil {
			return nil, fmt.Errorf("make rootfs: %w", err)
		}
	}
	if err := fillRootfs(sharedDir(e.t), image); err != nil {
		return nil, fmt.Errorf("make rootfs: %w", err)
	}
	spec := e.spec(c)
	if c.Edit != nil {
		c.Edit(spec)
	}
	return rootfs, writeSpec(bundle, spec)
}

// remapped returns the mount of an overlay on an image, with the owners of its files
// mapped to ids from first on.
func remapped(image string, first int) ([]*types.Mount, error) {
	options := []string{"lowerdir=" + image}
	for _, dir := range []string{"upper", "work"} {
		path := filepath.Join(image+".layers", dir)
		if err := os.MkdirAll(path, 0o755); err != nil {
			return nil, err
		}
		if err := os.Chown(path, first, first); err != nil {
			return nil, err
		}
		options = append(options, dir+"dir="+path)
	}
	for _, key := range []string{"uidmap", "gidmap"} {
		options = append(options, fmt.Sprintf("%s=0:%d:65536", key, first))
	}
	return []*types.Mount{{Type: "overlay", Source: "overlay", Options: options}}, nil
}

func writeSpec(bundle string, spec *specs.Spec) error {
	b, err := json.Marshal(spec)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(bundle, "config.json"), b, 0o600)
}

func fillRootfs(from, dir string) error {
	for _, sub := range []string{"bin", "dev", "proc", "sys", "tmp", "etc"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			return err
		}
	}
	// A container may be made again.
	if err := os.Link(filepath.Join(from, "busybox"), filepath.Join(dir, "bin", "busybox")); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	for _, name := range applets() {
		if err := os.Symlink("busybox", filepath.Join(dir, "bin", name)); err != nil && !errors.Is(err, os.ErrExist) {
			return err
		}
	}
	// The scripted runsc mounts no /dev, and a shell wants this one.
	return os.WriteFile(filepath.Join(dir, "dev", "null"), nil, 0o666)
}

func (e *Env) spec(c Container) *specs.Spec {
	args := c.Args
	if args == nil {
		args = Forever()
	}
	spec := &specs.Spec{
		Version:  specs.Version,
		Process:  process(args, c.Terminal),
		Root:     &specs.Root{Path: "rootfs"},
		Hostname: "test",
		Mounts: []specs.Mount{
			{Destination: "/proc", Type: "proc", Source: "proc"},
			{Destination: "/dev", Type: "tmpfs", Source: "tmpfs"},
		},
		Linux: &specs.Linux{
			CgroupsPath: filepath.Join("/", e.CgroupPrefix(), c.ID),
			Namespaces: []specs.LinuxNamespace{
				{Type: specs.PIDNamespace}, {Type: specs.IPCNamespace}, {Type: specs.UTSNamespace},
				{Type: specs.MountNamespace}, {Type: specs.NetworkNamespace},
			},
		},
	}
	kind, sandbox := "io.kubernetes.cri.container-type", "io.kubernetes.cri.sandbox-id"
	if c.CRIO {
		kind, sandbox = "io.kubernetes.cri-o.ContainerType", "io.kubernetes.cri-o.SandboxID"
	}
	switch {
	case c.Pod != "":
		spec.Annotations = map[string]string{kind: "container", sandbox: c.Pod}
	case c.Sandbox:
		spec.Annotations = map[string]string{kind: "sandbox", sandbox: c.ID}
	}
	return spec
}

func process(args []string, terminal bool) *specs.Process {
	return &specs.Process{Args: args, Env: env(), Cwd: "/", Terminal: terminal}
}
