package harness

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	taskapi "github.com/containerd/containerd/api/runtime/task/v2"
	"github.com/containerd/containerd/api/types/runtimeoptions/v1"
	"github.com/containerd/ttrpc"
	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
)

// Shim is a serving shim process that a test is connected to.
type Shim struct {
	e       *Env
	Address string
	// Version is that of the task API, as the shim announced it.
	Version int
	PID     int
	client  *ttrpc.Client
	// asked is set when the shim was asked to end, and may be about to.
	asked bool
}

// Options are the runtime options of every start and create.
func (e *Env) Options() *anypb.Any {
	config := fmt.Sprintf("binary_name = %q\nroot = %q\n", e.binary, e.Root())
	if c := os.Getenv("SHIM_TEST_CONTROL"); c != "" && !strings.Contains(e.Config, "control") {
		config += fmt.Sprintf("control = %q\n", c)
	}
	config += e.Config + "\n[runsc_config]\n" + e.Flags + "\n"
	b, err := proto.Marshal(&runtimeoptions.Options{
		TypeUrl:    "io.containerd.runsc.v1.options",
		ConfigBody: []byte(config),
	})
	if err != nil {
		e.t.Fatal(err)
	}
	return &anypb.Any{TypeUrl: "runtimeoptions.v1.Options", Value: b}
}

// command is the shim's binary as containerd runs it.
func (e *Env) command(ctx context.Context, g *Generation, id string, args ...string) *exec.Cmd {
	global := []string{
		"-namespace", e.Namespace, "-address", e.Address(), "-publish-binary", "/bin/false", "-id", id,
	}
	cmd := exec.CommandContext(ctx, Tool(e.t, shimName), append(global, args...)...)
	cmd.Dir = e.BundleOf(id)
	cmd.Env = append(os.Environ(), "GOMAXPROCS=2", "TMPDIR="+e.tmp())
	if !e.NoSink {
		cmd.Env = append(cmd.Env, "TTRPC_ADDRESS="+e.Address()+".ttrpc")
	}
	if g != nil {
		cmd.Env = append(cmd.Env, g.env(e)...)
	}
	return cmd
}

// StartAction runs the shim's action start for a bundle that exists, and returns
// what it printed. containerd reads both outputs together.
func (e *Env) StartAction(g *Generation, id string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), Patience)
	defer cancel()
	stdin, err := g.stdin(e, id, e.Options())
	if err != nil {
		return nil, err
	}
	cmd := e.command(ctx, g, id, "start")
	cmd.Stdin = bytes.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("start: %w: %s", err, out)
	}
	return out, nil
}

// DeleteAction runs the shim's action delete and returns its answer and how long
// it took.
func (e *Env) DeleteAction(id string) (*taskapi.DeleteResponse, time.Duration, error) {
	_, wait := e.BeginDelete(id)
	return wait()
}

// BeginDelete begins the shim's action delete and returns its pid, 0 if it cannot, and what
// waits for its answer, and says how long it took.
func (e *Env) BeginDelete(id string) (pid int, wait func() (*taskapi.DeleteResponse, time.Duration, error)) {
	ctx, cancel := context.WithTimeout(context.Background(), Patience)
	cmd := e.command(ctx, Containerd24(), id, "-bundle", e.BundleOf(id), "delete")
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	began := time.Now()
	err := cmd.Start()
	if err == nil {
		pid = cmd.Process.Pid
	}
	return pid, func() (*taskapi.DeleteResponse, time.Duration, error) {
		defer cancel()
		if err == nil {
			err = cmd.Wait()
		}
		took := time.Since(began)
		if err != nil {
			return nil, took, fmt.Errorf("delete: %w: %s", err, stderr.String())
		}
		var resp taskapi.DeleteResponse
		if err := proto.Unmarshal(stdout.Bytes(), &resp); err != nil {
			return nil, took, fmt.Errorf("delete answered %q: %w", stdout.Bytes(), err)
		}
		return &resp, took, nil
	}
}

