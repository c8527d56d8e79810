package events

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"

	eventsapi "github.com/containerd/containerd/api/events"
	forwardapi "github.com/containerd/containerd/api/services/ttrpc/events/v1"
	"github.com/containerd/containerd/api/types"
	"github.com/containerd/log"
	"github.com/containerd/ttrpc"
	"github.com/sirupsen/logrus"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/types/known/emptypb"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

// watched is a value that a test can wait on.
type watched struct {
	mu      sync.Mutex
	changed *sync.Cond
}

func newWatched() *watched {
	w := &watched{}
	w.changed = sync.NewCond(&w.mu)
	return w
}

// update changes what the lock guards.
func (w *watched) update(change func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	change()
	w.changed.Broadcast()
}

// await returns when condition holds.
func (w *watched) await(condition func() bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for !condition() {
		w.changed.Wait()
	}
}

// text is a log that a test can wait on.
type text struct {
	*watched
	buf bytes.Buffer
}

func (t *text) Write(p []byte) (int, error) {
	t.update(func() { t.buf.Write(p) })
	return len(p), nil
}

func (t *text) awaitWords(words string) {
	t.await(func() bool { return bytes.Contains(t.buf.Bytes(), []byte(words)) })
}

func (t *text) count(words string) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return bytes.Count(t.buf.Bytes(), []byte(words))
}

func newLog() (*log.Entry, *text) {
	out := &text{watched: newWatched()}
	logger := logrus.New()
	logger.SetOutput(out)
	logger.SetLevel(logrus.DebugLevel)
	return logrus.NewEntry(logger), out
}

func quiet() *log.Entry {
	logger := logrus.New()
	logger.SetOutput(io.Discard)
	return logrus.NewEntry(logger)
}

// numbered is the event that sequence reads the number of.
func numbered(n int) *eventsapi.TaskStart {
	return &eventsapi.TaskStart{ContainerID: strconv.Itoa(n)}
}

func sequence(t *testing.T, envelopes []*types.Envelope) []int {
	t.Helper()
	var out []int
	for _, env := range envelopes {
		var e eventsapi.TaskStart
		if err := env.GetEvent().UnmarshalTo(&e); err != nil {
			t.Fatal(err)
		}
		n, err := strconv.Atoi(e.GetContainerID())
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, n)
	}
	return out
}

// server is containerd's event service.
type server struct {
	*watched
	got     []*types.Envelope
	headers []string
	// answer, if set, is asked before an event is taken.
	answer func(ctx context.Context, env *types.Envelope) error

	path   string
	ttrpc  *ttrpc.Server
	served chan struct{}
}

func newServer(t *testing.T) *server {
	t.Helper()
	dir, err := os.MkdirTemp("", "e")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return &server{watched: newWatched(), path: filepath.Join(dir, "containerd.sock.ttrpc")}
}

func (s *server) start(t *testing.T) {
	t.Helper()
	l, err := net.Listen("unix", s.path)
	if err != nil {
		t.Fatal(err)
	}
	s.ttrpc, err = ttrpc.NewServer()
	if err != nil {
		t.Fatal(err)
	}
	forwardapi.RegisterTTRPCEventsService(s.ttrpc, s)
	s.served = make(chan struct{})
	go func(server *ttrpc.Server, served chan struct{}) {
		defer close(served)
		server.Serve(context.Background(), l)
	}(s.ttrpc, s.served)
}

func (s *server) stop() {
	s.ttrpc.Close()
	<-s.served
}

func (s *server) Forward(ctx context.Context, req *forwardapi.ForwardRequest) (*emptypb.Empty, error) {
	env := req.GetEnvelope()
	if s.answer != nil {
		if err := s.answer(ctx, env); err != nil {
			return nil, err
		}
	}
	header, _ := ttrpc.GetMetadataValue(ctx, namespaceHeader)
	s.update(func() {
		s.got = append(s.got, env)
		s.headers = append(s.headers, header)
	})
	return &emptypb.Empty{}, nil
}

// awaitCount waits until at least n events have come.
func (s *server) awaitCount(n int) []*types.Envelope {
	s.await(func() bool { return len(s.got) >= n })
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.got
}

// sinkFunc is a sink that is a function.
type sinkFunc func(ctx context.Context, env *types.Envelope) error

func (f sinkFunc) Publish(ctx context.Context, env *types.Envelope) error { return f(ctx, env) }

// gate is a sink that says when it is asked and answers when it is told to.
type gate struct {
	asked  chan *types.Envelope
	answer chan error
	closed int
}

func newGate() *gate {
	return &gate{asked: make(chan *types.Envelope), answer: make(chan error)}
}

func (g *gate) Publish(ctx context.Context, env *types.Envelope) error {
	select {
	case g.asked <- env:
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-g.answer:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (g *gate) Close() error {
	g.closed++
	return fmt.Errorf("closed %d times", g.closed)
}

// take lets one event through and returns it.
func (g *gate) take() *types.Envelope {
	env := <-g.asked
	g.answer <- nil
	return env
}
