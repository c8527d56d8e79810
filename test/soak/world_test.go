package soak

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"containerd-shim-runsc/test/node"
)

// callTime bounds each thing that is done: it is reached only when something hangs.
const callTime = 2 * time.Minute

// errInterrupted is what comes of something that containerd did not answer because it
// ended.
var errInterrupted = errors.New("containerd ended in the middle of it")

// world is what all that happens in one soak shares.
type world struct {
	t    *testing.T
	node *node.Node
	seed uint64
	eras *eras
	// era is how long containerd lives, give or take a third.
	era time.Duration
	// work is held for reading by each thing that is done, so that who locks it has quiet.
	work sync.RWMutex
	// place is held for reading by who looks at the node itself, and locked when its
	// containerd changes.
	place sync.RWMutex
	// clearing is locked by who makes way for a snapshot.
	clearing sync.Mutex
	tally    tally
	// failed ends the load: each worker after what it is at.
	failed atomic.Bool
	jobs   atomic.Int64
}

func newWorld(t *testing.T, seed uint64) *world {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), callTime)
	defer cancel()
	n, err := node.Start(ctx, node.Options{})
	check(t, err)
	w := &world{t: t, node: n, seed: seed, eras: newEras(), era: duration(t, "SOAK_ERA", eraTime)}
	t.Cleanup(w.close)
	check(t, os.MkdirAll(w.path("log"), 0o700))
	check(t, n.WriteShimConfig(fmt.Sprintf("log_path = '%s'\nkubelet_root = '%s'\n", w.logOf("%ID%"), n.KubeletRoot())))
	check(t, n.Pull(ctx, node.BusyboxImage))
	return w
}

// close ends the node, of which all pods were removed.
func (w *world) close() {
	if keepLog() || w.t.Failed() {
		kept := w.node.Dir() + ".shims"
		fmt.Fprintln(w.t.Output(), "the logs are in", kept)
		log, err := os.ReadFile(w.node.LogPath())
		if err = errors.Join(err, os.CopyFS(kept, os.DirFS(w.path("log"))),
			os.WriteFile(filepath.Join(kept, "containerd.log"), log, 0o600)); err != nil {
			w.t.Error(err)
		}
	}
	if err := w.node.Close(); err != nil {
		w.t.Error(err)
	}
}

func keepLog() bool { return os.Getenv("KEEP_LOG") != "" }

// path is a place for the test's own files.
func (w *world) path(parts ...string) string {
	return filepath.Join(append([]string{w.node.Dir(), "t"}, parts...)...)
}

// logOf is the log of the shim that was started for a pod or a container.
func (w *world) logOf(id string) string { return w.path("log", id+".log") }

// random returns a source of random numbers for one worker.
func (w *world) random(worker int) *rand.Rand {
	return rand.New(rand.NewPCG(w.seed, uint64(worker)))
}

// fail notes that something is wrong with a pod, and ends the load. The shim's stacks are
// in its log then, which is kept.
func (w *world) fail(sandbox string, err error) {
	w.failed.Store(true)
	w.place.RLock()
	defer w.place.RUnlock()
	if pid, err := w.node.ShimOf(sandbox); err == nil {
		_ = unix.Kill(pid, unix.SIGUSR1)
	}
	w.t.Errorf("%s: %v\nthe shim of %s says:\n%s", time.Now().Format(time.RFC3339Nano), err, sandbox, w.warnings(sandbox))
}

// warnings returns what a shim's log has for people, the last of it.
func (w *world) warnings(id string) string {
	text, err := os.ReadFile(w.logOf(id))
	if errors.Is(err, fs.ErrNotExist) {
		return "nothing"
	}
	lines := slices.DeleteFunc(strings.Split(string(text), "\n"), func(line string) bool {
		return strings.Contains(line, "stacks of all goroutines")
	})
	return strings.Join(lines[max(0, len(lines)-20):], "\n")
}

// once does something, and tells whether containerd was there all the while, so that the
// outcome is to be relied on.
func (w *world) once(ctx context.Context, do func(context.Context) error) (sure bool, err error) {
	era, err := w.eras.now(ctx)
	if err != nil {
		return true, err
	}
	err = do(ctx)
	return w.eras.still(era), err
}

// insist does something that may be done again, until containerd has answered it.
func (w *world) insist(ctx context.Context, do func(context.Context) error) error {
	for {
		if sure, err := w.once(ctx, do); sure || err == nil {
			return err
		}
	}
}

