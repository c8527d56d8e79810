package node

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	containerd "github.com/containerd/containerd/v2/client"
	"google.golang.org/grpc"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"containerd-shim-runsc/utils/cgroup"
)

// The runtime handlers of every node.
const (
	Runsc = "runsc" // the shim under test, with gVisor
	Runc  = "runc"  // for comparison
)

// criNamespace is containerd's namespace for all that comes through the CRI.
const criNamespace = "k8s.io"

// patience bounds every wait. It is long because it is reached only when something is
// broken.
const patience = 60 * time.Second

// Options say what a node is like.
type Options struct {
	// Bin is the directory with the programs; "" means SHIM_TEST_BIN.
	Bin string
	// DefaultHandler is the runtime handler of pods that name none; "" means Runsc.
	DefaultHandler string
	// ShimConfig is what the shim's configuration has besides its root: lines of TOML.
	ShimConfig string
	// Images are served by the node's registry, besides the node's own (see images.go).
	Images []Image
	// KeepLog keeps containerd's log when the node is closed, and says where.
	KeepLog bool
	// StreamPort is the port of the CRI's streaming server; 0 means any.
	StreamPort int
}

// Node is a private node: a containerd with its CRI plugin and all that it needs.
type Node struct {
	// Runtime and Images are the services that a kubelet uses. They survive a restart
	// of containerd.
	Runtime runtimeapi.RuntimeServiceClient
	Images  runtimeapi.ImageServiceClient
	// Containerd is the same containerd's own API, in the CRI's namespace.
	Containerd *containerd.Client

	opts       Options
	dir        string // all files of the node
	name       string // the directory's, also of the cgroup and the network
	namespaces *namespaces
	registry   *Registry
	ids        *idSet // of all containers that there ever were
	conn       *grpc.ClientConn
	cmd        *exec.Cmd
	exited     chan struct{}
	unwatch    func()
}

// Start makes a node and waits until it is ready for pods.
func Start(ctx context.Context, opts Options) (_ *Node, err error) {
	if opts.Bin == "" {
		opts.Bin = os.Getenv("SHIM_TEST_BIN")
	}
	if opts.DefaultHandler == "" {
		opts.DefaultHandler = Runsc
	}
	if err := opts.check(); err != nil {
		return nil, err
	}
	n := &Node{opts: opts, ids: &idSet{}}
	if n.dir, err = os.MkdirTemp("/tmp", "nd"); err != nil {
		return nil, err
	}
	// A sandbox with a user namespace of its own is not root here.
	if err := os.Chmod(n.dir, 0o711); err != nil {
		return nil, err
	}
	n.name = filepath.Base(n.dir)
	defer func() {
		if err != nil {
			n.opts.KeepLog = true
			err = errors.Join(err, n.end())
		}
	}()
	if n.namespaces, err = newNamespaces(); err != nil {
		return nil, err
	}
	if err := n.startRegistry(ctx); err != nil {
		return nil, err
	}
	if err := errors.Join(cgroup.Make(n.daemonCgroup()), n.writeNetwork(), n.configure()); err != nil {
		return nil, err
	}
	return n, n.StartContainerd(ctx)
}

func (o Options) check() error {
	if o.Bin == "" {
		return errors.New("SHIM_TEST_BIN is not set; it names the directory with the tools, see `make test-cri`")
	}
	for _, tool := range []string{
		"containerd", "runsc", "runc", "containerd-shim-runsc-v1", "containerd-shim-runc-v2",
		"busybox", "cni/bridge", "cni/host-local", "cni/loopback", "cni/portmap",
	} {
		if _, err := os.Stat(filepath.Join(o.Bin, tool)); err != nil {
			return fmt.Errorf("SHIM_TEST_BIN: %w", err)
		}
	}
	if os.Getuid() != 0 {
		return errors.New("only root can run pods")
	}
	return nil
}

// Close ends the node. All pods should be gone by then: what is left of any is removed,
// and is an error.
func (n *Node) Close() error {
	var left error
	// What ends by itself may take a moment for it.
	if list := n.Leftovers(); len(list) > 0 {
		left = fmt.Errorf("node %s: left behind by its pods: %q", n.name, list)
	}
	return errors.Join(left, n.end())
}

// end removes the node in whatever state it is.
func (n *Node) end() error {
	var errs []error
	if n.conn != nil {
		errs = append(errs, n.conn.Close())
	}
	if n.cmd != nil {
		errs = append(errs, n.StopContainerd())
	}
	if n.Containerd != nil {
		errs = append(errs, n.Containerd.Close())
	}
	if n.registry != nil {
		errs = append(errs, n.registry.close())
	}
	errs = append(errs, n.sweep())
	if n.namespaces != nil {
		errs = append(errs, n.namespaces.close())
	}
	if n.opts.KeepLog {
		kept := n.dir + ".log"
		if err := os.Rename(n.LogPath(), kept); err == nil {
			fmt.Fprintln(os.Stderr, "containerd's log is", kept)
		}
	}
	return errors.Join(append(errs, os.RemoveAll(n.dir))...)
}

// The places in the node's directory.

func (n *Node) path(parts ...string) string {
	return filepath.Join(append([]string{n.dir}, parts...)...)
}

// Dir is the directory that has all files of the node; tests may use t/ in it, which is
// short enough for sockets.
func (n *Node) Dir() string { return n.dir }

// Name is the node's name, also that of its cgroup.
func (n *Node) Name() string { return n.name }

// Address is containerd's socket, also the CRI's.
func (n *Node) Address() string { return n.path("c.sock") }

// LogPath is containerd's log, with those of the shims in it.
func (n *Node) LogPath() string { return n.path("log") }

// RunscRoot is where runsc keeps the state of the pods' sandboxes.
func (n *Node) RunscRoot() string { return n.path("r", criNamespace) }

// Bundle is the bundle of a container.
func (n *Node) Bundle(id string) string {
	return n.path("state", "io.containerd.runtime.v2.task", criNamespace, id)
}

// Tool is the path of a program in the node's directory of programs.
func (n *Node) Tool(name string) string { return filepath.Join(n.opts.Bin, name) }
