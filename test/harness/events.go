package harness

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"path"
	"slices"
	"strings"
	"testing"
	"time"

	eventsapi "github.com/containerd/containerd/api/events"
	forwardapi "github.com/containerd/containerd/api/services/ttrpc/events/v1"
	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"github.com/containerd/ttrpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/emptypb"
)

// Event is an event that the shim published.
type Event struct {
	// Kind is the last part of the topic: create, exec-added, exit.
	Kind      string
	Namespace string
	Container string
	// Exec is the exec's id, "" for init and for the task.
	Exec   string
	PID    int
	Status uint32
	// Message is the event itself.
	Message any
}

// String writes an event as tests compare it: "exit web/e1".
func (e Event) String() string {
	s := e.Kind + " " + e.Container
	if e.Exec != "" {
		s += "/" + e.Exec
	}
	return s
}

// Sink is containerd's event service.
type Sink struct {
	t    testing.TB
	path string

	changing
	server *ttrpc.Server
	events []Event
	// last is the event that came last, unless one came since Down. The shim sends
	// an event again if the connection broke before the answer; of a containerd
	// that has died, nobody saw the first one.
	last, lost []byte
	// delay is how long it takes for each event.
	delay time.Duration
	// refuse makes it answer every event with an error.
	refuse  bool
	refused int
}

func newSink(t testing.TB, path string) *Sink {
	s := &Sink{t: t, path: path}
	s.Up()
	return s
}

// Up makes the sink listen, if it does not.
func (s *Sink) Up() {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refuse, s.delay = false, 0
	if s.server != nil {
		return
	}
	_ = os.Remove(s.path)
	ln, err := net.Listen("unix", s.path)
	if err != nil {
		s.t.Fatal(err)
	}
	server, err := ttrpc.NewServer()
	if err != nil {
		s.t.Fatal(err)
	}
	forwardapi.RegisterTTRPCEventsService(server, sinkService{s, server})
	s.server = server
	go func() { _ = server.Serve(context.Background(), ln) }()
}

// Down makes it go away, as when containerd stops.
func (s *Sink) Down() {
	s.mu.Lock()
	server := s.server
	s.server = nil
	s.lost = s.last
	s.mu.Unlock()
	if server != nil {
		_ = server.Close()
	}
}

// Refuse makes it answer with errors until Up is called.
func (s *Sink) Refuse() {
	s.update(func() { s.refuse = true })
}

// Slow makes it take this long for each event until Up is called.
func (s *Sink) Slow(delay time.Duration) {
	s.update(func() { s.delay = delay })
}

// AwaitRefused waits until n events were refused.
func (s *Sink) AwaitRefused(n int) {
	s.t.Helper()
	if !s.await(func() bool { return s.refused >= n }) {
		s.t.Fatalf("fewer than %d events came to a sink that refuses them", n)
	}
}

// sinkService is the sink's service for as long as its server is up.
type sinkService struct {
	*Sink
	server *ttrpc.Server
}

// Forward implements containerd's service.
func (s sinkService) Forward(_ context.Context, r *forwardapi.ForwardRequest) (*emptypb.Empty, error) {
	e, err := read(r)
	if err != nil {
		s.t.Errorf("event %s: %v", r.Envelope.GetTopic(), err)
	}
	raw, err := proto.Marshal(r)
	if err != nil {
		s.t.Errorf("event %s: %v", e, err)
	}
	s.mu.Lock()
	delay := s.delay
	s.mu.Unlock()
	time.Sleep(delay)
	refuse := false
	s.update(func() {
		// A server that was closed lets go of its connections a moment later.
		if refuse = s.refuse || s.Sink.server != s.server; refuse {
			s.refused++
			return
		}
		again := s.lost != nil && bytes.Equal(raw, s.lost)
		s.last, s.lost = raw, nil
		if !again {
			s.events = append(s.events, e)
		}
	})
	if refuse {
		return nil, errgrpc.ToGRPC(errdefs.ErrUnavailable)
	}
	return &emptypb.Empty{}, nil
}

// read turns an event of the wire into one of a test. An event whose topic does
// not fit its message is an error.
func read(r *forwardapi.ForwardRequest) (Event, error) {
	msg, err := r.Envelope.Event.UnmarshalNew()
	if err != nil {
		return Event{}, err
	}
	e := Event{Kind: path.Base(r.Envelope.Topic), Namespace: r.Envelope.Namespace, Message: msg}
	want := ""
	switch m := msg.(type) {
	case *eventsapi.TaskCreate:
		want, e.Container, e.PID = "create", m.ContainerID, int(m.Pid)
	case *eventsapi.TaskStart:
		want, e.Container, e.PID = "start", m.ContainerID, int(m.Pid)
	case *eventsapi.TaskExecAdded:
		want, e.Container, e.Exec = "exec-added", m.ContainerID, m.ExecID
	case *eventsapi.TaskExecStarted:
		want, e.Container, e.Exec, e.PID = "exec-started", m.ContainerID, m.ExecID, int(m.Pid)
	case *eventsapi.TaskExit:
		want, e.Container, e.Exec, e.PID, e.Status = "exit", m.ContainerID, m.ID, int(m.Pid), m.ExitStatus
		if m.ExitedAt == nil {
			err = fmt.Errorf("no exit time in %v", m)
		}
	case *eventsapi.TaskDelete:
		want, e.Container, e.Exec, e.PID, e.Status = "delete", m.ContainerID, m.ID, int(m.Pid), m.ExitStatus
	case *eventsapi.TaskPaused:
		want, e.Container = "paused", m.ContainerID
	case *eventsapi.TaskResumed:
		want, e.Container = "resumed", m.ContainerID
	case *eventsapi.TaskCheckpointed:
		want, e.Container = "checkpointed", m.ContainerID
	case *eventsapi.TaskOOM:
		want, e.Container = "oom", m.ContainerID
	default:
		err = fmt.Errorf("unknown message %T", m)
	}
	if e.Exec == e.Container {
		e.Exec = "" // init's id is the task's
	}
	if err == nil && r.Envelope.Topic != "/tasks/"+want {
		err = fmt.Errorf("the topic %s is not that of %T", r.Envelope.Topic, msg)
	}
	return e, err
}

// All returns the events so far.
func (s *Sink) All() []Event {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.events)
}

// Of returns the events of a container as strings.
func (s *Sink) Of(container string) []string {
	var list []string
	for _, e := range s.All() {
		if e.Container == container {
			list = append(list, e.String())
		}
	}
	return list
}

// Await waits for an event, given as String writes it, and returns it.
func (s *Sink) Await(event string) Event {
	s.t.Helper()
	var found Event
	if !s.await(func() bool {
		i := slices.IndexFunc(s.events, func(e Event) bool { return e.String() == event })
		if i >= 0 {
			found = s.events[i]
		}
		return i >= 0
	}) {
		s.t.Fatalf("no event %q after %s; there are:\n%s", event, Patience, s)
	}
	return found
}

// Count returns how often an event has come.
func (s *Sink) Count(event string) int {
	n := 0
	for _, e := range s.All() {
		if e.String() == event {
			n++
		}
	}
	return n
}

// String lists the events.
func (s *Sink) String() string {
	var b strings.Builder
	for _, e := range s.All() {
		fmt.Fprintf(&b, "  %s pid %d status %d\n", e, e.PID, e.Status)
	}
	return b.String()
}