// unless does something of which the outcome counts only if containerd was there all the
// while.
func (w *world) unless(ctx context.Context, do func(context.Context) error) error {
	sure, err := w.once(ctx, do)
	if !sure {
		w.tally.add("interrupted", 1)
		return nil
	}
	return err
}

// remains is what is left of things at the moment, by words in their names.
func (w *world) remains(words ...string) []string {
	w.place.RLock()
	defer w.place.RUnlock()
	return slices.DeleteFunc(w.node.Remains(words...), func(what string) bool {
		return w.halfRemoved(what) || w.forgotten(what)
	})
}

// forgotten tells whether something is the network namespace of a pod that containerd was
// making when it ended: it mounts it, and writes down that it did. No shim was told of it
// by then. At most as many are excused as there were such pods; they are removed here.
func (w *world) forgotten(what string) bool {
	path, is := strings.CutPrefix(what, "mount ")
	if !is || !strings.HasPrefix(filepath.Base(path), "cni-") || w.tally.of(forgottenNetworks) >= w.tally.of(interruptedPods) {
		return false
	}
	specs, _ := filepath.Glob(filepath.Join(w.node.Bundle("*"), "config.json"))
	for _, spec := range specs {
		if text, err := os.ReadFile(spec); err != nil || strings.Contains(string(text), path) {
			return false
		}
	}
	w.tally.add(forgottenNetworks, 1)
	return errors.Join(unix.Unmount(path, unix.MNT_DETACH), os.Remove(path)) == nil
}

const (
	interruptedPods   = "pods that containerd was making when it ended"
	forgottenNetworks = "network namespaces that containerd forgot when it ended"
)

// halfRemoved tells whether something is a bundle that containerd was removing when it
// ended: it gives it another name first, and never looks at it again. That is removed here,
// unless something is mounted in it.
func (w *world) halfRemoved(what string) bool {
	path, is := strings.CutPrefix(what, "bundle ")
	if !is || !strings.HasPrefix(filepath.Base(path), ".") || len(w.eras.all()) == 0 ||
		slices.ContainsFunc(w.node.Mounts(), func(at string) bool { return strings.HasPrefix(at, path+"/") }) {
		return false
	}
	w.tally.add("bundles that containerd left half removed when it ended", 1)
	return os.RemoveAll(path) == nil
}

// turn has a worker do one thing, unless it is to end.
func (w *world) turn(ctx context.Context, do func(context.Context)) bool {
	w.work.RLock()
	defer w.work.RUnlock()
	if ctx.Err() != nil || w.failed.Load() {
		return false
	}
	do(context.WithoutCancel(ctx))
	return true
}

// gone waits until nothing is left of something.
func (w *world) gone(ctx context.Context, what string, words ...string) error {
	return w.node.Until(ctx, "nothing is left of "+what, func(context.Context) (bool, string) {
		left := w.remains(words...)
		return len(left) == 0, strings.Join(left, "\n")
	})
}

// podConfig is what a kubelet says of a plain pod.
func (w *world) podConfig(name string) *runtimeapi.PodSandboxConfig {
	config := w.node.PodConfig(name)
	config.Linux.SecurityContext.NamespaceOptions.Pid = runtimeapi.NamespaceMode_CONTAINER
	return config
}

// containerConfig is what a kubelet says of a container with a script.
func containerConfig(name, script string) *runtimeapi.ContainerConfig {
	config := node.ContainerConfig(name, "sh", "-c", script)
	config.Linux.SecurityContext.NamespaceOptions.Pid = runtimeapi.NamespaceMode_CONTAINER
	return config
}

// tally counts what was done.
type tally struct {
	mu     sync.Mutex
	counts map[string]int
}

func (y *tally) add(what string, n int) {
	y.mu.Lock()
	defer y.mu.Unlock()
	if y.counts == nil {
		y.counts = map[string]int{}
	}
	y.counts[what] += n
}

func (y *tally) of(what string) int {
	y.mu.Lock()
	defer y.mu.Unlock()
	return y.counts[what]
}

func (y *tally) String() string {
	y.mu.Lock()
	defer y.mu.Unlock()
	var lines []string
	for what, n := range y.counts {
		lines = append(lines, fmt.Sprintf("  %7d  %s", n, what))
	}
	slices.SortFunc(lines, func(a, b string) int { return strings.Compare(a[9:], b[9:]) })
	return strings.Join(lines, "\n")
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// atOnce does several things at once, and waits for all.
func atOnce(do ...func() error) error {
	errs := make([]error, len(do))
	var all sync.WaitGroup
	for i, f := range do {
		all.Go(func() { errs[i] = f() })
	}
	all.Wait()
	return errors.Join(errs...)
}
