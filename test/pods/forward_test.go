package pods

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"containerd-shim-runsc/test/node"
)

// echo sends a text to a server of the kit over a forwarded port, and reads it back.
func echo(ctx context.Context, p *node.Pod, port int32, text string) error {
	f, err := p.Forward(ctx, port)
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { _ = f.Close() })()
	defer func() { _ = f.Close() }()
	if _, err := io.WriteString(f, text); err != nil {
		return err
	}
	back := make([]byte, len(text))
	if n, err := io.ReadFull(f, back); err != nil {
		_ = f.CloseWrite()
		why, _ := f.Failure()
		return fmt.Errorf("port-forward: after %d bytes: %w: %s", n, err, why)
	}
	if string(back) != text {
		return fmt.Errorf("port-forward: %q came back as %q", text, back)
	}
	return f.CloseWrite()
}

// echoes checks that a server of the kit is reached over a forwarded port.
func (p *pod) echoes(port int32) {
	p.t.Helper()
	check(p.t, echo(bounded(p.t), p.Pod, port, "hello"))
}

// forward opens a connection that is closed when the test takes too long, or ends.
func (p *pod) forward(port int32) *node.Forward {
	p.t.Helper()
	ctx := bounded(p.t)
	f, err := p.Forward(ctx, port)
	check(p.t, err)
	context.AfterFunc(ctx, func() { _ = f.Close() })
	return f
}

// refused checks that a port does not answer, and that the client is told so.
func (p *pod) refused(port int32) {
	p.t.Helper()
	f := p.forward(port)
	defer func() { _ = f.Close() }()
	// containerd forwards nothing before it is connected.
	n, _ := io.Copy(io.Discard, f)
	why, err := f.Failure()
	if n != 0 || err == nil && !oneOf(why, "refused") {
		p.t.Errorf("port %d, on which nobody listens: %d bytes, %q, %v", port, n, why, err)
	}
}

// TestForward: ports of a pod are reached through an unmodified containerd, on any address
// that the server listens on; whoever dials ::1 in the pod's network namespace, as
// containerd does after 127.0.0.1, is answered as well.
func TestForward(t *testing.T) {
	t.Parallel()
	p := newPod(t)
	for i, at := range []string{"tcp4 127.0.0.1", "tcp4 0.0.0.0", "tcp6 [::1]", "tcp "} {
		port := 7000 + i
		network, host, _ := strings.Cut(at, " ")
		if host == "[::1]" && byCommands() {
			continue // gVisor's own forwarder dials 127.0.0.1 alone
		}
		c := p.run(fmt.Sprint("server", i), "kit", "echo", network, fmt.Sprint(host, ":", port))
		c.says("listening")
		if err := echo(bounded(t), p.Pod, int32(port), "hello"); err != nil {
			t.Errorf("a server on %s: %v", at, err)
		}
		for _, ip := range []string{"127.0.0.1", "127.1.2.3", "::1"} {
			if err := p.echoInside(ip, port); err != nil {
				t.Errorf("a server on %s: %v", at, err)
			}
		}
	}
	p.refused(6999)
	for _, ip := range []string{"127.0.0.1", "::1"} {
		if err := p.echoInside(ip, 6999); !errors.Is(err, unix.ECONNREFUSED) {
			t.Errorf("a port on which nobody listens, at %s: %v", ip, err)
		}
	}
	// As often as one likes.
	for range 5 {
		p.echoes(7000)
	}
	// It comes and goes with the container.
	c := p.all()[0]
	check(t, c.Stop(bounded(t), 0))
	p.refused(7000)
	c.again().says("listening")
	p.echoes(7000)
}

// TestForwardEarly: a pod without containers refuses, and a stopped one has no ports.
func TestForwardEarly(t *testing.T) {
	t.Parallel()
	long(t)
	p := newPod(t)
	p.refused(7000)
	p.run("server", "kit", "echo", "tcp4", ":7000").says("listening")
	p.echoes(7000)
	check(t, p.Stop(bounded(t)))
	if err := echo(bounded(t), p.Pod, 7000, "hello"); err == nil {
		t.Error("a stopped pod answers")
	}
}

