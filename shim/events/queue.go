package events

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/containerd/containerd/api/types"
	"github.com/containerd/errdefs"
	"github.com/containerd/log"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"containerd-shim-runsc/utils/safe"
)

const (
	defaultCapacity   = 16384
	defaultRoom       = 8 << 20
	defaultFirstDelay = 100 * time.Millisecond
	defaultLastDelay  = 5 * time.Second
)

// Sink is where events go. The Queue calls it from one goroutine, one call at a
// time.
type Sink interface {
	// Publish returns nil when the event was taken. InvalidArgument and
	// ResourceExhausted mean that it never will be; after any other error the
	// same event comes again. Publish returns soon after ctx ends.
	Publish(ctx context.Context, env *types.Envelope) error
}

// Option changes how a Queue works.
type Option func(*Queue)

// WithCapacity sets how many events may wait, at least 1. Without it 16384 may.
func WithCapacity(n int) Option {
	return func(q *Queue) { q.waiting.capacity = max(n, 1) }
}

// WithRoom sets how many bytes the events that wait may take, about. Without it 8 MiB
// may be taken.
func WithRoom(bytes int) Option {
	return func(q *Queue) { q.waiting.room = bytes }
}

// WithBackoff sets the delay after the first failure of the sink and the longest
// one, between which it doubles. Without it they are 100 ms and 5 s.
func WithBackoff(first, last time.Duration) Option {
	return func(q *Queue) { q.firstDelay, q.lastDelay = first, max(first, last) }
}

// Queue delivers events to a sink in the background. All methods may be called
// from any goroutine.
type Queue struct {
	sink                  Sink
	log                   *log.Entry
	firstDelay, lastDelay time.Duration

	mu      sync.Mutex
	waiting backlog
	closed  bool
	// lost is how many events were not delivered when the goroutine ended.
	lost int

	wake    chan struct{} // holds a token while the goroutine should look
	closing chan struct{} // closed by the first Close
	done    chan struct{} // closed when the goroutine has ended
	// ctx is that of the sink's calls. It ends when Close runs out of time.
	ctx    context.Context
	cancel context.CancelFunc

	closeSink sync.Once
}

// NewQueue starts a queue to sink that writes its troubles to logger. The
// caller has to Close it, which closes the sink too if that is an io.Closer.
func NewQueue(sink Sink, logger *log.Entry, options ...Option) *Queue {
	q := &Queue{
		sink:       sink,
		log:        logger,
		firstDelay: defaultFirstDelay,
		lastDelay:  defaultLastDelay,
		waiting:    backlog{capacity: defaultCapacity, room: defaultRoom},
		wake:       make(chan struct{}, 1),
		closing:    make(chan struct{}),
		done:       make(chan struct{}),
	}
	for _, o := range options {
		o(q)
	}
	q.ctx, q.cancel = context.WithCancel(context.Background())
	safe.Go("deliver events", newRunner(q).run)
	return q
}

// Publish puts an event, which happened now in namespace, behind all that were
// published before. It never waits and never fails: what becomes of the event
// is in the package's documentation. The event may be changed afterwards. After
// Close it is only logged.
func (q *Queue) Publish(namespace, topic string, event proto.Message) {
	packed, err := pack(event)
	it := item{
		env:    &types.Envelope{Namespace: namespace, Topic: topic, Event: packed},
		weight: weigh(topic, event),
		err:    err,
	}
	if !q.push(it) {
		q.log.WithFields(log.Fields{"topic": topic, "namespace": namespace}).Warn("event after the end of the event queue is lost")
		return
	}
	select {
	case q.wake <- struct{}{}:
	default: // the goroutine is going to look already
	}
}

// push says whether the queue still takes events.
func (q *Queue) push(it item) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return false
	}
	// Here, so that times have the order of the events.
	it.env.Timestamp = timestamppb.Now()
	q.waiting.push(it)
	return true
}

// Close takes no more events, delivers those that wait as far as the sink takes
// them before ctx ends, ends the goroutine and closes the sink. A sink that
// fails is tried at once and then again, as before. If events were left the
// error is Unavailable and says how many. Further calls wait for the same end.
func (q *Queue) Close(ctx context.Context) error {
	q.mu.Lock()
	if !q.closed {
		q.closed = true
		close(q.closing)
	}
	q.mu.Unlock()

	select {
	case <-q.done:
	case <-ctx.Done():
		q.cancel()
		<-q.done // soon: the sink's call ends with its context
	}
	q.cancel()
	var err error
	q.closeSink.Do(func() {
		if c, ok := q.sink.(io.Closer); ok {
			err = c.Close()
		}
	})
	if err != nil {
		q.log.WithError(err).Warn("close event sink")
	}

	q.mu.Lock()
	defer q.mu.Unlock()
	if q.lost > 0 {
		return fmt.Errorf("close event queue: %d events were not delivered: %w", q.lost, errdefs.ErrUnavailable)
	}
	return nil
}

// maxEvent is more than containerd takes in one message, in bytes (ttrpc's
// messageLengthMax). One alone must not take the place of all others.
const maxEvent = 4 << 20

// pack puts event into an Any with the bare name of its type, as containerd's
// own shims do.
func pack(event proto.Message) (*anypb.Any, error) {
	if event == nil {
		return nil, errors.New("there is no message")
	}
	value, err := proto.Marshal(event)
	if err != nil {
		return nil, err
	}
	if len(value) > maxEvent {
		return nil, fmt.Errorf("it has %d bytes, and ttrpc takes less than %d", len(value), maxEvent)
	}
	return &anypb.Any{TypeUrl: string(event.ProtoReflect().Descriptor().FullName()), Value: value}, nil
}
