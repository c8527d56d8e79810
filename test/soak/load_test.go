package soak

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
	"k8s.io/client-go/tools/remotecommand"
	"k8s.io/client-go/util/exec"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// deed is something that is done to a sandbox which lives all the time.
type deed struct {
	name string
	do   func(l *lived, ctx context.Context, n int) error
	// cold is set for what locks the sandbox itself.
	cold bool
}

// deeds are as often as they are here. A container without a pod gets only the last of
// them: the CRI does not know it.
func (l *lived) deeds() []deed {
	all := []deed{
		{"execs of the CRI", (*lived).execs, false},
		{"execs of the CRI", (*lived).execs, false},
		{"execs with stdin", (*lived).execsWithStdin, false},
		{"execs at a terminal", (*lived).execsAtTerminal, false},
		{"probes that time out", (*lived).probes, false},
		{"clients that attach", (*lived).attaches, false},
		{"updates", (*lived).updates, false},
		{"containers that crash in a pod that lives on", (*lived).hosts, false},
		{"execs of containerd's API", (*lived).execsByAPI, false},
		{"execs of containerd's API that are killed", (*lived).killsJobs, false},
		{"pids and statistics", (*lived).looks, false},
		{"pids and statistics", (*lived).looks, false},
		{"pauses", (*lived).pauses, true},
	}
	if l.pod == nil {
		return all[8:]
	}
	return all
}

// busy does things to the sandbox until the context ends.
func (l *lived) busy(ctx context.Context, worker int) {
	random := l.w.random(worker)
	for l.w.turn(ctx, func(ctx context.Context) {
		d := l.deeds()[random.IntN(len(l.deeds()))]
		if err := l.do(ctx, d, random.IntN(2000)); err != nil {
			l.w.fail(l.id, fmt.Errorf("%s (%s), %s: %w", l.name, l.id, d.name, err))
		}
	}) {
	}
}

func (l *lived) do(ctx context.Context, d deed, n int) error {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	if !d.cold {
		l.warm.RLock()
		defer l.warm.RUnlock()
	}
	if err := d.do(l, ctx, n); err != nil && !errors.Is(err, errInterrupted) {
		return err
	}
	l.w.tally.add(d.name, 1)
	return nil
}

func (l *lived) execs(ctx context.Context, n int) error {
	status := int32(n % 200)
	return l.w.unless(ctx, func(ctx context.Context) error {
		stdout, stderr, got, err := l.main.Exec(ctx, "sh", "-c", fmt.Sprintf("echo out %d; echo err >&2; exit %d", n, status))
		if err == nil && (stdout != fmt.Sprintf("out %d\n", n) || stderr != "err\n" || got != status) {
			err = fmt.Errorf("an exec writes %q and %q and ends with %d, want %d and %d", stdout, stderr, got, n, status)
		}
		return err
	})
}

func (l *lived) execsWithStdin(ctx context.Context, n int) error {
	in := strings.Repeat("0123456789abcdef", 16*n)
	return l.w.unless(ctx, func(ctx context.Context) error {
		var out strings.Builder
		err := l.main.ExecStream(ctx, remotecommand.StreamOptions{Stdin: strings.NewReader(in), Stdout: &out, Stderr: io.Discard},
			"sh", "-c", "cat; exit 5")
		if err := endedWith(err, 5); err != nil {
			return err
		}
		if out.String() != in {
			return fmt.Errorf("%d bytes went in, %d came back", len(in), out.Len())
		}
		return nil
	})
}

// endedWith checks the error of an exec with streams that is to end with a status.
func endedWith(err error, status int) error {
	var ended exec.CodeExitError
	if !errors.As(err, &ended) || ended.Code != status {
		return fmt.Errorf("an exec with streams ended with %w, want status %d", err, status)
	}
	return nil
}

func (l *lived) execsAtTerminal(ctx context.Context, n int) error {
	return l.w.unless(ctx, func(ctx context.Context) error {
		in, typed := io.Pipe()
		// It is still open when the process ends, as a person's is.
		defer func() { _ = typed.Close() }()
		go func() { _, _ = fmt.Fprintln(typed, "word", n) }()
		var out strings.Builder
		err := l.main.ExecStream(ctx, remotecommand.StreamOptions{Stdin: in, Stdout: &out, Tty: true},
			"sh", "-c", "stty -echo; read line; echo got $line; exit 6")
		if err := endedWith(err, 6); err != nil {
			return err
		}
		if want := fmt.Sprintf("got word %d\r\n", n); !strings.HasSuffix(out.String(), want) {
			return fmt.Errorf("an exec at a terminal writes %q, want %q", out.String(), want)
		}
		return nil
	})
}

