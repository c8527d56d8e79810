package events

import (
	"time"

	"github.com/containerd/errdefs"
	"github.com/containerd/log"
)

// runner is the goroutine of a Queue and what only it knows.
type runner struct {
	*Queue
	// failing is true from a failure of the sink to its next success.
	failing bool
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
			r.mu.Lock()
			r.lost = 1 + len(r.waiting.items)
			r.mu.Unlock()
			r.reportLosses(true)
			return
		}
	}
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
		err := r.sink.Publish(r.ctx, it.env)
		r.reportLosses(false)
		switch {
		case err == nil:
			r.recovered()
			return true
		case r.ctx.Err() != nil:
			return false
		case errdefs.IsInvalidArgument(err), errdefs.IsResourceExhausted(err):
			r.log.WithFields(fields).WithError(err).Error("event is refused and lost")
			return true
		}
		if !r.failing {
			r.failing = true
			r.log.WithFields(fields).WithError(err).Warn("events cannot be delivered; they wait")
		} else {
			r.log.WithFields(fields).WithError(err).Debug("events still cannot be delivered")
		}
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
	r.mu.Lock()
	waiting := len(r.waiting.items)
	r.mu.Unlock()
	r.log.WithField("waiting", waiting).Info("events are delivered again")
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
