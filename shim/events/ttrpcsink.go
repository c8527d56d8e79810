package events

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	forwardapi "github.com/containerd/containerd/api/services/ttrpc/events/v1"
	"github.com/containerd/containerd/api/types"
	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"github.com/containerd/ttrpc"
	"google.golang.org/grpc/status"
)

const (
	// namespaceHeader carries the namespace beside a call. It is given by
	// containerd's pkg/namespaces.
	namespaceHeader = "containerd-namespace-ttrpc"

	dialTimeout = 5 * time.Second
	// callTimeout is for a containerd that lost a call, which it should not. It
	// is long because a call that is repeated may be carried out twice.
	callTimeout = time.Minute
)

// TTRPCSink forwards events to containerd. It connects when there is an event
// to forward and again when the connection broke. It is for one caller at a
// time, as the Queue is.
type TTRPCSink struct {
	path        string
	callTimeout time.Duration
	client      *ttrpc.Client // nil while there is no connection
}

// NewTTRPCSink returns a sink to the containerd whose ttrpc socket is at
// address, a path with or without unix://: the value of TTRPC_ADDRESS.
func NewTTRPCSink(address string) *TTRPCSink {
	return &TTRPCSink{path: strings.TrimPrefix(address, "unix://"), callTimeout: callTimeout}
}

// Publish forwards the event. An error that containerd answers has its own
// kind; InvalidArgument means an envelope that it never takes, ResourceExhausted
// one that is too large. Without an answer the error is Unavailable.
func (s *TTRPCSink) Publish(ctx context.Context, env *types.Envelope) error {
	ctx, cancel := context.WithTimeout(ctx, s.callTimeout)
	defer cancel()
	for {
		old := s.client != nil
		err := s.connect(ctx)
		if err == nil {
			err = s.forward(ctx, env)
		}
		if err == nil {
			return nil
		}
		if _, answered := status.FromError(err); answered {
			return fmt.Errorf("forward event %s to %s: %w", env.GetTopic(), s.path, errgrpc.ToNative(err))
		}
		s.disconnect()
		// An old connection usually broke since the last event, because
		// containerd was restarted.
		if old && errors.Is(err, ttrpc.ErrClosed) && ctx.Err() == nil {
			continue
		}
		return fmt.Errorf("forward event %s to %s: %w: %w", env.GetTopic(), s.path, err, errdefs.ErrUnavailable)
	}
}

// Close ends the connection. A later Publish would make a new one.
func (s *TTRPCSink) Close() error {
	s.disconnect()
	return nil
}

func (s *TTRPCSink) connect(ctx context.Context) error {
	if s.client != nil {
		return nil
	}
	dialer := net.Dialer{Timeout: dialTimeout}
	conn, err := dialer.DialContext(ctx, "unix", s.path)
	if err != nil {
		return err
	}
	s.client = ttrpc.NewClient(conn)
	return nil
}

func (s *TTRPCSink) forward(ctx context.Context, env *types.Envelope) error {
	client := s.client
	// A call that cannot even be written, because nobody reads the socket, does
	// not look at its context.
	stop := context.AfterFunc(ctx, func() { _ = client.Close() }) // never fails
	defer stop()
	ctx = ttrpc.WithMetadata(ctx, ttrpc.MD{namespaceHeader: []string{env.GetNamespace()}})
	_, err := forwardapi.NewTTRPCEventsClient(client).Forward(ctx, &forwardapi.ForwardRequest{Envelope: env})
	return err
}

// disconnect closes the connection, if there is one, and waits for the end of
// its goroutine.
func (s *TTRPCSink) disconnect() {
	if s.client == nil {
		return
	}
	// Neither can fail: Close returns nil, and the wait has no deadline and ends
	// as the closed connection ends the client's only goroutine.
	_ = s.client.Close()
	_ = s.client.UserOnCloseWait(context.Background())
	s.client = nil
}
