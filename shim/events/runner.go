package events

import (
	"time"

	"github.com/containerd/errdefs"
	"github.com/containerd/log"

	"containerd-shim-runsc/utils/safe"
)

// runner is the goroutine of a Queue and what only it knows.
type runner struct {
	*Queue
	// failing is true from a failure of the sink to its next success. It began at since,
	// and was last told at told.
	failing     bool
	since, told time.Time
	// losing is true while a burst of losses goes on, lostByTopic what it took.
	losing      bool
	lostByTopic map[string]int
	// closeSeen is nil once the end of the queue was noticed, so that it cuts
	// one delay short and not every one.
	closeSeen <-chan struct{}
}

func newRunner(q *Queue) *runner {
	return &runner{Queue: q, closeSeen: q.closing, lostByTopic: map[string]int{}}
}

func (r *runner) run() {
	defer close(r.done)
	for {
		it, ok := r.next()
		if !ok {
			return
		}
		if !r.deliver(it) {
			r.giveUp()
			r.reportLosses(true)
			return
		}
	}
}

// giveUp counts what is not delivered, with the event that was on its way.
func (r *runner) giveUp() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lost = 1 + len(r.waiting.items)
}

// next waits for an event. There is none any more when the queue is closed and
// empty.
func (r *runner) next() (item, bool) {
	for {
		r.mu.Lock()
		it, ok := r.waiting.pop()
		closed := r.closed
		r.mu.Unlock()
		if ok {
			return it, true
		}
		r.reportLosses(true)
		if closed {
			return item{}, false
		}
		select {
		case <-r.wake:
		case <-r.closing:
		}
	}
}

// deliver offers an event to the sink until it is taken or refused for good. It
// returns false if the queue's time ran out first.
func (r *runner) deliver(it item) bool {
	fields := log.Fields{"topic": it.env.GetTopic(), "namespace": it.env.GetNamespace()}
	if it.err != nil {
		r.log.WithFields(fields).WithError(it.err).Error("event cannot be encoded and is lost")
		return true
	}
	delay := r.firstDelay
	for {
		panicked, err := r.offer(it)
		r.reportLosses(false)
		switch {
		case panicked:
			// The stack is in the log. It would do so again.
			r.log.WithFields(fields).WithError(err).Error("event breaks the sink and is lost")
			return true
		case err == nil:
			r.recovered()
			return true
		case r.ctx.Err() != nil:
			return false
		case errdefs.IsInvalidArgument(err), errdefs.IsResourceExhausted(err):
			r.log.WithFields(fields).WithError(err).Error("event is refused and lost")
			return true
		}
		r.failed(fields, err)
		if r.pause(delay) {
			delay = r.firstDelay
		} else {
			delay = min(2*delay, r.lastDelay)
		}
		if r.ctx.Err() != nil {
			return false
		}
	}
}

// offer offers an event to the sink once. It says whether that has panicked.
func (r *runner) offer(it item) (panicked bool, err error) {
	panicked = true
	err = safe.Do("deliver event "+it.env.GetTopic(), func() error {
		err := r.sink.Publish(r.ctx, it.env)
		panicked = false
		return err
	})
	return panicked, err
}

// again is how often it is logged that events still cannot be delivered.
const again = time.Hour

// failed logs the begin of an outage, and now and then that it goes on.
func (r *runner) failed(fields log.Fields, err error) {
	logger := r.log.WithFields(fields).WithError(err)
	now := time.Now()
	if !r.failing {
		r.failing, r.since, r.told = true, now, now
		logger.Warn("events cannot be delivered; they wait")
		return
	}
	if now.Sub(r.told) < again {
		logger.Debug("events still cannot be delivered")
		return
	}
	r.told = now
	waiting := 1 + r.count()
	logger.WithField("waiting", waiting).Warnf("events still cannot be delivered after %s; they wait", now.Sub(r.since).Round(time.Second))
	if r.losing {
		r.log.Warn("events are lost because too many wait: " + describeCounts(r.lostByTopic))
	}
}

// count returns how many events wait.
func (r *runner) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.waiting.items)
}

// pause waits for delay, or until the queue is closed: then it returns true.
func (r *runner) pause(delay time.Duration) bool {
	timer := time.NewTimer(delay)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-r.ctx.Done():
	case <-r.closeSeen:
		r.closeSeen = nil
		return true
	}
	return false
}

func (r *runner) recovered() {
	if !r.failing {
		return
	}
	r.failing = false
	r.log.WithField("waiting", r.count()).Infof("events are delivered again, after %s", time.Since(r.since).Round(time.Millisecond))
}

// reportLosses logs the begin of a burst of losses, and its end when over is
// true.
func (r *runner) reportLosses(over bool) {
	r.mu.Lock()
	lost := r.waiting.takeDropped()
	capacity := r.waiting.capacity
	r.mu.Unlock()
	for topic, n := range lost {
		r.lostByTopic[topic] += n
	}
	if len(lost) > 0 && !r.losing {
		r.losing = true
		r.log.WithField("capacity", capacity).Warn("too many events wait; some are lost")
	}
	if over && r.losing {
		r.losing = false
		r.log.Warn("events were lost because too many waited: " + describeCounts(r.lostByTopic))
		clear(r.lostByTopic)
	}
}
