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
// ends the event, so that it does not stop those behind it; so does a panic of the
// sink. An outage is logged when it begins, every hour, and when it ends.
//
// # What is dropped first
//
// The backlog is bounded: 16384 events, and about 8 MiB. Beyond that events are
// given up in this order, of each kind the oldest first:
//
//  1. what tells of no end (create, start, pause): it can be asked for later;
//  2. the exit and the delete of an exec;
//  3. the exit and the delete of a container, and OOM: nobody can find out later
//     what they say.
//
// An event of 4 MiB or more is none that ttrpc could carry, and is not taken. A
// burst of such losses is logged when it begins, every hour of an outage, and when
// the backlog is empty again with what was lost.
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
