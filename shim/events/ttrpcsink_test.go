package events

import (
	"context"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	eventsapi "github.com/containerd/containerd/api/events"
	"github.com/containerd/containerd/api/types"
	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
)

// quick makes outages short.
func quick() Option { return WithBackoff(time.Millisecond, 4*time.Millisecond) }

// complete checks that every number below n came, in order. The event that was
// on its way when a server died may have come twice.
func complete(t *testing.T, got []int, n int) {
	t.Helper()
	if got = slices.Compact(got); len(got) != n || !slices.IsSorted(got) || got[0] != 0 || got[n-1] != n-1 {
		t.Errorf("events came as %v, want 0 to %d", got, n-1)
	}
}

func TestE4_Forward(t *testing.T) {
	s := newServer(t)
	s.start(t)
	defer s.stop()
	q := NewQueue(NewTTRPCSink("unix://"+s.path), quiet())
	q.Publish("k8s.io", TopicExit, &eventsapi.TaskExit{ContainerID: "web", ExitStatus: 42})
	if err := q.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	var exit eventsapi.TaskExit
	env := s.awaitCount(1)[0]
	if err := env.GetEvent().UnmarshalTo(&exit); err != nil {
		t.Fatal(err)
	}
	if exit.GetExitStatus() != 42 || env.GetNamespace() != "k8s.io" || env.GetTopic() != TopicExit || env.GetTimestamp() == nil || s.headers[0] != "k8s.io" {
		t.Errorf("containerd gets %v with namespace %q", env, s.headers[0])
	}
}

func TestE4_OrderOverARestart(t *testing.T) {
	s := newServer(t)
	s.start(t)
	logger, out := newLog()
	q := NewQueue(NewTTRPCSink(s.path), logger, quick())
	n := 0
	publish := func(count int) {
		for range count {
			q.Publish("default", TopicStart, numbered(n))
			n++
		}
	}
	publish(50)
	s.awaitCount(20) // in the middle
	s.stop()
	publish(50)
	out.awaitWords("they wait")
	s.start(t)
	publish(50)
	s.awaitCount(n)
	// All is quiet now, and the connection breaks unnoticed.
	s.stop()
	s.start(t)
	publish(50)
	if err := q.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.stop()
	complete(t, sequence(t, s.got), n)
}

func TestE4_SinkAbsentForAWhile(t *testing.T) {
	s := newServer(t)
	logger, out := newLog()
	q := NewQueue(NewTTRPCSink(s.path), logger, quick())
	for n := range 20 {
		q.Publish("default", TopicStart, numbered(n))
	}
	out.awaitWords("they wait")
	s.start(t)
	defer s.stop()
	complete(t, sequence(t, s.awaitCount(20)), 20)
	out.awaitWords("delivered again")
	if err := q.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestE4_SlowSink(t *testing.T) {
	s := newServer(t)
	tokens := make(chan struct{})
	s.answer = func(context.Context, *types.Envelope) error {
		<-tokens
		return nil
	}
	s.start(t)
	defer s.stop()
	q := NewQueue(NewTTRPCSink(s.path), quiet())
	for n := range 20 {
		q.Publish("default", TopicStart, numbered(n)) // does not wait
	}
	for range 20 {
		tokens <- struct{}{}
	}
	if err := q.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := sequence(t, s.got); len(got) != 20 {
		t.Errorf("slow calls were repeated: %v", got)
	}
	complete(t, sequence(t, s.got), 20)
}

func TestE4_RefusingSink(t *testing.T) {
	s := newServer(t)
	busy := 3
	s.answer = func(_ context.Context, env *types.Envelope) error {
		switch {
		case env.GetNamespace() == "":
			return errgrpc.ToGRPC(errdefs.ErrInvalidArgument) // as containerd does
		case busy > 0:
			busy--
			return errgrpc.ToGRPC(errdefs.ErrFailedPrecondition)
		}
		return nil
	}
	s.start(t)
	defer s.stop()
	logger, out := newLog()
	q := NewQueue(NewTTRPCSink(s.path), logger, quick())
	q.Publish("default", TopicStart, numbered(0))
	q.Publish("", TopicStart, numbered(9))
	q.Publish("default", TopicExecAdded, &eventsapi.TaskExecAdded{ExecID: strings.Repeat("x", maxEvent-64)})
	q.Publish("default", TopicStart, numbered(1))
	if err := q.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	complete(t, sequence(t, s.got), 2)
	if n := out.count("refused and lost"); n != 2 {
		t.Errorf("%d events are logged as refused, want 2:\n%s", n, out.buf.String())
	}
}

func TestE4_CloseWithAHangingSink(t *testing.T) {
	s := newServer(t)
	asked := make(chan struct{}, 1)
	s.answer = func(ctx context.Context, _ *types.Envelope) error {
		asked <- struct{}{}
		<-ctx.Done() // until the connection is gone
		return ctx.Err()
	}
	s.start(t)
	defer s.stop()
	q := NewQueue(NewTTRPCSink(s.path), quiet())
	q.Publish("default", TopicStart, numbered(0))
	<-asked
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := q.Close(ctx); !errdefs.IsUnavailable(err) {
		t.Errorf("error is %v, want Unavailable", err)
	}
}

// A sink whose socket nobody reads blocks in the write, which knows no context.
func TestE4_CloseWithASinkThatReadsNothing(t *testing.T) {
	s := newServer(t)
	l, err := net.Listen("unix", s.path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	q := NewQueue(NewTTRPCSink(s.path), quiet())
	q.Publish("default", TopicExecAdded, &eventsapi.TaskExecAdded{ExecID: strings.Repeat("x", 3<<20)})
	conn, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Read(make([]byte, 1)); err != nil { // the write has begun
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := q.Close(ctx); !errdefs.IsUnavailable(err) {
		t.Errorf("error is %v, want Unavailable", err)
	}
}

func TestE4_LostCallIsRepeated(t *testing.T) {
	s := newServer(t)
	var calls atomic.Int32
	s.answer = func(ctx context.Context, _ *types.Envelope) error {
		if calls.Add(1) == 1 {
			<-ctx.Done()
			return ctx.Err()
		}
		return nil
	}
	s.start(t)
	defer s.stop()
	sink := NewTTRPCSink(s.path)
	sink.callTimeout = 50 * time.Millisecond
	q := NewQueue(sink, quiet(), quick())
	q.Publish("default", TopicStart, numbered(0))
	complete(t, sequence(t, s.awaitCount(1)), 1)
	if err := q.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
}
