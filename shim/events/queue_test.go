package events

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	eventsapi "github.com/containerd/containerd/api/events"
	"github.com/containerd/containerd/api/types"
	"github.com/containerd/errdefs"
	"google.golang.org/protobuf/proto"
)

var errAway = errors.New("containerd is away")

func TestE1_Topics(t *testing.T) {
	for topic, event := range map[string]any{
		"/tasks/create":       &eventsapi.TaskCreate{},
		"/tasks/start":        &eventsapi.TaskStart{},
		"/tasks/exit":         &eventsapi.TaskExit{},
		"/tasks/delete":       &eventsapi.TaskDelete{},
		"/tasks/exec-added":   &eventsapi.TaskExecAdded{},
		"/tasks/exec-started": &eventsapi.TaskExecStarted{},
		"/tasks/paused":       &eventsapi.TaskPaused{},
		"/tasks/resumed":      &eventsapi.TaskResumed{},
		"/tasks/checkpointed": &eventsapi.TaskCheckpointed{},
		"/tasks/oom":          &eventsapi.TaskOOM{},
	} {
		if got, err := Topic(event); err != nil || got != topic {
			t.Errorf("topic of %T is %q, error %v; want %q", event, got, err, topic)
		}
	}
	for _, other := range []any{nil, "text", eventsapi.TaskOOM{}, &eventsapi.TaskIO{}} {
		if got, err := Topic(other); !errdefs.IsInvalidArgument(err) {
			t.Errorf("topic of %T is %q, error %v; want InvalidArgument", other, got, err)
		}
	}
}

func TestE2_OrderAndContent(t *testing.T) {
	var got []*types.Envelope
	q := NewQueue(sinkFunc(func(_ context.Context, env *types.Envelope) error {
		got = append(got, env)
		return nil
	}), quiet())
	begin := time.Now()
	event := numbered(0)
	for n := range 1000 {
		event.ContainerID = numbered(n).ContainerID // the caller's to change at once
		q.Publish("k8s.io", TopicStart, event)
	}
	end := time.Now()
	if err := q.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	last := begin
	for i, n := range sequence(t, got) {
		env := got[i]
		if n != i || env.GetNamespace() != "k8s.io" || env.GetTopic() != TopicStart || env.GetEvent().GetTypeUrl() != "containerd.events.TaskStart" {
			t.Fatalf("event %d is %v", i, env)
		}
		at := env.GetTimestamp().AsTime()
		if at.Before(last.Truncate(0)) || at.After(end) {
			t.Fatalf("event %d happened at %s, after %s and before %s", i, at, last, end)
		}
		last = at
	}
	if len(got) != 1000 {
		t.Errorf("%d events came", len(got))
	}
}

func TestE2_PublishersAtTheSameMoment(t *testing.T) {
	var got []*types.Envelope
	q := NewQueue(sinkFunc(func(_ context.Context, env *types.Envelope) error {
		got = append(got, env)
		return nil
	}), quiet())
	var group sync.WaitGroup
	for p := range 8 {
		group.Go(func() {
			for n := range 100 {
				q.Publish("default", TopicStart, numbered(1000*p+n))
			}
		})
	}
	group.Wait()
	if err := q.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	next := map[int]int{}
	for _, n := range sequence(t, got) {
		if next[n/1000] != n%1000 {
			t.Fatalf("event %d of publisher %d comes instead of %d", n%1000, n/1000, next[n/1000])
		}
		next[n/1000]++
	}
	if len(got) != 800 {
		t.Errorf("%d events came", len(got))
	}
}

func TestE4_FailingSinkGetsTheSameEventAgain(t *testing.T) {
	logger, out := newLog()
	failures := map[string]int{}
	var got []*types.Envelope
	q := NewQueue(sinkFunc(func(_ context.Context, env *types.Envelope) error {
		id := string(env.GetEvent().GetValue())
		if failures[id]++; failures[id] < 5 {
			return errAway
		}
		got = append(got, env)
		return nil
	}), logger, WithBackoff(time.Microsecond, 4*time.Microsecond))
	for n := range 10 {
		q.Publish("default", TopicStart, numbered(n))
	}
	if err := q.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if seq := sequence(t, got); !slices.Equal(seq, []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}) {
		t.Errorf("events came as %v", seq)
	}
	if began, ended := out.count("cannot be delivered; they wait"), out.count("delivered again"); began != 10 || ended != 10 {
		t.Errorf("10 outages are told as %d beginnings and %d ends", began, ended)
	}
}

func TestE4_RefusedEventIsNoObstacle(t *testing.T) {
	logger, out := newLog()
	var got []*types.Envelope
	q := NewQueue(sinkFunc(func(_ context.Context, env *types.Envelope) error {
		switch env.GetTopic() {
		case TopicPaused:
			return fmt.Errorf("what is this: %w", errdefs.ErrInvalidArgument)
		case TopicResumed:
			return fmt.Errorf("too large: %w", errdefs.ErrResourceExhausted)
		}
		got = append(got, env)
		return nil
	}), logger)
	q.Publish("default", TopicStart, numbered(0))
	q.Publish("default", TopicPaused, &eventsapi.TaskPaused{})
	q.Publish("default", TopicResumed, &eventsapi.TaskResumed{})
	q.Publish("default", TopicExit, nil)
	q.Publish("default", TopicExit, &eventsapi.TaskExit{ID: "\xff"}) // no text
	q.Publish("default", TopicStart, numbered(1))
	if err := q.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if seq := sequence(t, got); !slices.Equal(seq, []int{0, 1}) {
		t.Errorf("events came as %v", seq)
	}
	if refused, bad := out.count("refused and lost"), out.count("cannot be encoded"); refused != 2 || bad != 2 {
		t.Errorf("%d refused and %d malformed events are logged, want 2 and 2", refused, bad)
	}
}

