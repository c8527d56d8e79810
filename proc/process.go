package proc

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	"github.com/containerd/log"
)

// process is what an init and an exec have in common: a state, an exit, those
// who wait for it, the streams, and the record on disk.
type process struct {
	execID string
	stdio  Stdio
	record recorder
	report func(Event)

	// saving is held while the record is written, and taken before mu.
	saving sync.Mutex
	// unrecorded is set, under saving, when the record is removed for good.
	unrecorded bool

	mu    sync.Mutex
	state State
	// op is the operation under way, or nil.
	op *operation
	// cut is the start that went on when the process was forced to exit, or nil.
	cut     *operation
	pid     int
	started time.Time
	exit    Exit
	// last is the exit that is being made final, or nil. From then on there is
	// no other.
	last *Exit
	// done is closed when the process is stopped or deleted.
	done chan struct{}
	// stream are the open streams, or nil.
	stream *streams
	// stdinClosed remembers a CloseStdin that came before the streams.
	stdinClosed bool
	// killAsked is set when a caller has had the process killed.
	killAsked bool
	// dying is set when somebody sees to it that the process ends, thawed when its sandbox
	// was resumed for that.
	dying, thawed bool
}

func newProcess(execID string, stdio Stdio, record recorder, report func(Event)) *process {
	return &process{
		execID: execID,
		stdio:  stdio,
		record: record,
		report: report,
		exit:   Exit{Status: UnknownStatus},
		done:   make(chan struct{}),
	}
}

// name is how errors call the process.
func (p *process) name() string {
	if p.execID == "" {
		return "init of " + p.record.container
	}
	return "exec " + p.execID + " of " + p.record.container
}

// status answers from memory.
func (p *process) status() Status {
	p.mu.Lock()
	defer p.mu.Unlock()
	return Status{ExecID: p.execID, State: p.state, PID: p.pid, Stdio: p.stdio, Exit: p.exit}
}

// wait waits until the process has ended, or was deleted, or ctx ends.
func (p *process) wait(ctx context.Context) error {
	select {
	case <-p.done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait for %s: %w", p.name(), ctx.Err())
	}
}

// begin reserves the process for an operation that is allowed in these states. The
// operation's context ends when the process is forced to exit; it does not end with
// the caller's, because an operation that is half done helps nobody.
func (p *process) begin(ctx context.Context, verb verb, allowed ...State) (*operation, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.op != nil {
		return nil, fmt.Errorf("%s %s: a %s is under way: %w", verb, p.name(), p.op.verb, errdefs.ErrFailedPrecondition)
	}
	if p.state == Deleted {
		return nil, fmt.Errorf("%s %s: it is deleted: %w", verb, p.name(), errdefs.ErrNotFound)
	}
	if !slices.Contains(allowed, p.state) {
		return nil, fmt.Errorf("%s %s: it is %s: %w", verb, p.name(), p.state, errdefs.ErrFailedPrecondition)
	}
	op := &operation{verb: verb, over: make(chan struct{})}
	op.ctx, op.cancel = context.WithTimeout(context.WithoutCancel(ctx), verb.bound())
	p.op = op
	return op, nil
}

// operation is something that is being done to a process and excludes others.
type operation struct {
	verb   verb
	ctx    context.Context
	cancel context.CancelFunc
	// over is closed when nothing is done any more that belongs to it.
	over chan struct{}
}

// verb names an operation.
type verb string

const (
	opStart  verb = "start"
	opDelete verb = "delete"
	opPause  verb = "pause"
	opResume verb = "resume"
)

// end ends an operation, once. One that was ended already, because the process was forced
// to exit, ends nothing that came after it.
func (p *process) end(op *operation) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.endLocked(op)
	close(op.over)
}

func (p *process) endLocked(op *operation) {
	op.cancel()
	if p.op == op {
		p.op = nil
	}
}

// startGrace is how long a start may go on whose process was forced to exit. One that is cut
// short leaves the streams with the sandbox, so that a reader waits for their end; and
// containerd, when it starts, kills what it finds created, and waits for that reader before
// it serves anybody.
const startGrace = 5 * time.Second

// cutShortLocked ends the start under way of a process that has ended. A delete goes on: it
// is what ended the process. So do a pause and a resume: they are of the whole sandbox.
func (p *process) cutShortLocked() {
	if op := p.op; op != nil && op.verb == opStart {
		p.op, p.cut = nil, op
		time.AfterFunc(startGrace, op.cancel)
	}
}

// awaitCut waits, within ctx, for a start that was cut short. It acts on the process by its
// id, which may be another's when this one is deleted.
func (p *process) awaitCut(ctx context.Context) {
	p.mu.Lock()
	cut := p.cut
	p.mu.Unlock()
	if cut == nil {
		return
	}
	select {
	case <-cut.over:
	case <-ctx.Done():
	}
}

// setLocked makes a transition of the table.
func (p *process) setLocked(s State) error {
	next, err := p.state.to(s)
	if err != nil {
		return fmt.Errorf("%s: %w", p.name(), err)
	}
	p.state = next
	return nil
}

// run ends a start with success: the process runs in the sandbox pid. It fails if
// the process was forced to exit meanwhile.
func (p *process) run(op *operation, pid int, kind EventKind) error {
	p.mu.Lock()
	p.pid, p.started = pid, time.Now()
	p.mu.Unlock()
	p.saveOrLog()

	p.mu.Lock()
	defer p.mu.Unlock()
	p.endLocked(op)
	if p.last != nil {
		return fmt.Errorf("%s ended while it was started: %w", p.name(), errdefs.ErrFailedPrecondition)
	}
	if err := p.setLocked(Running); err != nil {
		return err
	}
	p.report(Event{Kind: kind, ExecID: p.execID, PID: pid})
	return nil
}

