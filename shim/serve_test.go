package shim

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	eventsapi "github.com/containerd/containerd/api/events"
	"github.com/containerd/containerd/api/types"
	"github.com/containerd/errdefs"
	"github.com/containerd/log"

	"containerd-shim-runsc/shim/events"
)

// away is a sink that is away until a time.
type away struct {
	until time.Time
	took  atomic.Int32
}

func (a *away) Publish(context.Context, *types.Envelope) error {
	if time.Now().Before(a.until) {
		return errdefs.ErrUnavailable
	}
	a.took.Add(1)
	return nil
}

// TestE4_TheLastEventsOfAShimThatNobodyAwaits: they wait for a containerd that is away, but
// not after a signal.
func TestE4_TheLastEventsOfAShimThatNobodyAwaits(t *testing.T) {
	for name, tt := range map[string]struct {
		away     time.Duration
		unasked  bool
		signal   time.Duration
		took     int32
		within   time.Duration
		delivers bool
	}{
		"nobody awaits it":            {away: 8 * time.Minute, unasked: true, took: 1, within: loneliness, delivers: true},
		"nobody awaits it, in vain":   {away: time.Hour, unasked: true, within: loneliness},
		"somebody awaits it":          {away: time.Minute, within: lastWords},
		"somebody awaits it, a while": {away: time.Second, took: 1, within: lastWords, delivers: true},
		"nobody, and a signal comes":  {away: 8 * time.Minute, unasked: true, signal: time.Minute, within: time.Minute},
		"a signal was why it ends":    {away: time.Second, signal: -1, took: 1, within: lastWords, delivers: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				sink := &away{until: time.Now().Add(tt.away)}
				queue := events.NewQueue(sink, log.L)
				queue.Publish("n", "/tasks/delete", &eventsapi.TaskDelete{ContainerID: "web"})
				unsignalled, signalled := context.WithCancel(t.Context())
				defer signalled()
				switch {
				case tt.signal < 0:
					signalled()
				case tt.signal > 0:
					time.AfterFunc(tt.signal, signalled)
				}
				var why error
				if tt.unasked {
					why = errUnasked
				}
				began := time.Now()
				err := closeEvents(t.Context(), unsignalled, queue, why)
				if took := time.Since(began); took > tt.within || (err == nil) != tt.delivers || sink.took.Load() != tt.took {
					t.Errorf("after %s %d events are delivered, %v", took, sink.took.Load(), err)
				}
			})
		})
	}
}