// probes: an exec that takes longer than it may is ended.
func (l *lived) probes(ctx context.Context, _ int) error {
	return l.w.unless(ctx, func(ctx context.Context) error {
		_, err := l.w.node.Runtime.ExecSync(ctx, &runtimeapi.ExecSyncRequest{
			ContainerId: l.main.ID, Cmd: []string{"sleep", "1000"}, Timeout: 1})
		if err == nil || !strings.Contains(err.Error(), "timeout") {
			return fmt.Errorf("an exec that takes too long: %w", err)
		}
		return nil
	})
}

// screen is where a client's output goes.
type screen struct {
	mu   sync.Mutex
	text strings.Builder
}

func (s *screen) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(b)
}

func (s *screen) has(text string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Contains(s.text.String(), text)
}

// attaches: a client attaches, is answered, and leaves.
func (l *lived) attaches(ctx context.Context, n int) error {
	return l.w.unless(ctx, func(ctx context.Context) error {
		attached, leave := context.WithCancel(ctx)
		defer leave()
		in, typed := io.Pipe()
		defer func() { _ = typed.Close() }()
		var out screen
		left := make(chan error, 1)
		go func() {
			left <- l.attended.Attach(attached, remotecommand.StreamOptions{Stdin: in, Stdout: &out, Stderr: io.Discard})
		}()
		word := l.unique(fmt.Sprintf("word%d-", n))
		for !out.has("got " + word) {
			// The first ones may be answered before containerd lets the client see it.
			go func() { _, _ = fmt.Fprintln(typed, word) }()
			select {
			case err := <-left:
				return fmt.Errorf("a client that is attached to %s ends: %w", l.attended.where(), err)
			case <-time.After(20 * time.Millisecond):
			}
		}
		leave()
		if err := <-left; !errors.Is(err, context.Canceled) {
			return fmt.Errorf("a client that has left %s: %w", l.attended.where(), err)
		}
		return nil
	})
}

func (l *lived) updates(ctx context.Context, n int) error {
	return l.w.insist(ctx, func(ctx context.Context) error {
		return l.main.Update(ctx, &runtimeapi.LinuxContainerResources{CpuShares: int64(512 + n)})
	})
}

// hosts: a container comes and goes in a pod that lives on.
func (l *lived) hosts(ctx context.Context, n int) error {
	status := n%200 + 1
	g, err := l.w.run(ctx, l.pod, l.config(l.unique("crash"), writer(n, status)))
	if err != nil {
		return err
	}
	if err := g.ends(ctx, int32(status), n, failed); err != nil {
		return err
	}
	return g.remove(ctx)
}

func (l *lived) execsByAPI(ctx context.Context, n int) error {
	status := n % 200
	j, err := l.w.startJob(ctx, l.name, l.target(), false, n%2 == 0, script(writer(n, status))...)
	if err != nil {
		return err
	}
	_, err = j.ends(ctx, uint32(status), whole(n))
	return err
}

func (l *lived) killsJobs(ctx context.Context, n int) error {
	j, err := l.w.startJob(ctx, l.name, l.target(), n%3 == 0, n%2 == 0, "sleep", "1000")
	if err != nil {
		return err
	}
	if err := j.kill(ctx, unix.SIGKILL); err != nil {
		return fmt.Errorf("%s: kill exec %s: %w", l.name, j.id, err)
	}
	_, err = j.ends(ctx, 137, "")
	return err
}

// looks asks for what people and kubelets ask for all the time.
func (l *lived) looks(ctx context.Context, _ int) error {
	return l.w.insist(ctx, func(ctx context.Context) error {
		_, task, err := l.w.task(ctx, l.target())
		if err != nil {
			return err
		}
		list, err := task.Pids(ctx)
		if err != nil || len(list) == 0 {
			return fmt.Errorf("pids: %v, %w", list, err)
		}
		if _, err := task.Metrics(ctx); err != nil {
			return err
		}
		if l.pod == nil {
			return nil
		}
		stats, err := l.main.Stats(ctx)
		if err != nil || stats.GetMemory().GetUsageBytes().GetValue() == 0 {
			return fmt.Errorf("statistics of %s: %v, %w", l.main.where(), stats, err)
		}
		_, err = l.pod.Stats(ctx)
		return err
	})
}
