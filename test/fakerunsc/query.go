package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strconv"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"github.com/opencontainers/runtime-spec/specs-go/features"
	"golang.org/x/sys/unix"

	"containerd-shim-runsc/test/fakerunsc/script"
)

func (c *command) wait() (int, error) {
	k, err := c.loaded()
	if err != nil {
		return 0, err
	}
	req, what := request{Op: opWait}, fmt.Sprintf("waiting on container %q", k.ID)
	if s := c.flags["pid"]; s != "" {
		if req.PID, err = strconv.Atoi(s); err != nil {
			return 0, err
		}
		what = fmt.Sprintf("waiting on PID %d in container %q", req.PID, k.ID)
	}
	var rep reply
	if err := k.ask(req, &rep); err != nil {
		return 0, fmt.Errorf("%s: %w", what, err)
	}
	return 0, printJSON(map[string]any{"id": k.ID, "exitStatus": exitCode(rep.Status)})
}

func (c *command) kill() (int, error) {
	k, err := c.loaded()
	if err != nil {
		return 0, err
	}
	sig := int(unix.SIGTERM)
	if len(c.args) > 1 {
		if sig, err = strconv.Atoi(c.args[1]); err != nil {
			return 0, fmt.Errorf("unknown signal %q", c.args[1])
		}
	}
	req := request{Op: opSignal, Signal: sig, All: c.has("all")}
	if s := c.flags["pid"]; s != "" {
		if req.PID, err = strconv.Atoi(s); err != nil {
			return 0, err
		}
		if err := k.ask(req, &reply{}); err != nil {
			return 0, fmt.Errorf("failed to signal pid %d: %w", req.PID, err)
		}
		return 0, nil
	}
	if err := k.require("signal", running, paused, stopped); err != nil {
		return 0, err
	}
	return 0, k.ask(req, &reply{})
}

func (c *command) ps() (int, error) {
	k, err := c.loaded()
	if err != nil {
		return 0, err
	}
	var rep reply
	if err := k.ask(request{Op: opPS}, &rep); err != nil {
		return 0, fmt.Errorf("getting processes for container: %w", err)
	}
	if rep.PIDs == nil {
		rep.PIDs = []int{}
	}
	return 0, printJSON(rep.PIDs)
}

// events prints what the sandbox knows, and its use of CPU, for which runsc asks the
// cgroup first, of which the fake makes none.
func (c *command) events() (int, error) {
	k, err := c.loaded()
	if err != nil {
		return 0, err
	}
	var rep reply
	if err := k.ask(request{Op: opEvent}, &rep); err != nil {
		return 1, nil //nolint:nilerr // runsc says nothing here either, and fails
	}
	rep.Event.Event.Data["cpu"] = map[string]any{"usage": map[string]any{"total": rep.Event.ContainerUsage[k.ID]}}
	return 0, printJSON(rep.Event.Event)
}

func (c *command) pause() (int, error) {
	return c.freeze("pause", "pausing container", running, paused, opFreeze)
}

func (c *command) resume() (int, error) {
	return c.freeze("resume", "resuming container", paused, running, opThaw)
}

func (c *command) freeze(verb, doing, from, to string, what op) (int, error) {
	k, err := c.loaded()
	if err != nil {
		return 0, err
	}
	unlock, err := k.lock()
	if err != nil {
		return 0, err
	}
	defer unlock()
	if k.Status != from {
		return 0, fmt.Errorf("%s failed: cannot %s container %q in state %v", verb, verb, k.ID, k.Status)
	}
	if err := k.ask(request{Op: what}, &reply{}); err != nil {
		return 0, fmt.Errorf("%s failed: %s: %w", verb, doing, err)
	}
	k.Status = to
	return 0, k.save()
}

// update has no cgroup to change; what it was given can be read in the calls.
func (c *command) update() (int, error) {
	b, err := io.ReadAll(os.Stdin)
	if err != nil {
		return 0, err
	}
	if err := json.Unmarshal(b, &specs.LinuxResources{}); err != nil {
		return 0, fmt.Errorf("reading resources: %w", err)
	}
	c.call.Input = string(b)
	_, err = c.loaded()
	return 0, err
}

func (c *command) state() (int, error) {
	k, err := c.loaded()
	if err != nil {
		return 0, err
	}
	return 0, printJSON(specs.State{
		Version: specs.Version, ID: k.ID, Status: specs.ContainerState(k.Status), Pid: k.Sandbox.PID, Bundle: k.Bundle,
	})
}

func (c *command) features() (int, error) {
	return 0, printJSON(features.Features{
		OCIVersionMin: "1.0.0",
		OCIVersionMax: specs.Version,
		// By this the answer is known to be the fake's.
		Annotations: map[string]string{script.FeatureMark: c.dir},
	})
}

func printJSON(v any) error {
	return json.NewEncoder(os.Stdout).Encode(v)
}
