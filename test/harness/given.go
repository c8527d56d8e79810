package harness

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Given is an exec whose process is given as a client gives it.
type Given struct {
	*Process
	unread []func()
}

// Given adds such an exec. streams changes what the shim is told of the streams. The
// output is not read before Start has returned, because a start that fails has come
// and gone with its end of a FIFO: whoever opens the other end late waits for ever.
func (k *Task) Given(id string, p *specs.Process, streams func(*Stdio)) (*Given, error) {
	k.e.t.Helper()
	g := &Given{Process: k.exec(ExecOptions{ID: id, Terminal: p.Terminal, Unread: true})}
	for s, path := range map[*Stream]string{g.IO.Out: g.IO.Stdout, g.IO.Err: g.IO.Stderr} {
		if path == "" {
			continue
		}
		f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
		if err != nil {
			k.e.t.Fatal(err)
		}
		k.e.t.Cleanup(func() { _ = f.Close() })
		g.unread = append(g.unread, func() { s.read(f) })
	}
	told := *g.IO
	streams(&told)
	return g, g.Exec(p, &told)
}

// TryStart starts the process and begins to read its output.
func (g *Given) TryStart() error {
	_, err := g.Calls.Start()
	for _, read := range g.unread {
		read()
	}
	return err
}

// ExecID is the exec's id, or "" for init.
func (p *Process) ExecID() string { return p.exec }

// T is the test that the world is of.
func (e *Env) T() testing.TB { return e.t }

// ImageOf is the directory that is mounted as a container's rootfs.
func (e *Env) ImageOf(id string) string { return filepath.Join(e.images(), id) }

// probe is the program of that name, built once.
var probe struct {
	once sync.Once
	err  error
}

// InstallProbe puts the program of test/probe into a directory of a rootfs.
func InstallProbe(t testing.TB, dir string) error {
	t.Helper()
	path := filepath.Join(sharedDir(t), "probe")
	probe.once.Do(func() {
		build := exec.Command("go", "build", "-o", path, "containerd-shim-runsc/test/probe")
		// There is no libc in the rootfs.
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			probe.err = fmt.Errorf("build the probe: %w\n%s", err, out)
		}
	})
	if probe.err != nil {
		return probe.err
	}
	return os.Link(path, filepath.Join(dir, "probe"))
}
