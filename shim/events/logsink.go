package events

import (
	"context"
	"fmt"

	"github.com/containerd/containerd/api/types"
	"github.com/containerd/log"
)

// LogSink writes events to a log, for a shim whose caller takes none.
type LogSink struct {
	log *log.Entry
}

// NewLogSink returns a sink that writes to logger at the level info.
func NewLogSink(logger *log.Entry) *LogSink {
	return &LogSink{log: logger}
}

// Publish writes one line for the event. It never fails.
func (s *LogSink) Publish(_ context.Context, env *types.Envelope) error {
	content := env.GetEvent().GetTypeUrl()
	if m, err := env.GetEvent().UnmarshalNew(); err == nil {
		content = fmt.Sprint(m)
	}
	s.log.WithFields(log.Fields{
		"topic":     env.GetTopic(),
		"namespace": env.GetNamespace(),
		"time":      env.GetTimestamp().AsTime(),
		"event":     content,
	}).Info("event")
	return nil
}
