package reaper

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"containerd-shim-runsc/utils/safe"
)

// Exit is how a process ended.
type Exit struct {
	// Pid is the process's id in the host's pid namespace.
	Pid int
	// Status is the exit code, or 128 plus the signal that ended the process.
	Status int
	// Signal is the signal that ended the process, or 0 if it exited by itself.
	Signal unix.Signal
	// At is when the process was reaped.
	At time.Time
}

// Reaper reaps all children of the process while Run runs.
type Reaper struct {
	mu sync.Mutex
	// seq counts dispatched exits and holds. It orders an exit against a hold.
	seq uint64
	// watched are the processes that somebody waits for.
	watched map[int]chan Exit
	// holds is how many holds are open.
	holds int
	// kept are unclaimed exits; it is empty while no hold is open.
	kept map[int]keptExit
}

type keptExit struct {
	exit Exit
	seq  uint64
}

// New returns a Reaper. It does nothing until Run is called.
func New() *Reaper {
	return &Reaper{watched: map[int]chan Exit{}, kept: map[int]keptExit{}}
}

// Run reaps children until ctx ends. The process must be their parent or their
// subreaper (prctl PR_SET_CHILD_SUBREAPER).
func (r *Reaper) Run(ctx context.Context) {
	// A buffer of one is enough: a pending SIGCHLD means that the loop below
	// has not run since, and one run reaps all that is there.
	sigs := make(chan os.Signal, 1)
	signal.Notify(sigs, unix.SIGCHLD)
	defer signal.Stop(sigs)
	for {
		safe.Run("reap the processes that have ended", r.reap)
		select {
		case <-sigs:
		case <-ctx.Done():
			return
		}
	}
}

// reap collects every child that has ended.
func (r *Reaper) reap() {
	for {
		var ws unix.WaitStatus
		pid, err := unix.Wait4(-1, &ws, unix.WNOHANG, nil)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil || pid <= 0 {
			return
		}
		if ws.Stopped() {
			continue // a tracer's matter: it has not ended
		}
		exit := Exit{Pid: pid, Status: ws.ExitStatus(), At: time.Now()}
		if ws.Signaled() {
			exit.Signal = ws.Signal()
			exit.Status = 128 + int(ws.Signal())
		}
		r.dispatch(exit)
	}
}

func (r *Reaper) dispatch(exit Exit) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.seq++
	if ch, ok := r.watched[exit.Pid]; ok {
		delete(r.watched, exit.Pid)
		ch <- exit // buffered, and sent to once only
		return
	}
	if r.holds > 0 {
		r.kept[exit.Pid] = keptExit{exit: exit, seq: r.seq}
	}
}

// Hold keeps unclaimed exits from the moment it is taken until Release.
type Hold struct {
	r        *Reaper
	seq      uint64
	released sync.Once
}

// Hold starts to keep exits that nobody watches yet. Take it before the process
// is started whose id becomes known only later, and release it when that
// process is watched or known not to exist.
func (r *Reaper) Hold() *Hold {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.seq++
	r.holds++
	return &Hold{r: r, seq: r.seq}
}

// Watch returns a channel that receives the exit of the child pid, also if it
// ended since the hold was taken. The channel has room for the exit, so nobody
// needs to read it. A process has one watcher.
func (h *Hold) Watch(pid int) <-chan Exit {
	ch := make(chan Exit, 1)
	h.r.mu.Lock()
	defer h.r.mu.Unlock()
	if k, ok := h.r.kept[pid]; ok {
		delete(h.r.kept, pid)
		// An older exit is that of an earlier process with the same id.
		if k.seq > h.seq {
			ch <- k.exit
			return ch
		}
	}
	h.r.watched[pid] = ch
	return ch
}

// Release ends the hold. It may be called more than once.
func (h *Hold) Release() {
	h.released.Do(func() {
		h.r.mu.Lock()
		defer h.r.mu.Unlock()
		h.r.holds--
		if h.r.holds == 0 {
			clear(h.r.kept)
		}
	})
}