func TestE4_FullQueueGivesUpWhatTellsOfNoEnd(t *testing.T) {
	logger, out := newLog()
	g := newGate()
	q := NewQueue(g, logger, WithCapacity(4))
	publish := func(topics ...string) {
		for _, topic := range topics {
			q.Publish("default", topic, &eventsapi.TaskStart{})
		}
	}
	publish(TopicCreate)
	<-g.asked // on its way, so out of the backlog
	// Nobody waits for the sink.
	publish(TopicStart, TopicExit, TopicExecAdded, TopicOOM) // full
	publish(TopicDelete)                                     // gives up start
	publish(TopicExit)                                       // gives up exec-added
	publish(TopicPaused)                                     // gives up itself
	publish(TopicDelete)                                     // only ends left: gives up the first exit
	g.answer <- nil
	var got []string
	for range 4 {
		got = append(got, g.take().GetTopic())
	}
	if want := []string{TopicOOM, TopicDelete, TopicExit, TopicDelete}; !slices.Equal(got, want) {
		t.Errorf("events left are %v, want %v", got, want)
	}
	if err := q.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	const told = "1 of /tasks/exec-added, 1 of /tasks/exit, 1 of /tasks/paused, 1 of /tasks/start"
	if out.count("too many events wait") != 1 || out.count(told) != 1 {
		t.Errorf("the log does not tell once what is lost:\n%s", out.buf.String())
	}
}

func TestE4_CloseDeliversAtOnce(t *testing.T) {
	logger, out := newLog()
	g := newGate()
	// Without being woken the queue would wait for an hour.
	q := NewQueue(g, logger, WithBackoff(time.Hour, time.Hour))
	for n := range 3 {
		q.Publish("default", TopicStart, numbered(n))
	}
	<-g.asked
	g.answer <- errAway
	out.awaitWords("they wait")
	closed := make(chan error)
	go func() { closed <- q.Close(t.Context()) }()
	var got []*types.Envelope
	for range 3 {
		got = append(got, g.take())
	}
	if err := <-closed; err != nil {
		t.Error(err)
	}
	if seq := sequence(t, got); !slices.Equal(seq, []int{0, 1, 2}) {
		t.Errorf("events came as %v", seq)
	}
}

// Time in a bubble of synctest is not real: it goes on when all are waiting.
func TestE4_DelaysGrow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var delays []time.Duration
		last := time.Now()
		q := NewQueue(sinkFunc(func(context.Context, *types.Envelope) error {
			delays = append(delays, time.Since(last))
			last = time.Now()
			return errAway
		}), quiet())
		q.Publish("default", TopicStart, numbered(0))
		time.Sleep(20 * time.Second)
		synctest.Wait()
		ms := time.Millisecond
		want := []time.Duration{0, 100 * ms, 200 * ms, 400 * ms, 800 * ms, 1600 * ms, 3200 * ms, 5000 * ms, 5000 * ms}
		if !slices.Equal(delays, want) {
			t.Errorf("the sink is asked after %v, want %v", delays, want)
		}
		// The end of the queue cuts one delay short, and begins anew.
		delays = nil
		last = time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := q.Close(ctx); !errdefs.IsUnavailable(err) {
			t.Errorf("error is %v, want Unavailable", err)
		}
		if want := []time.Duration{0, 100 * ms, 200 * ms, 400 * ms}; !slices.Equal(delays, want) {
			t.Errorf("at the end the sink is asked after %v, want %v", delays, want)
		}
	})
}

func TestE4_CloseIsBounded(t *testing.T) {
	for _, tc := range []struct {
		name string
		// answer is what the sink says before time is up; without one it hangs.
		answer error
	}{
		{"sink fails", errAway}, {"sink hangs", nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			g := newGate()
			q := NewQueue(g, quiet(), WithBackoff(time.Hour, time.Hour))
			for n := range 3 {
				q.Publish("default", TopicStart, numbered(n))
			}
			ctx, cancel := context.WithCancel(t.Context())
			closed := make(chan error)
			go func() { closed <- q.Close(ctx) }()
			<-g.asked
			if tc.answer != nil {
				// Once more after the failure, because the queue is closed.
				g.answer <- tc.answer
				<-g.asked
				g.answer <- tc.answer
			}
			cancel()
			err := <-closed
			if !errdefs.IsUnavailable(err) || !strings.Contains(err.Error(), "3 events") {
				t.Errorf("error is %v, want Unavailable for 3 events", err)
			}
		})
	}
}

func TestE4_CloseManyTimes(t *testing.T) {
	logger, out := newLog()
	g := newGate()
	q := NewQueue(g, logger)
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			if err := q.Close(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	if g.closed != 1 || out.count("closed 1 times") != 1 {
		t.Errorf("sink is closed %d times, and its error logged %d times", g.closed, out.count("closed 1 times"))
	}
	q.Publish("default", TopicExit, &eventsapi.TaskExit{})
	if out.count("after the end") != 1 || out.count(TopicExit) != 1 {
		t.Errorf("an event after the end is not logged:\n%s", out.buf.String())
	}
}

func TestE4_WithoutSinkTheLog(t *testing.T) {
	logger, out := newLog()
	q := NewQueue(NewLogSink(logger), logger)
	q.Publish("k8s.io", TopicExit, &eventsapi.TaskExit{ContainerID: "web", ExitStatus: 42})
	var unknown proto.Message = &types.Envelope{}
	q.Publish("k8s.io", TopicOOM, unknown)
	if err := q.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, words := range []string{TopicExit, "k8s.io", "web", "42", TopicOOM} {
		if out.count(words) == 0 {
			t.Errorf("log does not say %q:\n%s", words, out.buf.String())
		}
	}
}