// echoInside does the same as echo from the pod's network namespace on the host.
func (p *pod) echoInside(ip string, port int) error {
	path, _ := p.netns()
	conn, err := dialIn(path, net.JoinHostPort(ip, fmt.Sprint(port)))
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	if err := conn.SetDeadline(time.Now().Add(callTime())); err != nil {
		return err
	}
	if _, err := io.WriteString(conn, "inside"); err != nil {
		return err
	}
	if byCommands() {
		// gVisor's own forwarder ends both ways with the first.
		back := make([]byte, len("inside"))
		n, err := io.ReadFull(conn, back)
		if err == nil && string(back) != "inside" {
			err = fmt.Errorf("%q came back", back[:n])
		}
		return err
	}
	// It has no more to say, and listens on.
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		return err
	}
	back, err := io.ReadAll(conn)
	if err == nil && string(back) != "inside" {
		err = fmt.Errorf("%q came back", back)
	}
	return err
}

// dialIn connects to an address in a network namespace.
func dialIn(namespace, address string) (conn net.Conn, err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		// The thread ends with the goroutine.
		runtime.LockOSThread()
		var ns *os.File
		if ns, err = os.Open(namespace); err != nil {
			return
		}
		defer func() { _ = ns.Close() }()
		if err = unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err == nil {
			conn, err = net.DialTimeout("tcp", address, callTime())
		}
	}()
	<-done
	return conn, err
}

// TestForwardAtOnce: 20 connections at once, each with its own bytes.
func TestForwardAtOnce(t *testing.T) {
	t.Parallel()
	long(t)
	p := newPod(t)
	p.run("server", "kit", "echo", "tcp4", ":7000").says("listening")
	var all sync.WaitGroup
	for i := range 20 {
		all.Go(func() {
			text := strings.Repeat(fmt.Sprintf("connection %d ", i), 5000)
			if err := echo(bounded(t), p.Pod, 7000, text); err != nil {
				t.Errorf("connection %d: %.200v", i, err)
			}
		})
	}
	all.Wait()
	p.echoes(7000)
}

// TestForwardDownload: many bytes of the pod arrive as they were, also if the client is
// slow.
func TestForwardDownload(t *testing.T) {
	t.Parallel()
	long(t)
	p := newPod(t)
	p.run("server", "kit", "pour", ":7000", "64").says("listening")
	f := p.forward(7000)
	defer func() { _ = f.Close() }()
	want := make([]byte, 64<<20)
	_, _ = rand.NewChaCha8([32]byte{}).Read(want)
	got, err := io.ReadAll(f)
	check(t, err)
	if !bytes.Equal(got, want) {
		t.Errorf("%d bytes came, of %d, or others", len(got), len(want))
	}
}

// TestForwardUpload: many bytes of a client arrive as they were, also if the server is
// slow.
func TestForwardUpload(t *testing.T) {
	t.Parallel()
	long(t)
	if byCommands() {
		t.Skip("gVisor's own forwarder loses data when the server does not read in time")
	}
	p := newPod(t)
	c := p.run("server", "kit", "sink", "127.0.0.1:7000", "64")
	c.says("listening")
	f := p.forward(7000)
	defer func() { _ = f.Close() }()
	// io.Copy writes in parts: a frame of the protocol has less than 16 MiB.
	_, err := io.Copy(f, io.LimitReader(rand.NewChaCha8([32]byte{}), 64<<20))
	check(t, err)
	c.ends(0, "Completed")
	equal(t, "what the server has got", written(read(t, c.LogPath())), "listening\nall\n")
}

