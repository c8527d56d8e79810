package shim

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	goruntime "runtime"
	"runtime/debug"
	"time"

	"github.com/containerd/log"
	"github.com/containerd/ttrpc"
	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/proto"

	"containerd-shim-runsc/shim/bootstrap"
	"containerd-shim-runsc/shim/events"
	"containerd-shim-runsc/shim/task"
	"containerd-shim-runsc/utils/safe"
)

const (
	// lastWords bounds how long a shim that ends waits for replies to be sent
	// and events to be delivered.
	lastWords = 5 * time.Second

	// farewell bounds how long it waits for its clients to go.
	farewell = 500 * time.Millisecond

	// lastLines bounds how long it waits for its log to be written.
	lastLines = time.Second
)

// serve answers containerd until it is told to end.
func serve(ctx context.Context, p bootstrap.Params) error {
	debug.SetGCPercent(gcPercent)
	logs, listener, patience, err := prepare(ctx, p)
	if logs != nil {
		defer func() {
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastLines)
			defer cancel()
			logs.close(last)
		}()
	}
	if errors.Is(err, errNoSocket) {
		log.L.Debug(err)
		return nil
	}
	if err != nil {
		return err
	}
	// The driver must work until the last call is answered.
	life, end := context.WithCancel(ctx)
	defer end()
	d := newDriver(life)

	// A signal also ends the long wait for events of a shim that nobody waits for.
	unsignalled, signalled := context.WithCancel(life)
	defer signalled()
	safe.Go("handle signals", func() { handleSignals(life, signalled, logs) })
	ctx, stop := context.WithCancelCause(unsignalled)
	defer stop(nil)

	queue := events.NewQueue(sink(p), log.G(ctx))
	service := task.New(task.Config{
		Namespace:  p.Namespace,
		NewRuntime: runtimes(d, p.Namespace),
		Publish:    publisher(queue, p.Namespace),
		Shutdown: func(asked bool) {
			if asked {
				stop(nil)
			} else {
				stop(errUnasked)
			}
		},
	})
	// A containerd that died before it has created a task does not end the shim either.
	judge := &lonely{patience: patience, bundle: p.Bundle}
	clients := newClients(lonelyLook, judge.look, service.EndIfIdle)
	defer clients.stop()
	tidy, stopTidying := tidyMemory()
	defer stopTidying()
	server, err := ttrpc.NewServer(ttrpc.WithServerHandshaker(clients), ttrpc.WithUnaryServerInterceptor(tidy))
	if err != nil {
		return fmt.Errorf("make server: %w", err)
	}
	service.Register(server)
	failed := make(chan error, 1)
	// Calls outlive ctx: it ends when the shim should, and they are answered.
	safe.Go("serve", func() {
		failed <- safe.Do("serve", func() error { return server.Serve(context.WithoutCancel(ctx), listener) })
	})
	select {
	case <-ctx.Done():
	case err = <-failed:
		err = fmt.Errorf("serve: %w", err)
	}
	// First the socket: without it, a shim that ends cannot be joined.
	err = errors.Join(err, bootstrap.Remove(life, p.Socket))
	last, cancel := context.WithTimeout(life, lastWords)
	defer cancel()
	leave, cancel := context.WithTimeout(last, farewell)
	defer cancel()
	clients.wait(leave)
	err = errors.Join(err, server.Shutdown(last))
	return errors.Join(err, closeEvents(life, unsignalled, queue, context.Cause(ctx)))
}

