package main

import (
	"encoding/json"
	"fmt"
	"net"
	"os"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"containerd-shim-runsc/test/fakerunsc/script"
)

// exec starts a process in a container, stays until it ends, and exits with its
// status.
func (c *command) exec() (int, error) {
	k, err := c.loaded()
	if err != nil {
		return 0, err
	}
	b, err := os.ReadFile(c.flags["process"])
	if err != nil {
		return 0, fmt.Errorf("parsing process spec: %w", err)
	}
	var p specs.Process
	if err := json.Unmarshal(b, &p); err != nil {
		return 0, fmt.Errorf("parsing process spec: %w", err)
	}
	if err := k.require("execute in", created, running); err != nil {
		return 0, fmt.Errorf("executing processes for container: %w", err)
	}
	var rep reply
	if err := k.ask(request{Op: opExec, Process: &p}, &rep, os.Stdin, os.Stdout, os.Stderr); err != nil {
		return 0, fmt.Errorf("executing processes for container: executing command %q in sandbox: %w", p.Args, err)
	}
	if err := c.writePID("internal-pid-file", rep.PID); err != nil {
		return 0, fmt.Errorf("writing internal pid file: %w", err)
	}
	if err := c.writePID("pid-file", os.Getpid()); err != nil {
		return 0, fmt.Errorf("writing pid file: %w", err)
	}
	c.at(script.Started)
	pid := rep.PID
	if err := k.ask(request{Op: opWait, PID: pid}, &rep); err != nil {
		return 0, fmt.Errorf("waiting on pid %d: %w", pid, err)
	}
	return exitCode(rep.Status), nil
}

// writePID writes a pid to the file that the flag names, if it is given. As runsc
// does, it writes into what is no regular file and replaces what is one.
func (c *command) writePID(flag string, pid int) error {
	path := c.flags[flag]
	if path == "" {
		return nil
	}
	text := fmt.Appendf(nil, "%d", pid)
	if fi, err := os.Stat(path); err == nil && !fi.Mode().IsRegular() {
		return os.WriteFile(path, text, 0o644)
	}
	if err := os.WriteFile(path+".tmp", text, 0o644); err != nil {
		return err
	}
	return os.Rename(path+".tmp", path)
}

func dialConsole(path string) (*net.UnixConn, error) {
	return net.DialUnix("unix", nil, &net.UnixAddr{Name: path, Net: "unix"})
}
