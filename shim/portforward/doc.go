// Package portforward makes connections to loopback in a pod's network namespace reach
// the pod's sandbox.
//
// To forward a port, containerd enters the pod's network namespace and dials the port
// at 127.0.0.1 and then at ::1. The pod's processes are not there: gVisor has a network
// stack of its own, and in the namespace is only what the pod network's plugins made.
//
// # How
//
// Two tables of netfilter, one for each IP version, hand the first packet of every TCP
// connection to loopback in the namespace to a queue (NFQUEUE) before it is sent. For
// such a SYN the [Forwarder]
//
//   - listens on just the address and port that it is for;
//   - connects to the port in the sandbox, by the function that it was given;
//   - lets the SYN go on, and the kernel makes the connection;
//   - accepts it, knows it by the client's address and port, and copies between both.
//
// If the sandbox refuses, the tables answer the SYN with a RST, so that the client is
// refused as well. An address on which somebody in the namespace listens already is left
// to them. One that is the source of a connection of theirs, even of one that has just
// ended, can only be listened on after that; until then the SYN is dropped, so the client
// waits.
//
// All of it belongs to one netlink socket. When that is closed, also by the end of the
// process, the kernel removes queue and tables; kernels before 5.12 remove the queue
// alone, and tables without one let everything pass. Close removes both anywhere. The
// socket keeps the namespace alive.
//
// # What waits
//
// While nothing is forwarded, one goroutine waits for the socket to become readable, and
// one for clients that break their connections off. Each
// connection is made for itself, so that a server which accepts none holds up nobody but
// its own clients. A client waits for the sandbox for a bounded time, and is refused then;
// so is one that comes when there are 1024 connections, and that is logged.
//
//   - forwarder.go: Forwarder;
//   - flow.go: one connection, from its SYN to its end;
//   - listeners.go: what listens for them;
//   - others.go: whether somebody else listens;
//   - join.go: the copying;
//   - hangup.go: clients that go while nobody reads from them;
//   - queue.go, table.go: the parts of netfilter's protocol that are needed;
//   - syn.go: what a packet says;
//   - netns.go: doing something in a network namespace.
package portforward
