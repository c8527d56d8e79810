package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"containerd-shim-runsc/test/fakerunsc/script"
)

// realName is the link to the runsc that does the work.
const realName = "real"

// fatalStatus is what runsc exits with when a command fails.
const fatalStatus = 128

// pollPause is how often a command that hangs looks whether it may go on.
const pollPause = 5 * time.Millisecond

// command is one run of runsc.
type command struct {
	dir    string
	call   script.Call
	faults []script.Fault
}

func main() {
	self, err := filepath.Abs(os.Args[0])
	if err != nil {
		fatal(err)
	}
	c := &command{dir: filepath.Dir(self)}
	verb := verbOf(os.Args[1:])
	if verb == "" { // as with --version
		fatal(c.become())
	}
	c.call = script.Call{PID: os.Getpid(), Verb: verb, Container: idOf(os.Args[1:]), Args: os.Args[1:]}
	if c.faults, err = script.Begin(c.dir, c.call); err != nil {
		fatal(err)
	}
	c.at(script.Before)
	if !slices.ContainsFunc(c.faults, func(f script.Fault) bool { return f.At == script.After }) {
		fatal(c.become())
	}
	status, err := c.run()
	if err != nil {
		fatal(err)
	}
	c.at(script.After)
	c.exit(status)
}

// verbOf returns the first of the verbs that the shim uses.
func verbOf(args []string) string {
	verbs := []string{
		"create", "start", "exec", "wait", "kill", "ps", "events", "pause", "resume", "update", "delete", "state",
		"features", "port-forward",
	}
	if i := slices.IndexFunc(args, func(a string) bool { return slices.Contains(verbs, a) }); i >= 0 {
		return args[i]
	}
	return ""
}

// idOf returns the container's id: the shim ends each with a character that nothing else
// that it hands to runsc ends with.
func idOf(args []string) string {
	if i := slices.IndexFunc(args, func(a string) bool { return script.PlainID(a) != a }); i >= 0 {
		return args[i]
	}
	return ""
}

func (c *command) real() string { return filepath.Join(c.dir, realName) }

// become makes this process the real runsc.
func (c *command) become() error {
	return fmt.Errorf("exec %s: %w", c.real(), unix.Exec(c.real(), os.Args, os.Environ()))
}

// run runs the real runsc and returns its status. It dies with this process, as it would
// if it was this process.
func (c *command) run() (int, error) {
	cmd := exec.Command(c.real())
	cmd.Args = os.Args
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: unix.SIGKILL}
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return 0, err
	}
	return cmd.ProcessState.ExitCode(), nil
}

// at lets the faults of a step happen.
func (c *command) at(step script.Step) {
	for _, f := range c.faults {
		if f.At != step {
			continue
		}
		switch f.Do {
		case script.Fail:
			fmt.Fprintln(os.Stderr, f.Message)
			c.exit(fatalStatus)
		case script.Exit:
			c.exit(f.Status)
		case script.Print:
			fmt.Print(f.Output)
			c.exit(f.Status)
		case script.Die:
			_ = unix.Kill(os.Getpid(), unix.SIGKILL)
			select {} // until the signal arrives
		case script.Hang:
			if err := script.Hanging(c.dir, c.call); err != nil {
				fatal(err)
			}
			await(f.Until)
		case script.Slow:
			time.Sleep(f.For)
		default:
			fatal(fmt.Errorf("script: unknown action %q", f.Do))
		}
	}
}

// await waits until a file exists, or with "" for ever.
func await(path string) {
	for {
		if _, err := os.Lstat(path); path != "" && err == nil {
			return
		}
		time.Sleep(pollPause)
	}
}

func (c *command) exit(status int) {
	c.call.Status = status
	if err := script.End(c.dir, c.call); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	os.Exit(status)
}

func fatal(err error) {
	fmt.Fprintln(os.Stderr, "around:", err)
	os.Exit(fatalStatus)
}
