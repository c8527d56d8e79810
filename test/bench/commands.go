package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// commands tells how long the commands of engines took that others ran. The kernel
// reports the forks, execs and ends of all processes (its process events connector).
type commands struct {
	fd   int
	done chan struct{}

	mu    sync.Mutex
	began map[int]time.Duration // when a process was forked, by the monotonic clock
	runs  map[int]string        // the commands, by process
	took  map[string]time.Duration
	ended bool
}

// The kernel's numbers (linux/connector.h and linux/cn_proc.h).
const (
	cnProc       = 1 // CN_IDX_PROC, CN_VAL_PROC and also PROC_CN_MCAST_LISTEN
	eventFork    = 0x00000001
	eventExec    = 0x00000002
	eventExit    = 0x80000000
	headerLength = 16 + 20 // of netlink and of the connector
)

// watchCommands begins to watch. It fails where the kernel has no such events.
func watchCommands() (*commands, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, unix.NETLINK_CONNECTOR)
	if err != nil {
		return nil, err
	}
	w := &commands{
		fd: fd, done: make(chan struct{}),
		began: map[int]time.Duration{}, runs: map[int]string{}, took: map[string]time.Duration{},
	}
	listen := make([]byte, headerLength+4)
	order := binary.NativeEndian
	order.PutUint32(listen, uint32(len(listen)))
	order.PutUint16(listen[4:], unix.NLMSG_DONE)
	order.PutUint32(listen[16:], cnProc)
	order.PutUint32(listen[20:], cnProc)
	order.PutUint16(listen[32:], 4)
	order.PutUint32(listen[headerLength:], cnProc)
	err = errors.Join(
		unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: cnProc}),
		// A burst of events must not be lost, and the reader must see that it is to end.
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 8<<20),
		unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 100_000}),
		unix.Sendto(fd, listen, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}),
	)
	if err != nil {
		return nil, errors.Join(err, unix.Close(fd))
	}
	go w.read()
	return w, nil
}

// close ends the watching.
func (w *commands) close() {
	_ = unix.Shutdown(w.fd, unix.SHUT_RDWR)
	w.mu.Lock()
	w.ended = true
	w.mu.Unlock()
	<-w.done
	_ = unix.Close(w.fd)
}

// read reads events until close.
func (w *commands) read() {
	defer close(w.done)
	buf := make([]byte, 4096)
	for {
		n, _, err := unix.Recvfrom(w.fd, buf, 0)
		w.mu.Lock()
		if w.ended {
			w.mu.Unlock()
			return
		}
		if err == nil && n >= headerLength+40 {
			w.event(buf[headerLength:n])
		}
		w.mu.Unlock()
	}
}

// event takes one event in, with mu held.
func (w *commands) event(b []byte) {
	order := binary.NativeEndian
	at := time.Duration(order.Uint64(b[8:]))
	number := func(i int) int { return int(int32(order.Uint32(b[16+4*i:]))) }
	switch order.Uint32(b) {
	case eventFork:
		if pid, process := number(2), number(3); pid == process {
			w.began[pid] = at
			delete(w.runs, pid) // of an earlier one with this number
		}
	case eventExec:
		name := commandOf(number(1))
		// A shim may run a command twice; the first is what the bare one is.
		if _, again := w.took[name]; name != "" && !again {
			w.runs[number(1)] = name
			w.took[name] = 0
		}
	case eventExit:
		// A process has ended with the last of its threads, which need not be the first.
		pid := number(1)
		if name := w.runs[pid]; name != "" {
			w.took[name] = at - w.began[pid]
		}
	}
}

// commandOf returns the name of the engine's command that a process runs, or "".
func commandOf(pid int) string {
	cmdline, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil {
		return ""
	}
	args := strings.Split(strings.TrimRight(string(cmdline), "\x00"), "\x00")
	if program := filepath.Base(args[0]); program != ourEngine && program != runcEngine {
		return ""
	}
	for _, verb := range verbs() {
		if slices.Contains(args, verb) {
			// The id is the last; this shim adds a sign to it.
			return nameOf(verb, strings.TrimSuffix(args[len(args)-1], "+"))
		}
	}
	return ""
}

func nameOf(verb, id string) string { return verb + " " + id }

// time returns how long the first command with a verb for a container took, if any ran.
func (w *commands) time(verb, id string) (time.Duration, bool) {
	if w == nil {
		return 0, false
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	took := w.took[nameOf(verb, id)]
	return took, took > 0
}
