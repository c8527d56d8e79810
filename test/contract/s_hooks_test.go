package contract

import (
	"os"
	"path/filepath"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"containerd-shim-runsc/test/harness"
)

// runsc runs all hooks but those that are to run in the container.
func TestS7_Hooks(t *testing.T) {
	onRunsc(t, func(t *testing.T, e *harness.Env) {
		dir := t.TempDir()
		hook := func(name string) []specs.Hook {
			return []specs.Hook{{Path: "/bin/touch", Args: []string{"touch", filepath.Join(dir, name)}}}
		}
		ran := func(name string) bool {
			_, err := os.Stat(filepath.Join(dir, name))
			return err == nil
		}
		k := e.Running(harness.Container{ID: "web", Edit: func(s *specs.Spec) {
			s.Hooks = &specs.Hooks{
				Prestart:      hook("prestart"), //nolint:staticcheck // deprecated, and in use
				CreateRuntime: hook("createRuntime"), CreateContainer: hook("createContainer"),
				StartContainer: hook("startContainer"), Poststart: hook("poststart"), Poststop: hook("poststop"),
			}
		}})
		e.AwaitLog("startContainer hooks")
		before := []string{"prestart", "createRuntime", "poststart"}
		if !e.Old() {
			before = append(before, "createContainer")
		}
		for _, name := range before {
			if !ran(name) {
				t.Errorf("the hook %s has not run", name)
			}
		}
		if ran("startContainer") || ran("poststop") {
			t.Error("a hook ran that should not have")
		}
		k.Signal(unix.SIGTERM)
		k.Wait()
		k.Delete()
		if !ran("poststop") {
			t.Error("the hook poststop has not run")
		}
	})
}
