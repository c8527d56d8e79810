package events

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	eventsapi "github.com/containerd/containerd/api/events"
	"github.com/containerd/containerd/api/types"
	"google.golang.org/protobuf/proto"
)

func TestE4_AFullQueueKeepsTheEndsOfContainers(t *testing.T) {
	g := newGate()
	q := NewQueue(g, quiet(), WithCapacity(2))
	q.Publish("default", TopicCreate, &eventsapi.TaskCreate{})
	<-g.asked // on its way
	for topic, event := range map[string]proto.Message{
		TopicExit: &eventsapi.TaskExit{ContainerID: "web", ID: "web"}, TopicDelete: &eventsapi.TaskDelete{ContainerID: "web"},
	} {
		q.Publish("default", topic, event)
	}
	for range 100 {
		q.Publish("default", TopicStart, numbered(0))
		q.Publish("default", TopicExit, &eventsapi.TaskExit{ContainerID: "web", ID: "exec"})
		q.Publish("default", TopicDelete, &eventsapi.TaskDelete{ContainerID: "web", ID: "exec"})
	}
	g.answer <- nil
	for range 2 {
		env := g.take()
		exit, deleted := &eventsapi.TaskExit{}, &eventsapi.TaskDelete{}
		if env.GetEvent().UnmarshalTo(exit) == nil && exit.GetID() != "web" || env.GetEvent().UnmarshalTo(deleted) == nil && deleted.GetID() != "" {
			t.Errorf("an exec's event stayed: %v", env)
		}
	}
	if err := q.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestE4_TheBytesThatWaitAreBounded(t *testing.T) {
	logger, out := newLog()
	g := newGate()
	const room = 100_000
	q := NewQueue(g, logger, WithRoom(room))
	q.Publish("default", TopicCreate, &eventsapi.TaskCreate{})
	<-g.asked
	large := strings.Repeat("x", 10_000)
	for range 50 {
		q.Publish("default", TopicExit, &eventsapi.TaskExit{ContainerID: large, ID: large + "e"})
		q.Publish("default", TopicExit, &eventsapi.TaskExit{ContainerID: "web", ID: "web"})
	}
	q.Publish("default", TopicExit, &eventsapi.TaskExit{ContainerID: strings.Repeat("x", maxEvent)})
	q.mu.Lock()
	size, sum, inits := q.waiting.size, 0, 0
	for _, it := range q.waiting.items {
		sum += it.size()
		if it.weight == endOfInit && it.err == nil {
			inits++
		}
	}
	q.mu.Unlock()
	if size != sum || size > room || inits != 50 {
		t.Errorf("%d bytes wait, counted as %d, and the ends of %d containers; want at most %d and 50", sum, size, inits, room)
	}
	g.answer <- nil
	go func() {
		for range g.asked {
			g.answer <- nil
		}
	}()
	if err := q.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	close(g.asked)
	if out.count("cannot be encoded") != 1 || out.count("of /tasks/exit") != 1 {
		t.Errorf("the log does not tell of the losses:\n%s", out.buf.String())
	}
}

func TestE4_OneLargeEventIsStillDelivered(t *testing.T) {
	var got []*types.Envelope
	q := NewQueue(sinkFunc(func(_ context.Context, env *types.Envelope) error {
		got = append(got, env)
		return nil
	}), quiet(), WithRoom(10))
	q.Publish("default", TopicExit, &eventsapi.TaskExit{ContainerID: "web"})
	if err := q.Close(t.Context()); err != nil || len(got) != 1 {
		t.Errorf("%d events came, %v", len(got), err)
	}
}

func TestE4_APanicOfTheSinkCostsOneEvent(t *testing.T) {
	logger, out := newLog()
	var got []*types.Envelope
	q := NewQueue(sinkFunc(func(_ context.Context, env *types.Envelope) error {
		if env.GetTopic() == TopicPaused {
			panic("this one")
		}
		got = append(got, env)
		return nil
	}), logger)
	q.Publish("default", TopicStart, numbered(0))
	q.Publish("default", TopicPaused, &eventsapi.TaskPaused{})
	q.Publish("default", TopicStart, numbered(1))
	if err := q.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if seq := sequence(t, got); !slices.Equal(seq, []int{0, 1}) {
		t.Errorf("events came as %v", seq)
	}
	if out.count("breaks the sink") != 1 || out.count("this one") == 0 {
		t.Errorf("the log does not tell of it:\n%s", out.buf.String())
	}
}

// An outage of a day is told at its begin, each hour, and at its end, and asks the sink no
// more than every five seconds.
func TestE4_ALongOutageIsToldEachHour(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		logger, out := newLog()
		asked, up := 0, time.Now().Add(24*time.Hour+time.Minute)
		q := NewQueue(sinkFunc(func(context.Context, *types.Envelope) error {
			if asked++; time.Now().Before(up) {
				return errAway
			}
			return nil
		}), logger)
		for n := range 3 {
			q.Publish("default", TopicStart, numbered(n))
		}
		time.Sleep(25 * time.Hour)
		if err := q.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		began, still, ended := out.count("cannot be delivered; they wait"), out.count("level=warning msg=\"events still cannot"), out.count("delivered again")
		if began != 1 || still != 24 || ended != 1 || out.count("waiting=3") != 24 {
			t.Errorf("told %d, %d and %d times, want 1, 24 and 1", began, still, ended)
		}
		if most := 24*3600/5 + 30; asked > most {
			t.Errorf("the sink was asked %d times, want at most %d", asked, most)
		}
	})
}

func TestWeigh(t *testing.T) {
	for want, events := range map[weight][]proto.Message{
		passing:   {&eventsapi.TaskCreate{}, &eventsapi.TaskStart{}, &eventsapi.TaskExecAdded{}, &eventsapi.TaskPaused{}, &eventsapi.TaskCheckpointed{}},
		endOfExec: {&eventsapi.TaskExit{ContainerID: "c", ID: "e"}, &eventsapi.TaskDelete{ContainerID: "c", ID: "e"}},
		endOfInit: {
			&eventsapi.TaskExit{ContainerID: "c", ID: "c"}, &eventsapi.TaskDelete{ContainerID: "c"}, &eventsapi.TaskDelete{ContainerID: "c", ID: "c"},
			&eventsapi.TaskOOM{ContainerID: "c"},
		},
	} {
		for _, e := range events {
			topic, err := Topic(e)
			if err != nil {
				t.Fatal(err)
			}
			if got := weigh(topic, e); got != want {
				t.Errorf("%s weighs %d, want %d", fmt.Sprint(e.ProtoReflect().Descriptor().Name(), e), got, want)
			}
		}
	}
}