// TestForwardClosed: the server's end of a connection is the client's.
func TestForwardClosed(t *testing.T) {
	t.Parallel()
	long(t)
	p := newPod(t)
	c := p.run("server", "kit", "echo", "tcp4", ":7000")
	c.says("listening")
	f := p.forward(7000)
	_, err := io.WriteString(f, "x")
	check(t, err)
	_, err = io.ReadFull(f, make([]byte, 1))
	check(t, err)
	check(t, c.Stop(bounded(t), 0))
	if n, err := io.Copy(io.Discard, f); n != 0 || err != nil && !errors.Is(err, io.EOF) {
		t.Errorf("the end of the connection: %d bytes, %v", n, err)
	}
}

// TestForwardHostNetwork: a pod on the host's network has the host's loopback, for which
// nothing needs to be done.
func TestForwardHostNetwork(t *testing.T) {
	t.Parallel()
	p := newPod(t, onHostNetwork)
	p.runConfig(p.in("server", "kit", "echo", "tcp4", "127.0.0.1:7002")).says("listening")
	p.echoes(7002)
	p.refused(6999)
	// A pod with a network of its own beside it does not touch the host's.
	other := newPod(t)
	other.refused(7002)
	p.echoes(7002)
}

func onHostNetwork(c *runtimeapi.PodSandboxConfig) {
	c.Linux.SecurityContext.NamespaceOptions.Network = runtimeapi.NamespaceMode_NODE
	c.Hostname = ""
}

// TestForwardLeavesNothing: the pod's network namespace goes with the pod, though ports
// were forwarded, also if the client holds on to its connection.
func TestForwardLeavesNothing(t *testing.T) {
	t.Parallel()
	long(t)
	p := newPod(t)
	p.run("server", "kit", "echo", "tcp4", ":7000").says("listening")
	shim := p.shimPID()
	p.echoes(7000)
	before := sockets(t, shim)
	for range 10 {
		p.echoes(7000)
		p.refused(6999)
	}
	p.until("the shim has no more sockets than before", func(context.Context) (bool, string) {
		now := sockets(t, shim)
		return len(now) <= len(before), fmt.Sprintf("before: %q\nnow: %q", before, now)
	})
	f := p.forward(7000)
	_, err := io.WriteString(f, "x")
	check(t, err)
	_, err = io.ReadFull(f, make([]byte, 1))
	check(t, err)
	path, inode := p.netns()
	p.remove()
	if _, err := os.Lstat(path); err == nil {
		t.Errorf("the pod's network namespace is left at %s", path)
	}
	p.until("nobody holds the pod's network namespace", func(context.Context) (bool, string) {
		held := holders(inode)
		return len(held) == 0, strings.Join(held, "\n")
	})
	_ = f.Close()
}

// netns returns where the pod's network namespace is, and its number.
func (p *pod) netns() (path, number string) {
	p.t.Helper()
	_, info, err := p.Status(bounded(p.t))
	check(p.t, err)
	var more struct {
		RuntimeSpec struct {
			Linux struct {
				Namespaces []struct{ Type, Path string }
			}
		}
	}
	check(p.t, json.Unmarshal([]byte(info["info"]), &more))
	for _, ns := range more.RuntimeSpec.Linux.Namespaces {
		if ns.Type == "network" {
			path = ns.Path
		}
	}
	var stat unix.Stat_t
	if err := unix.Stat(path, &stat); err != nil {
		p.t.Fatalf("the pod's network namespace %q: %v", path, err)
	}
	return path, fmt.Sprintf("net:[%d]", stat.Ino)
}

// holders returns who is in a namespace, or has it open.
func holders(number string) []string {
	var list []string
	for _, pattern := range []string{"/proc/[0-9]*/ns/net", "/proc/[0-9]*/fd/*"} {
		paths, _ := filepath.Glob(pattern)
		for _, path := range paths {
			if to, err := os.Readlink(path); err == nil && to == number {
				list = append(list, path)
			}
		}
	}
	return list
}
