// Package events brings a shim's events to containerd: rules E1, E2 and E4.
//
// It belongs to the shim's edge: events here are containerd's messages already.
// The shim has one Queue. Whoever changes a task publishes to it and is never
// held up; one goroutine, which the Queue owns and Close ends, hands the events
// one at a time, in the order in which they were published, to a Sink.
//
//	Publish -> backlog -> goroutine -> Sink: TTRPCSink to containerd
//	                                         LogSink where there is none
//
// # When the sink fails
//
// The event stays first in line and is tried again, after a delay that grows
// from 100 ms to 5 s, until the sink takes it. Only an error that can never turn
// into success, InvalidArgument or ResourceExhausted (too large), is logged and
// ends the event, so that it does not stop those behind it. An outage is logged
// when it begins and when it ends.
//
// The backlog is bounded. Beyond its capacity the oldest event goes that does
// not tell of an end (exit, delete, OOM); those go last, because nobody can find
// out later what they say. A burst of such losses is logged when it begins, and
// when the backlog is empty again with what was lost.
//
// # Once
//
// A Forward call that got no answer may have been carried out. TTRPCSink
// therefore waits long for an answer as long as the connection stands, and
// repeats a call when the connection broke: then that containerd, and with it
// everybody whom the event may have reached, is gone.
//
// Locks: Queue.mu guards the backlog and is held for operations in memory only,
// never across the sink or the log. Publish writes no log, so that a log that
// nobody reads holds up the goroutine at most.
package events