// stop makes the exit final, frees the waiters and, if the process ever ran,
// reports the exit. A process that has ended already stays as it is.
func (p *process) stop(exit Exit) {
	p.stopIf(exit, func() bool { return true })
}

// stopIf is stop for a process of which a condition holds, asked under the lock.
func (p *process) stopIf(exit Exit, holds func() bool) bool {
	p.mu.Lock()
	if _, err := p.state.to(Stopped); err != nil || p.last != nil || !holds() {
		p.mu.Unlock()
		return false
	}
	p.last = &exit
	p.mu.Unlock()
	// On disk first: whoever is told can rely on it.
	p.saveOrLog()

	p.mu.Lock()
	defer p.mu.Unlock()
	ran := p.state != Created
	// A delete may have won while the record was written.
	if p.setLocked(Stopped) != nil {
		return false
	}
	p.cutShortLocked()
	p.exit = exit
	if p.stream != nil {
		p.stream.ended()
	}
	// Reported before those who wait are told, who may report what follows.
	if ran {
		p.report(Event{Kind: EventExited, ExecID: p.execID, PID: p.pid, Exit: exit})
	}
	close(p.done)
	return true
}

// forceExit is the last resort when the runtime cannot say how the process ended.
func (p *process) forceExit(status uint32) {
	p.stop(Exit{Status: status, At: time.Now()})
}

// stopCreated forces a process to exit that was not started, and reports whether
// it did so.
func (p *process) stopCreated() bool {
	return p.stopIf(Exit{Status: killedStatus, At: time.Now()}, func() bool { return p.state == Created })
}

// stopUnstarted forces a process to exit that was not started and now cannot be,
// because its sandbox is gone. One with an operation under way is left to that: it
// may be a start, and a short-lived process has run and ended before the start
// returns; or the delete that ended the sandbox.
func (p *process) stopUnstarted() {
	p.stopIf(Exit{Status: killedStatus, At: time.Now()}, func() bool { return p.state == Created && p.op == nil })
}

// remove ends a delete with success.
func (p *process) remove(op *operation) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.endLocked(op)
	ran := p.state != Created
	if err := p.setLocked(Deleted); err != nil {
		return err
	}
	if !ran {
		// It never ran, and now it never will.
		p.exit = Exit{Status: killedStatus, At: time.Now()}
		close(p.done)
	}
	if p.execID == "" {
		p.report(Event{Kind: EventDeleted, PID: p.pid, Exit: p.exit})
	}
	return nil
}

// saveOrLog is save where the process has already started or ended. A full disk
// must not keep that from being told: what is lost is only what could have been
// told without the shim.
func (p *process) saveOrLog() {
	if err := p.save(); err != nil {
		log.L.WithError(err).Errorf("record of %s", p.name())
	}
}

// dropRecord removes the record for good.
func (p *process) dropRecord() {
	p.saving.Lock()
	defer p.saving.Unlock()
	p.unrecorded = true
	p.record.remove()
}

// save writes the record.
func (p *process) save() error {
	// Each write takes the newest state, so the last one to land has it.
	p.saving.Lock()
	defer p.saving.Unlock()
	if p.unrecorded {
		return nil
	}
	p.mu.Lock()
	rec := Record{
		ID: p.record.container, ExecID: p.execID, Stdio: p.stdio, PID: p.pid,
		State: p.state.String(), StartedAt: p.started, Exit: p.exit,
	}
	if p.state == Created && !p.started.IsZero() {
		// It is about to be seen as what it is.
		rec.State = Running.String()
	}
	if p.last != nil {
		rec.State, rec.Exit = Stopped.String(), *p.last
	}
	p.mu.Unlock()
	return p.record.save(rec)
}

// attach gives the process its open streams. If it has ended meanwhile, they are
// closed again and it fails.
func (p *process) attach(s *streams) error {
	p.mu.Lock()
	ended := p.last != nil || p.state == Stopped || p.state == Deleted
	if !ended {
		p.stream = s
		if p.stdinClosed {
			s.closeStdin()
		}
	}
	p.mu.Unlock()
	if ended {
		s.abandon()
		return fmt.Errorf("%s has ended: %w", p.name(), errdefs.ErrFailedPrecondition)
	}
	return nil
}

// closeStdin ends the process's input; see P11.
func (p *process) closeStdin() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stdinClosed = true
	if p.stream != nil {
		p.stream.closeStdin()
	}
}

// resize sets the size of the terminal; see P10.
func (p *process) resize(width, height uint16) error {
	if !p.stdio.Terminal {
		return fmt.Errorf("resize %s: it has no terminal: %w", p.name(), errdefs.ErrFailedPrecondition)
	}
	s := p.streams()
	if st := p.status().State; st != Running && st != Paused || s == nil {
		return nil
	}
	return s.resize(width, height)
}

// streams returns the open streams, or nil.
func (p *process) streams() *streams {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.stream
}

// awaitReader gives a reader time to come to what the process has written.
func (p *process) awaitReader(ctx context.Context) {
	if s := p.streams(); s != nil {
		s.awaitReader(ctx)
	}
}

// closeStreams closes the streams once what the process wrote is read, or ctx
// ends.
func (p *process) closeStreams(ctx context.Context) {
	p.mu.Lock()
	s := p.stream
	p.stream = nil
	p.mu.Unlock()
	if s != nil {
		s.close(ctx)
	}
}
