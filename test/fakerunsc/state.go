package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// The statuses of a container in its state file.
const (
	created = "created"
	running = "running"
	paused  = "paused"
	stopped = "stopped"
)

// container is what is kept of a container between commands.
type container struct {
	ID      string      `json:"id"`
	Bundle  string      `json:"bundleDir"`
	Status  string      `json:"status"`
	Created time.Time   `json:"createdAt"`
	Spec    *specs.Spec `json:"spec"`
	Sandbox struct {
		ID  string `json:"id"`
		PID int    `json:"pid"`
		// UID and GID are who the sandbox process is on the host.
		UID               int    `json:"uid"`
		GID               int    `json:"gid"`
		ControlSocketPath string `json:"controlSocketPath"`
	} `json:"sandbox"`
	// Console is the socket through which a terminal went; the streams came with
	// create then.
	Console string `json:"consoleSocket"`

	// InPlace is what the script wants in the state file in place of this. The
	// truth is beside it then, for the fake's own commands.
	InPlace *string `json:"fakeInPlace,omitempty"`

	root string
}

func (k *container) isRoot() bool { return k.ID == k.Sandbox.ID }

// base is the path of the container's files without their extension. The names
// are runsc's.
func (k *container) base() string {
	return filepath.Join(k.root, k.ID+"_sandbox:"+k.Sandbox.ID)
}

// lock locks the container's files against other commands.
func (k *container) lock() (unlock func(), err error) {
	f, err := os.OpenFile(k.base()+".lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("cannot lock container metadata file: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		return nil, fmt.Errorf("cannot lock container metadata file: %w", err)
	}
	return func() { _ = f.Close() }, nil
}

func (k *container) save() error {
	b, err := json.Marshal(k)
	if err != nil {
		return err
	}
	if k.InPlace != nil {
		if err := k.write(k.base()+truth, b); err != nil {
			return err
		}
		b = []byte(*k.InPlace)
	}
	return k.write(k.base()+".state", b)
}

// truth ends the name of the file that a command believes more than the state file.
const truth = ".truth"

// write writes a file in one step, as other commands read it without the lock, and by
// way of the bundle, as runsc leaves no such file in its root when it is killed.
func (k *container) write(path string, b []byte) error {
	tmp := filepath.Join(k.Bundle, ".state.tmp")
	if err := os.WriteFile(tmp, b, 0o640); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}

// find returns the container that id names or abbreviates, with a status that is
// true now.
func (c *command) find() (*container, error) {
	id := c.id()
	paths, err := filepath.Glob(filepath.Join(c.root, id+"*_sandbox:*.state"))
	if err != nil {
		return nil, err
	}
	switch len(paths) {
	case 0:
		return nil, fs.ErrNotExist
	case 1:
	default:
		// As with runsc, an id that begins another one does not name itself.
		return nil, fmt.Errorf("id %q is ambiguous and could refer to multiple containers: %q", id, paths)
	}
	k, err := load(paths[0])
	if err != nil {
		return nil, err
	}
	if k.Status == created || k.Status == running || k.Status == paused {
		var reply reply
		err := k.ask(request{Op: opStatus}, &reply)
		if err != nil || reply.Stopped {
			k.Status = stopped
		}
	}
	return k, nil
}

// loaded is find with runsc's words.
func (c *command) loaded() (*container, error) {
	k, err := c.find()
	if err != nil {
		return nil, fmt.Errorf("loading container: %w", notExist(err))
	}
	return k, nil
}

// notExist gives a missing file the words that runsc has for it, without a path.
func notExist(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return fs.ErrNotExist
	}
	return err
}

func load(path string) (*container, error) {
	b, err := os.ReadFile(strings.TrimSuffix(path, ".state") + truth)
	if errors.Is(err, fs.ErrNotExist) {
		b, err = os.ReadFile(path)
	}
	if err != nil {
		return nil, err
	}
	k := &container{root: filepath.Dir(path)}
	if err := json.Unmarshal(b, k); err != nil {
		return nil, fmt.Errorf("reading container metadata file %q: %w", path, err)
	}
	return k, nil
}

// require refuses a container that is in none of the statuses.
func (k *container) require(action string, statuses ...string) error {
	for _, s := range statuses {
		if k.Status == s {
			return nil
		}
	}
	return fmt.Errorf("cannot %s container %q in state %s", action, k.ID, k.Status)
}

func (k *container) remove() error {
	left := []string{k.base() + ".state", k.base() + ".lock", k.base() + truth}
	if k.isRoot() {
		left = append(left, socketPath(k.root, k.ID))
	}
	for _, path := range left {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// sandboxOf returns the id of the sandbox that a container with this spec belongs
// to, as runsc reads it from the annotations.
func sandboxOf(id string, spec *specs.Spec) (string, error) {
	for _, k := range []struct{ kind, sandbox string }{
		{"io.kubernetes.cri.container-type", "io.kubernetes.cri.sandbox-id"},
		{"io.kubernetes.cri-o.ContainerType", "io.kubernetes.cri-o.SandboxID"},
	} {
		if spec.Annotations[k.kind] != "container" {
			continue
		}
		sandbox := spec.Annotations[k.sandbox]
		if strings.TrimSpace(sandbox) == "" {
			return "", errors.New("no sandbox ID found when creating container")
		}
		return sandbox, nil
	}
	return id, nil
}
