package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"github.com/containerd/console"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"containerd-shim-runsc/test/fakerunsc/script"
)

func (c *command) create() (int, error) {
	if len(c.args) != 1 {
		return 0, errors.New("a container id is required")
	}
	k, err := c.newContainer()
	if err != nil {
		return 0, fmt.Errorf("creating container: %w", err)
	}
	unlock, err := k.lock()
	if err != nil {
		return 0, fmt.Errorf("creating container: %w", err)
	}
	defer unlock()
	if exists(k.base() + ".state") {
		return 0, fmt.Errorf("creating container: %w", fs.ErrExist)
	}
	std := []*os.File{os.Stdin, os.Stdout, os.Stderr}
	if path := c.flags["console-socket"]; path != "" {
		slave, err := sendTerminal(path)
		if err != nil {
			return 0, fmt.Errorf("creating container: setting up console with socket %q: %w", path, err)
		}
		k.Console, std = path, []*os.File{slave, slave, slave}
	}
	if k.isRoot() {
		err = c.startSandbox(k, std)
	} else {
		err = k.join(std)
	}
	if err != nil {
		return 0, fmt.Errorf("creating container: %w", err)
	}
	c.at(script.Sandbox)
	k.Status, k.Created = created, time.Now()
	if err := k.save(); err != nil {
		return 0, fmt.Errorf("creating container: %w", err)
	}
	return 0, c.writePID("pid-file", k.Sandbox.PID)
}

// newContainer makes what a create begins with.
func (c *command) newContainer() (*container, error) {
	if err := os.MkdirAll(c.root, 0o711); err != nil {
		return nil, err
	}
	bundle := c.flags["bundle"]
	b, err := os.ReadFile(filepath.Join(bundle, "config.json"))
	if err != nil {
		return nil, fmt.Errorf("reading spec: %w", err)
	}
	k := &container{ID: c.id(), Bundle: bundle, Spec: &specs.Spec{}, root: c.root}
	if f := c.fault(script.State); f != nil {
		k.InPlace = &f.Output
	}
	if err := json.Unmarshal(b, k.Spec); err != nil {
		return nil, fmt.Errorf("reading spec: %w", err)
	}
	k.Sandbox.ID, err = sandboxOf(k.ID, k.Spec)
	return k, err
}

// startSandbox starts a sandbox process. It belongs to whoever adopts it when this
// command has ended.
func (c *command) startSandbox(k *container, std []*os.File) error {
	ready, signal, err := os.Pipe()
	if err != nil {
		return err
	}
	defer func() { _ = ready.Close() }()
	defer func() { _ = signal.Close() }()
	cmd := exec.Command("/proc/self/exe", "--root="+k.root, "--id="+k.ID, "boot", "--bundle="+k.Bundle, "--script="+c.dir)
	cmd.Args[0] = sandboxName
	cmd.Stdin, cmd.Stdout, cmd.Stderr = std[0], std[1], std[2]
	cmd.ExtraFiles = []*os.File{signal}
	if c.fault(script.NoSocket) == nil {
		// As with runsc, the socket is there before the sandbox is.
		k.Sandbox.ControlSocketPath = socketPath(k.root, k.ID)
		socket, err := listenControl(k.root, k.ID)
		if err != nil {
			return fmt.Errorf("cannot create sandbox: creating control server socket: %w", err)
		}
		defer func() { _ = socket.Close() }()
		if c.fault(script.Deaf) == nil {
			cmd.ExtraFiles = append(cmd.ExtraFiles, socket)
			cmd.Args = append(cmd.Args, fmt.Sprintf("--%s=%d", controlFlag, controlFD))
		}
	}
	// As the first process of a pid namespace it takes all others with it.
	cmd.SysProcAttr = &unix.SysProcAttr{Setsid: true, Cloneflags: unix.CLONE_NEWPID}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("cannot create sandbox: %w", err)
	}
	_ = signal.Close() // so that the sandbox's is the last
	k.Sandbox.PID = cmd.Process.Pid
	if n, err := ready.Read(make([]byte, 1)); n != 1 {
		return fmt.Errorf("cannot create sandbox: cannot read client sync file: waiting for sandbox to start: %w", err)
	}
	return nil
}

