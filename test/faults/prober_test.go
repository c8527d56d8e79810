package faults

import (
	"context"
	"fmt"
	"sync"
	"time"

	tasktypes "github.com/containerd/containerd/api/types/task"

	"containerd-shim-runsc/test/harness"
)

// prober uses tasks beside the subject all the time, as their clients do: T13.
type prober struct {
	w      *world
	probes []*probe
	stop   context.CancelFunc
	wg     sync.WaitGroup
}

// probe is one such task.
type probe struct {
	task  *harness.Task
	calls int
	// mayDie is set if the fault may end its shim.
	mayDie bool

	mu sync.Mutex
	// full is set if it can be asked for more than its state, off if it is asked for
	// nothing any more.
	full, off bool
	// troubles is what went wrong.
	troubles []string
	longest  time.Duration
}

// pause is how long the prober rests after each round, so that the machine is not kept
// busy by it.
const pause = 150 * time.Millisecond

func newProber(w *world) *prober { return &prober{w: w} }

func (p *prober) add(k *harness.Task, full bool) {
	mayDie := k.ID == rootID && p.w.cell.ends == maybeTheShim
	p.probes = append(p.probes, &probe{task: k, full: full, mayDie: mayDie})
}

// run asks until end is called.
func (p *prober) run() {
	ctx, cancel := context.WithCancel(context.Background())
	p.stop = cancel
	p.w.t.Cleanup(p.end) // if the test has failed before
	for _, probe := range p.probes {
		p.wg.Go(func() {
			for ctx.Err() == nil {
				probe.round()
				select {
				case <-time.After(pause):
				case <-ctx.Done():
				}
			}
		})
	}
}

// once asks everybody once.
func (p *prober) once() {
	for _, probe := range p.probes {
		probe.round()
	}
}

func (p *prober) end() {
	p.stop()
	p.wg.Wait()
}

// onlyState leaves those alone that are in the subject's sandbox, but for their state.
func (p *prober) onlyState() { p.inPod(func(q *probe) { q.full = false }) }

// leave leaves those alone that are in the subject's shim.
func (p *prober) leave() { p.inPod(func(q *probe) { q.off = true }) }

func (p *prober) inPod(change func(*probe)) {
	for _, q := range p.probes {
		if q.task.ID == rootID {
			q.mu.Lock()
			change(q)
			q.mu.Unlock()
		}
	}
}

// check ends the asking and fails the test if anybody has noticed anything.
func (p *prober) check() {
	p.w.t.Helper()
	p.end()
	for _, q := range p.probes {
		for _, trouble := range q.troubles[:min(3, len(q.troubles))] {
			p.w.t.Errorf("%s, which has nothing to do with it, noticed: %s", q.task.ID, trouble)
		}
		p.w.note("%s was asked %d times, which took %s at most", q.task.ID, q.calls, q.longest.Round(time.Millisecond))
	}
}

// round asks for everything once. Trouble counts if the task may be asked that before and
// after.
func (q *probe) round() {
	full, off := q.may()
	if off {
		return
	}
	q.calls++
	q.did("State", func() error {
		st, err := q.task.State()
		if err == nil && full && st.Status != tasktypes.Status_RUNNING {
			err = fmt.Errorf("it is %s", st.Status)
		}
		return err
	}, func() bool { now, off := q.may(); return !off && (now || !full) })
	if !full {
		return
	}
	q.did("an exec's life", func() error { return q.exec(q.calls) },
		func() bool { now, off := q.may(); return now && !off })
}

func (q *probe) may() (full, off bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.full, q.off
}

func (q *probe) did(what string, f func() error, counts func() bool) {
	began := time.Now()
	err := f()
	took := time.Since(began)
	if !counts() || q.died(err) {
		return
	}
	q.longest = max(q.longest, took)
	if err != nil || took > prompt {
		q.troubles = append(q.troubles, fmt.Sprintf("%s took %s: %v", what, took.Round(time.Millisecond), err))
	}
}

// died tells that the task was not answered because the fault has ended its shim, as it may.
// The connection of a process that dies is gone a moment before it is.
func (q *probe) died(err error) bool {
	return q.mayDie && isCut(err) && harness.Holds(prompt, func() bool { return !q.task.Shim.Alive() })
}

// exec runs a process in the task.
func (q *probe) exec(n int) error {
	p := q.task.Beside(fmt.Sprint("probe", n), []string{"/bin/true"})
	if err := p.Add(); err != nil {
		return err
	}
	if _, err := p.Start(); err != nil {
		return err
	}
	resp, err := p.Wait(context.Background())
	if err == nil && resp.ExitStatus != 0 {
		err = fmt.Errorf("it ended with %d", resp.ExitStatus)
	}
	if err != nil {
		return err
	}
	_, err = p.Delete()
	return err
}
