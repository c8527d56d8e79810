package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"containerd-shim-runsc/test/fakerunsc/script"
)

// fatalStatus is what runsc exits with when a command fails: a status that a
// process is unlikely to have.
const fatalStatus = 128

// command is one run of the fake.
type command struct {
	// dir is where the script is.
	dir  string
	root string
	log  string
	verb string
	// flags are those of the verb, args what follows them.
	flags  map[string]string
	args   []string
	call   script.Call
	faults []script.Fault
}

func main() {
	if filepath.Base(os.Args[0]) == sandboxName {
		os.Exit(runSandbox(os.Args[1:]))
	}
	c, err := parseCommand(os.Args)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	c.run()
}

// verbs are what a command can do. What they return becomes its exit status.
func verbs() map[string]func(*command) (int, error) {
	return map[string]func(*command) (int, error){
		"create":   (*command).create,
		"start":    (*command).start,
		"exec":     (*command).exec,
		"wait":     (*command).wait,
		"kill":     (*command).kill,
		"ps":       (*command).ps,
		"events":   (*command).events,
		"pause":    (*command).pause,
		"resume":   (*command).resume,
		"update":   (*command).update,
		"delete":   (*command).delete,
		"state":    (*command).state,
		"features": (*command).features,

		"port-forward": (*command).portForward,
	}
}

// isSwitch tells the flags that take no value of their own.
func isSwitch(name string) bool {
	switch name {
	case "force", "all", "detach", "stats", "debug":
		return true
	default:
		return false
	}
}

func parseCommand(argv []string) (*command, error) {
	self, err := filepath.Abs(argv[0])
	if err != nil {
		return nil, err
	}
	c := &command{dir: filepath.Dir(self)}
	global, rest := takeFlags(argv[1:])
	if _, ok := global["version"]; ok {
		c.verb = "version"
		return c, nil
	}
	c.root, c.log = global["root"], global["log"]
	if len(rest) == 0 {
		return nil, errors.New("usage: runsc <flags> <subcommand>")
	}
	c.verb = rest[0]
	c.flags, c.args = takeFlags(rest[1:])
	if verbs()[c.verb] == nil {
		return nil, fmt.Errorf("unknown subcommand %q", c.verb)
	}
	c.call = script.Call{PID: os.Getpid(), Verb: c.verb, Container: c.id(), Args: argv[1:]}
	return c, nil
}

// takeFlags reads flags up to the first argument that is none.
func takeFlags(args []string) (flags map[string]string, rest []string) {
	flags = map[string]string{}
	for len(args) > 0 && strings.HasPrefix(args[0], "-") && args[0] != "-" {
		name, value, found := strings.Cut(strings.TrimLeft(args[0], "-"), "=")
		args = args[1:]
		if !found && !isSwitch(name) && name != "version" && len(args) > 0 {
			value, args = args[0], args[1:]
		}
		flags[name] = value
	}
	return flags, args
}

// id is the container that the command is about, as it was given.
func (c *command) id() string {
	if len(c.args) == 0 {
		return ""
	}
	return c.args[0]
}

func (c *command) has(flag string) bool {
	_, ok := c.flags[flag]
	return ok
}

// run does the command and exits.
func (c *command) run() {
	if c.verb == "version" {
		fmt.Println("runsc version fake\nspec: 1.1.0-rc.1")
		return
	}
	var err error
	if c.faults, err = script.Begin(c.dir, c.call); err != nil {
		c.fatal(err)
	}
	c.at(script.Before)
	status, err := verbs()[c.verb](c)
	if err != nil {
		c.fatal(err)
	}
	c.at(script.After)
	c.exit(status)
}

// at lets the faults of a step happen.
func (c *command) at(step script.Step) {
	for _, f := range c.faults {
		if f.At != step {
			continue
		}
		switch f.Do {
		case script.Fail:
			c.fatal(errors.New(f.Message))
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
				c.fatal(err)
			}
			await(f.Until)
		case script.Slow:
			time.Sleep(f.For)
		case script.NoSocket, script.Deaf, script.State:
			// What create makes is different.
		default:
			c.fatal(fmt.Errorf("script: unknown action %q", f.Do))
		}
	}
}

// pollPause is how often the fake looks at what it cannot be told about.
const pollPause = 2 * time.Millisecond

// await waits until a file exists, or with "" for ever.
func await(path string) {
	for path == "" || !exists(path) {
		time.Sleep(pollPause)
	}
}

// fault returns the fault of this kind that hits the command, or nil.
func (c *command) fault(do script.Action) *script.Fault {
	i := slices.IndexFunc(c.faults, func(f script.Fault) bool { return f.Do == do })
	if i < 0 {
		return nil
	}
	return &c.faults[i]
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

func (c *command) exit(status int) {
	c.call.Status = status
	if err := script.End(c.dir, c.call); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	os.Exit(status)
}

// fatal says why the command fails where runsc says it: on stderr, and in the log
// as JSON that no line break ends.
func (c *command) fatal(err error) {
	fmt.Fprintln(os.Stderr, err)
	if c.log != "" {
		b, _ := json.Marshal(map[string]any{"msg": err.Error(), "level": "error", "time": time.Now()})
		if f, err := os.OpenFile(c.log, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o644); err == nil {
			_, _ = f.Write(b)
			_ = f.Close()
		}
	}
	c.exit(fatalStatus)
}