// join makes a container in the sandbox that it names.
func (k *container) join(std []*os.File) error {
	root, err := load(filepath.Join(k.root, k.Sandbox.ID+"_sandbox:"+k.Sandbox.ID+".state"))
	if err != nil {
		return fmt.Errorf("cannot load sandbox: %w", notExist(err))
	}
	k.Sandbox = root.Sandbox
	if k.Console == "" {
		std = nil // they come with start
	}
	if err := k.ask(request{Op: opCreate, Spec: k.Spec, Bundle: k.Bundle}, &reply{}, std...); err != nil {
		return fmt.Errorf("cannot create subcontainer: %w", err)
	}
	return nil
}

// sendTerminal makes a terminal, sends its master to the socket and returns its
// slave.
func sendTerminal(path string) (*os.File, error) {
	conn, err := dialConsole(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close() }()
	master, name, err := console.NewPty()
	if err != nil {
		return nil, err
	}
	defer func() { _ = master.Close() }()
	slave, err := os.OpenFile(name, os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, err
	}
	_, _, err = conn.WriteMsgUnix([]byte(name), unix.UnixRights(int(master.Fd())), nil)
	return slave, err
}

func (c *command) start() (int, error) {
	k, err := c.loaded()
	if err != nil {
		return 0, err
	}
	if err := k.require("start", created); err != nil {
		return 0, fmt.Errorf("starting container: %w", err)
	}
	unlock, err := k.lock()
	if err != nil {
		return 0, fmt.Errorf("starting container: %w", err)
	}
	defer unlock()
	var std []*os.File
	if !k.isRoot() && k.Console == "" {
		std = []*os.File{os.Stdin, os.Stdout, os.Stderr}
	}
	if err := k.ask(request{Op: opStart}, &reply{}, std...); err != nil {
		kind := "root container"
		if !k.isRoot() {
			kind = fmt.Sprintf("sub-container %v", k.Spec.Process.Args)
		}
		return 0, fmt.Errorf("starting container: starting %s: %w", kind, err)
	}
	k.Status = running
	return 0, k.save()
}

func (c *command) delete() (int, error) {
	k, err := c.find()
	if errors.Is(err, fs.ErrNotExist) && c.has("force") {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("loading container %q: %w", c.id(), notExist(err))
	}
	if !c.has("force") && k.Status != created && k.Status != stopped {
		return 0, errors.New("cannot delete container that is not stopped without --force flag")
	}
	unlock, err := k.lock()
	if err != nil {
		return 0, err
	}
	defer unlock()
	if k.isRoot() {
		err = killSandbox(k.Sandbox.PID)
	} else if err = k.ask(request{Op: opDestroy}, &reply{}); k.gone() {
		err = nil // with its sandbox
	}
	if err != nil {
		return 0, fmt.Errorf("destroying container: stopping container: %w", err)
	}
	return 0, k.remove()
}

// gone reports whether nobody listens for the sandbox any more.
func (k *container) gone() bool {
	return !sandboxRuns(k.Sandbox.PID)
}

// killSandbox kills a sandbox process and waits until it is gone.
func killSandbox(pid int) error {
	if !sandboxRuns(pid) {
		return nil
	}
	if err := unix.Kill(pid, unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
		return err
	}
	for sandboxRuns(pid) {
		time.Sleep(pollPause)
	}
	return nil
}

// sandboxRuns reports whether pid is a sandbox process that has not ended. A dead
// one that nobody has reaped has no command line.
func sandboxRuns(pid int) bool {
	b, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "cmdline"))
	return err == nil && len(b) >= len(sandboxName) && string(b[:len(sandboxName)]) == sandboxName
}
