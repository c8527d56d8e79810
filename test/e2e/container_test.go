package e2e

import (
	"context"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	runtimeoptions "github.com/containerd/containerd/api/types/runtimeoptions/v1"
	containerd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/pkg/oci"
	"github.com/containerd/errdefs"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// idOf makes a container's id of the test's name, so that what is left of it can be
// told, and a suffix for tests with several.
func idOf(t *testing.T, suffix ...string) string {
	name := strings.ToLower(strings.TrimPrefix(t.Name(), "Test"))
	name = regexp.MustCompile(`[^a-z0-9]+`).ReplaceAllString(name, "-")
	return strings.Join(append([]string{strings.Trim(name[:min(len(name), 50)], "-")}, suffix...), "-")
}

// options are the runtime options with the private root, and more lines of TOML.
func options(more string) *runtimeoptions.Options {
	return &runtimeoptions.Options{
		TypeUrl:    "io.containerd.runsc.v1.options",
		ConfigBody: []byte(shimConfig(strings.TrimSuffix(suite.runscRoot(), "/"+suite.ns), more)),
	}
}

// oldRunsc tells that the suite runs with Debian's runsc of 2022, which has no update,
// no features and no control socket to reach.
func oldRunsc() bool { return os.Getenv("SHIM_TEST_RUNSC") == "debian" }

// shimConfig is the shim's configuration with a root and more lines of TOML. The suite
// runs with each way to drive a sandbox: SHIM_TEST_CONTROL.
func shimConfig(root, more string) string {
	config := fmt.Sprintf("root = '%s'\n", root)
	if control := os.Getenv("SHIM_TEST_CONTROL"); control != "" && !strings.Contains(more, "control") {
		config += fmt.Sprintf("control = '%s'\n", control)
	}
	return config + more
}

// create makes a container that is removed at the end of the test.
func create(t *testing.T, id string, opts ...oci.SpecOpts) containerd.Container {
	t.Helper()
	return createWith(t, id, options(""), opts...)
}

func createWith(t *testing.T, id string, runtime any, opts ...oci.SpecOpts) containerd.Container {
	t.Helper()
	ctx := bounded(t)
	image := must(suite.client.GetImage(ctx, imageName))(t)
	c, err := suite.client.NewContainer(ctx, id,
		containerd.WithImage(image),
		containerd.WithNewSnapshot(id, image),
		containerd.WithRuntime(runtimeName, runtime),
		containerd.WithNewSpec(append([]oci.SpecOpts{oci.WithImageConfig(image)}, opts...)...))
	if err != nil {
		t.Fatalf("create container %s: %v", id, err)
	}
	cleanup(t, func(ctx context.Context) { removeContainer(ctx, t, c) })
	return c
}

// removeContainer removes a container and its task, in whatever state they are.
func removeContainer(ctx context.Context, t *testing.T, c containerd.Container) {
	t.Helper()
	if task, err := c.Task(ctx, nil); err == nil {
		// What is frozen cannot take the signal.
		if st, err := task.Status(ctx); err == nil && st.Status == containerd.Paused {
			if err := task.Resume(ctx); err != nil {
				t.Errorf("clean up paused task %s: %v", c.ID(), err)
			}
		}
		if _, err := task.Delete(ctx, containerd.WithProcessKill); err != nil && !errdefs.IsNotFound(err) {
			t.Errorf("clean up task %s: %v", c.ID(), err)
		}
	}
	if err := c.Delete(ctx, containerd.WithSnapshotCleanup); err != nil && !errdefs.IsNotFound(err) {
		t.Errorf("clean up container %s: %v", c.ID(), err)
	}
}

// args are the command of a container.
func args(command ...string) oci.SpecOpts { return oci.WithProcessArgs(command...) }

// script is a shell script as the command of a container.
func script(text string) oci.SpecOpts { return args("sh", "-c", text) }

// forever is a command that stays until it is killed.
func forever() oci.SpecOpts { return args("sleep", "1000000") }

// job is a process of a container with its streams: an init or an exec.
type job struct {
	containerd.Process
	t    *testing.T
	io   *streams
	exit <-chan containerd.ExitStatus
}

// task is a job that is an init.
type task struct {
	job
	containerd.Task
}

// newTask creates a container's task and starts nothing.
func newTask(t *testing.T, c containerd.Container, io *streams) *task {
	t.Helper()
	made, err := c.NewTask(bounded(t), io.create)
	if err != nil {
		t.Fatalf("create task %s: %v", c.ID(), err)
	}
	return watch(t, made, io)
}

// watch waits for a task's exit from now on.
func watch(t *testing.T, made containerd.Task, io *streams) *task {
	t.Helper()
	return &task{Task: made, job: job{Process: made, t: t, io: io, exit: must(made.Wait(t.Context()))(t)}}
}

// start creates a task and starts it.
func start(t *testing.T, c containerd.Container, io *streams) *task {
	t.Helper()
	k := newTask(t, c, io)
	if err := k.Start(bounded(t)); err != nil {
		t.Fatalf("start task %s: %v", c.ID(), err)
	}
	return k
}

// run makes a container and starts it.
func run(t *testing.T, id string, opts ...oci.SpecOpts) *task {
	t.Helper()
	return start(t, create(t, id, opts...), newStreams(t))
}

// newExec adds a process to a task and starts nothing.
func (k *task) newExec(io *streams, execID string, command ...string) *job {
	t := k.t
	t.Helper()
	spec := must(k.Spec(bounded(t)))(t)
	p, err := k.Exec(bounded(t), execID, execSpec(spec, io.terminal, command...), io.create)
	if err != nil {
		t.Fatalf("exec %s in %s: %v", execID, k.ID(), err)
	}
	return &job{Process: p, t: t, io: io, exit: must(p.Wait(t.Context()))(t)}
}

func execSpec(spec *oci.Spec, terminal bool, command ...string) *specs.Process {
	process := *spec.Process
	process.Args = command
	process.Terminal = terminal
	return &process
}

// exec starts a process in a task.
func (k *task) exec(execID string, command ...string) *job {
	k.t.Helper()
	return k.execWith(newStreams(k.t), execID, command...)
}

func (k *task) execWith(io *streams, execID string, command ...string) *job {
	k.t.Helper()
	j := k.newExec(io, execID, command...)
	if err := j.Start(bounded(k.t)); err != nil {
		k.t.Fatalf("start exec %s in %s: %v", execID, k.ID(), err)
	}
	return j
}

// status waits for the end of a process and returns its exit status.
func (j *job) status() uint32 {
	j.t.Helper()
	select {
	case exit := <-j.exit:
		if err := exit.Error(); err != nil {
			j.t.Fatalf("wait for %s: %v", j.ID(), err)
		}
		return exit.ExitCode()
	case <-bounded(j.t).Done():
		j.t.Fatalf("%s has not ended within %s", j.ID(), patience)
		return 0
	}
}

// delete deletes a process that has ended and returns the exit status.
func (j *job) delete() uint32 {
	j.t.Helper()
	exit, err := j.Delete(bounded(j.t))
	if err != nil {
		j.t.Fatalf("delete %s: %v", j.ID(), err)
	}
	return exit.ExitCode()
}

// ends waits for the end of a process, deletes it, and checks that both tell the
// wanted exit status.
func (j *job) ends(want uint32) {
	j.t.Helper()
	if got := j.status(); got != want {
		j.t.Errorf("%s ended with %d, want %d; stdout %q, stderr %q", j.ID(), got, want, j.io.out, j.io.err)
	}
	if got := j.delete(); got != want {
		j.t.Errorf("delete of %s says %d, want %d", j.ID(), got, want)
	}
}

// kill sends a signal, which must be taken.
func (j *job) kill(sig unix.Signal, opts ...containerd.KillOpts) {
	j.t.Helper()
	if err := j.Kill(bounded(j.t), sig, opts...); err != nil {
		j.t.Fatalf("kill %s with %s: %v", j.ID(), unix.SignalName(sig), err)
	}
}

// closeStdin ends a process's input. It takes both: a FIFO ends when nobody has it
// open for writing, and the shim has until it is told.
func (j *job) closeStdin() {
	j.t.Helper()
	check(j.t, j.io.stdin.Close())
	check(j.t, j.CloseIO(bounded(j.t), containerd.WithStdinCloser))
}

// state returns what State says of the process.
func (j *job) state() containerd.ProcessStatus {
	j.t.Helper()
	return must(j.Status(bounded(j.t)))(j.t).Status
}

// in is the task as a subtest sees it.
func (k *task) in(t *testing.T) *task {
	inner := *k
	inner.t = t
	return &inner
}