// prepare takes over what the start has opened, and makes this process a shim that stays
// for patience if nobody comes. On failure there is no socket. The log is there with an
// error too, if it could be had.
func prepare(ctx context.Context, p bootstrap.Params) (logs *logQueue, listener net.Listener, patience time.Duration, err error) {
	socket, done := os.NewFile(listenerFD, p.Socket), os.NewFile(doneFD, "done")
	// Unlike the listener, they would be inherited by children, and keep the socket of a dead
	// shim alive.
	defer func() { _, _ = socket.Close(), done.Close() }()
	defer func() {
		if err != nil {
			_ = done.Close() // the start should know
			err = errors.Join(err, bootstrap.Abandon(ctx, socket))
		}
	}()
	if logs, err = useLog(p.ID); err != nil {
		return nil, nil, 0, err
	}
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return logs, nil, 0, fmt.Errorf("become subreaper: %w", err)
	}
	if err := adjustOOMScore(); err != nil {
		log.L.WithError(err).Warn("the shim keeps containerd's oom_score_adj")
	}
	patience = loneliness
	if _, err := done.Read(make([]byte, 1)); err != nil {
		// Before it listens nobody can have joined; and it does not where another start was first.
		listens, err := unix.GetsockoptInt(int(socket.Fd()), unix.SOL_SOCKET, unix.SO_ACCEPTCONN)
		if err != nil || listens == 0 {
			return logs, nil, 0, errors.Join(errNoSocket, err)
		}
		log.L.Warn("the start has not come to its end")
		patience = orphanhood
	}
	if listener, err = net.FileListener(socket); err != nil {
		return logs, nil, 0, fmt.Errorf("take over the socket: %w", err)
	}
	return logs, listener, patience, nil
}

// errNoSocket is why a shim ends at once whose start has found another, or was killed.
var errNoSocket = errors.New("the start has made no socket")

// errUnasked is why a shim ends that nobody has told to, and nobody waits for. containerd may
// be away then, and must hear of the events when it is back.
var errUnasked = errors.New("there is no task, and nobody is connected")

// closeEvents delivers the events that wait: for a time of their own, not what a client that
// stays has left of that of the calls; or where nobody has asked for the end, as long as a
// shim without a task stays, or until a signal comes.
func closeEvents(life, unsignalled context.Context, queue *events.Queue, why error) error {
	ctx, patience := life, lastWords
	if errors.Is(why, errUnasked) {
		ctx, patience = unsignalled, loneliness
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return queue.Close(ctx)
}

// publisher queues a task's events.
func publisher(q *events.Queue, namespace string) func(proto.Message) {
	return func(e proto.Message) {
		topic, err := events.Topic(e)
		if err != nil {
			log.L.WithError(err).Error("an event is lost")
			return
		}
		q.Publish(namespace, topic, e)
	}
}

func sink(p bootstrap.Params) events.Sink {
	if p.TTRPCAddress == "" {
		return events.NewLogSink(log.L)
	}
	return events.NewTTRPCSink(p.TTRPCAddress)
}

// handleSignals ends the shim at SIGTERM and SIGINT and logs every goroutine's
// stack at SIGUSR1, until ctx ends.
func handleSignals(ctx context.Context, stop func(), logs io.Writer) {
	// SIGPIPE is asked for to be ignored: it would end the process when stderr is
	// a log that nobody reads any more.
	sigs := make(chan os.Signal, 8)
	signal.Notify(sigs, unix.SIGTERM, unix.SIGINT, unix.SIGUSR1, unix.SIGPIPE)
	defer signal.Stop(sigs)
	for {
		select {
		case <-ctx.Done():
			return
		case s := <-sigs:
			switch s {
			case unix.SIGUSR1:
				safe.Run("log the stacks", func() { logStacks(logs) })
			case unix.SIGTERM, unix.SIGINT:
				log.L.Infof("ending at %s", s)
				stop()
			}
		}
	}
}

// logStacks logs every goroutine's stack, in one line however long that is.
func logStacks(logs io.Writer) {
	buf := make([]byte, 1<<20)
	e := log.L.WithTime(time.Now())
	e.Level, e.Message = logrus.InfoLevel, fmt.Sprintf("stacks of all goroutines:\n%s", buf[:goruntime.Stack(buf, true)])
	line, err := (&logrus.TextFormatter{}).Format(e)
	if err != nil {
		log.L.WithError(err).Error("the stacks cannot be logged")
		return
	}
	_, _ = logs.Write(line) // never fails
}