// openLog makes the FIFO that containerd reads a shim's log from.
func (e *Env) openLog(bundle string) error {
	path := filepath.Join(bundle, "log")
	if err := unix.Mkfifo(path, 0o700); err != nil && !errors.Is(err, unix.EEXIST) {
		return err
	}
	// Open for both, it has no end when a shim ends.
	f, err := os.OpenFile(path, os.O_RDWR|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	e.log.read(f)
	return nil
}

// startShim does what containerd does for a new container.
func (e *Env) startShim(g *Generation, id string) *Shim {
	e.t.Helper()
	if err := e.openLog(e.BundleOf(id)); err != nil {
		e.t.Fatal(err)
	}
	out, err := e.StartAction(g, id)
	if err != nil {
		e.t.Fatal(err)
	}
	address, version, err := g.Parse(out)
	if err != nil {
		e.t.Fatal(err)
	}
	return e.Connect(address, version)
}

// Connect connects to a shim, or returns the connection that there is.
func (e *Env) Connect(address string, version int) *Shim {
	e.t.Helper()
	s, err := e.TryConnect(address, version)
	if err != nil {
		e.t.Fatalf("connect to the shim: %v", err)
	}
	return s
}

// TryConnect is Connect for those who expect an error.
func (e *Env) TryConnect(address string, version int) (*Shim, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if s := e.shims[address]; s != nil && s.Alive() {
		return s, nil
	}
	conn, err := net.Dial("unix", strings.TrimPrefix(address, "unix://"))
	if err != nil {
		return nil, err
	}
	s := &Shim{e: e, Address: address, Version: version, client: ttrpc.NewClient(conn)}
	resp, err := s.calls("").Connect()
	if err != nil {
		return nil, errors.Join(err, s.client.Close())
	}
	s.PID = int(resp.ShimPid)
	e.shims[address] = s
	return s, nil
}

// Alive reports whether the shim process runs.
func (s *Shim) Alive() bool {
	return processRuns(s.PID)
}

// Kill kills the shim process and waits until it is gone.
func (s *Shim) Kill() {
	s.e.t.Helper()
	s.e.killed = true
	if err := unix.Kill(s.PID, unix.SIGKILL); err != nil {
		s.e.t.Fatalf("kill the shim: %v", err)
	}
	WaitProcess(s.e.t, s.PID)
}

// Shutdown asks the shim to end, which it does if it has no task.
func (s *Shim) Shutdown() error {
	s.asked = true
	return s.calls("").Shutdown()
}

// end ends the shim after a test.
func (s *Shim) end() {
	if !s.Alive() {
		_ = s.client.Close()
		return
	}
	asked := s.asked
	err := s.Shutdown()
	// As containerd does; a shim waits for its clients to go.
	_ = s.client.Close()
	if err != nil && !asked {
		s.e.t.Errorf("shut the shim down: %v", err)
		return
	}
	if !s.e.t.Failed() {
		WaitProcess(s.e.t, s.PID)
	}
}

// Stacks asks the shim for the stacks of its goroutines, which it writes to its log
// at SIGUSR1.
func (s *Shim) Stacks(t testing.TB) string {
	t.Helper()
	const head = "stacks of all goroutines"
	before := strings.Count(s.e.log.String(), head)
	if err := unix.Kill(s.PID, unix.SIGUSR1); err != nil {
		t.Fatal(err)
	}
	var out string
	Eventually(t, "the shim logs its stacks", func() bool {
		log := s.e.log.String()
		at := strings.LastIndex(log, head)
		// The log writes them on one line.
		if strings.Count(log, head) == before || !strings.HasSuffix(log, "\n") {
			return false
		}
		out = log[at:]
		return true
	})
	return out
}

// Reconnect drops the connection and makes a new one, as a containerd that starts
// again does.
func (s *Shim) Reconnect() {
	s.e.t.Helper()
	_ = s.client.Close()
	conn, err := net.Dial("unix", strings.TrimPrefix(s.Address, "unix://"))
	if err != nil {
		s.e.t.Fatalf("connect to the shim again: %v", err)
	}
	s.client = ttrpc.NewClient(conn)
}

// Action runs the shim with other arguments than start's and delete's, in no
// bundle.
func (e *Env) Action(stdin io.Reader, args ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), Patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, Tool(e.t, shimName), args...)
	cmd.Dir, cmd.Stdin = e.Dir, stdin
	out, err := cmd.Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		err = fmt.Errorf("%v: %w: %s", args, err, exit.Stderr)
	}
	return out, err
}

// AwaitLog waits until the shims' log has a text.
func (e *Env) AwaitLog(text string) {
	e.t.Helper()
	e.log.Until(e.t, text)
}

// Logged returns the lines of the shims' log so far that have all of these texts.
func (e *Env) Logged(texts ...string) []string {
	var found []string
	for line := range strings.Lines(e.log.String()) {
		if !slices.ContainsFunc(texts, func(text string) bool { return !strings.Contains(line, text) }) {
			found = append(found, line)
		}
	}
	return found
}
