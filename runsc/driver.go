package runsc

import (
	"context"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"

	runc "github.com/containerd/go-runc"
	"golang.org/x/sys/unix"

	"containerd-shim-runsc/runsc/adapt"
	"containerd-shim-runsc/utils/reaper"
)

// idEnd ends every id that is handed to runsc; see the package documentation.
// runsc allows it in an id (its idRegex), containerd does not (pkg/identifiers).
const idEnd = "+"

// Config is how runsc is called for a container.
type Config struct {
	// Binary is runsc's path, or its name in $PATH.
	Binary string
	// Root is runsc's state directory (--root).
	Root string
	// Flags are further global flags, each in the form --name=value.
	Flags []string
	// CommandsOnly keeps from using the control socket.
	CommandsOnly bool
	// KubeletRoot is the kubelet's folder, or "" to look for it.
	KubeletRoot string
	// ShareEmptyDirs lets the containers of a pod share its emptyDirs in the sandbox.
	ShareEmptyDirs bool
}

// Driver makes the handles on containers and remembers their sandboxes.
type Driver struct {
	reaper *reaper.Reaper
	// questions has a place for each of the commands that may run at once; see enter.
	questions chan struct{}
	// spare is for ending processes when there are no descriptors left.
	spare *spare

	mu        sync.Mutex
	sandboxes map[string]*sandbox
	// creating counts the creates in flight by the paths of their containers' locks.
	creating map[string]int
	// said is what each sandbox's log has had of what it does not do.
	said map[string][]string
}

// New returns a driver whose commands and sandboxes are reaped by r. It makes r
// the process monitor of go-runc, which has one for the whole process.
func New(r *reaper.Reaper) *Driver {
	runc.Monitor = r
	return &Driver{
		reaper: r, questions: make(chan struct{}, maxQuestions), spare: newSpare(),
		sandboxes: map[string]*sandbox{}, creating: map[string]int{}, said: map[string][]string{},
	}
}

// Container returns the handle on the container id, whose bundle is an existing
// directory. sandboxID is the id of the sandbox's root container: id itself for
// a root. Nothing is run and nothing needs to exist yet.
func (d *Driver) Container(id, sandboxID, bundle string, cfg Config) *Container {
	return &Container{
		driver:       d,
		id:           id + idEnd,
		name:         id,
		sandboxID:    sandboxID + idEnd,
		bundle:       bundle,
		root:         id == sandboxID,
		commandsOnly: cfg.CommandsOnly,
		volumes:      adapt.Volumes{KubeletRoot: cfg.KubeletRoot, ShareEmptyDirs: cfg.ShareEmptyDirs},
		runc: runc.Runc{
			Command:   cfg.Binary,
			Root:      cfg.Root,
			LogFormat: runc.JSON,
			// A command must not outlive the shim: one that creates a sandbox
			// after the shim's cleanup ran would leave it behind.
			PdeathSignal: unix.SIGKILL,
			ExtraArgs:    cfg.Flags,
		},
	}
}

// Container is the handle on one container. Its methods may be called
// concurrently; which order makes sense is the caller's to know.
type Container struct {
	driver    *Driver
	id        string // as runsc knows it
	name      string // as the caller knows it
	sandboxID string // as runsc knows it
	bundle    string
	root      bool
	runc      runc.Runc
	// commandsOnly keeps from using the control socket.
	commandsOnly bool
	volumes      adapt.Volumes
	learnt
	// started tells that init may have been started, ended that its end is known.
	started, ended atomic.Bool
	// gofer is the life of the container's gofer once it is started, guarded by Driver.mu,
	// or nil.
	gofer context.Context
	// joined is the sandbox once the container is created, guarded by Driver.mu.
	joined *sandbox
}

// sandboxBundle is the bundle of the sandbox's root container. containerd has the bundles
// of a namespace beside each other, by their containers' ids.
func (c *Container) sandboxBundle() string {
	if c.root {
		return c.bundle
	}
	return filepath.Join(filepath.Dir(c.bundle), strings.TrimSuffix(c.sandboxID, idEnd))
}

// stateFiles are the files, a state and a lock, that runsc keeps under its root for
// a container of the sandbox.
func (c *Container) stateFiles(id string) []string {
	base := filepath.Join(c.runc.Root, id+"_sandbox:"+c.sandboxID)
	return []string{base + ".state", base + ".lock"}
}
