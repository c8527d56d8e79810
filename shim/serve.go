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

	// loneliness is how long a shim without a task and without a connection stays.
	loneliness = 10 * time.Minute
)

// serve answers containerd until it is told to end.
func serve(ctx context.Context, p bootstrap.Params) error {
	debug.SetGCPercent(gcPercent)
	logs, err := useLog(p.ID)
	if err != nil {
		return err
	}
	defer func() {
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastLines)
		defer cancel()
		logs.close(last)
	}()
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("become subreaper: %w", err)
	}
	if err := adjustOOMScore(); err != nil {
		log.L.WithError(err).Warn("the shim keeps containerd's oom_score_adj")
	}
	listener, err := net.FileListener(os.NewFile(listenerFD, "listener"))
	if err != nil {
		return fmt.Errorf("take over the socket: %w", err)
	}
	// The driver must work until the last call is answered.
	life, end := context.WithCancel(ctx)
	defer end()
	d := newDriver(life)

	ctx, stop := context.WithCancel(ctx)
	defer stop()
	safe.Go("handle signals", func() { handleSignals(ctx, stop, logs) })

	queue := events.NewQueue(sink(p), log.G(ctx))
	service := task.New(task.Config{
		Namespace:  p.Namespace,
		NewRuntime: runtimes(d, p.Namespace),
		Publish:    publisher(queue, p.Namespace),
		Shutdown:   stop,
	})
	// A containerd that died before it has created a task does not end the shim either.
	clients := newClients(loneliness, service.EndIfIdle)
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
	// A client that stays takes the time of the calls, not that of the events.
	last, cancel = context.WithTimeout(life, lastWords)
	defer cancel()
	return errors.Join(err, queue.Close(last))
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
// stack at SIGUSR1.
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
