package portforward

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// tables returns how many of nftables' tables the namespace has.
func (n *namespace) tables() (count int) {
	n.t.Helper()
	conn, err := dialNetfilter(n.file)
	if err != nil {
		n.t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	m := message(unix.NFNL_SUBSYS_NFTABLES<<8|unix.NFT_MSG_GETTABLE, unix.NFPROTO_UNSPEC, 0, func(*netlink.AttributeEncoder) {})
	m.Header.Flags |= netlink.Dump
	all, err := conn.Execute(m)
	if err != nil {
		n.t.Fatal(err)
	}
	return len(all)
}

func TestRefusesNamespaces(t *testing.T) {
	t.Parallel()
	s := newSandbox(t, nil)
	own, err := os.Open(threadNetns)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = own.Close() }()
	if _, err := Start(t.Context(), fmt.Sprintf("/proc/self/fd/%d", own.Fd()), s.dial); !errdefs.IsFailedPrecondition(err) {
		t.Errorf("the host's own: %v", err)
	}
	if _, err := Start(t.Context(), "/proc/self/ns/none", s.dial); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("none: %v", err)
	}
	if _, err := Start(t.Context(), "/proc/self/ns/uts", s.dial); err == nil {
		t.Error("another kind of namespace is taken")
	}
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Start(t.Context(), fifo, s.dial); err == nil {
		t.Error("a FIFO is taken")
	}
}

// TestOneOfTwo: the first in a namespace has it.
func TestOneOfTwo(t *testing.T) {
	t.Parallel()
	n, s := newNamespace(t), newSandbox(t, map[uint16]func(*net.UnixConn){80: echo})
	f := n.forward(s)
	if _, err := Start(t.Context(), n.path, s.dial); err == nil {
		t.Error("a second one starts")
	}
	says(t, n.dial("127.0.0.1:80"), "first")
	n.close(f)
	n.forward(s)
	says(t, n.dial("127.0.0.1:80"), "again")
}

// TestTablesOfAnother: who cannot have the queue leaves the tables of who has it, also where
// the kernel does not guard them.
func TestTablesOfAnother(t *testing.T) {
	t.Parallel()
	n := newNamespace(t)
	w := way{compat: true}
	first, err := tryQueue(n.file, w)
	if err != nil {
		t.Fatal(err)
	}
	if q, err := tryQueue(n.file, w); !errors.Is(err, unix.EPERM) {
		t.Errorf("a second queue: %v, %v", q, err)
	}
	if n.tables() != len(protocols()) {
		t.Errorf("%d tables", n.tables())
	}
	if err := first.close(); err != nil {
		t.Error(err)
	}
}

// TestEveryWay: what serves where a kernel lacks the best serves as well.
func TestEveryWay(t *testing.T) {
	t.Parallel()
	n := newNamespace(t)
	worked := 0
	for _, w := range ways() {
		q, err := tryQueue(n.file, w)
		if errors.Is(err, unix.ENOENT) && !w.compat {
			t.Logf("%+v: %v", w, err)
			continue // a kernel without NFT_QUEUE
		}
		if err != nil {
			t.Errorf("%+v: %v", w, err)
			continue
		}
		worked++
		var ln net.Listener
		if err := inNetns(n.file, func() (err error) {
			ln, err = net.Listen("tcp", ":80")
			return err
		}); err != nil {
			t.Fatal(err)
		}
		for _, address := range []string{"127.0.0.1:80", "[::1]:80"} {
			for _, v := range []verdict{accept, refuse} {
				dialed := make(chan error)
				go func() {
					c, err := n.begin(net.Dialer{}, address)
					if err == nil {
						_ = c.Close()
					}
					dialed <- err
				}()
				packets, err := q.receive()
				if err != nil || len(packets) != 1 {
					t.Fatalf("%+v: %v, %v", w, packets, err)
				}
				if c, ok := parseSYN(packets[0].data); !ok || c.to.String() != address {
					t.Errorf("%+v: %v, %v", w, c, ok)
				}
				if err := q.decide(packets[0].id, v); err != nil {
					t.Error(err)
				}
				if err := <-dialed; err == nil != (v == accept) || err != nil && !errors.Is(err, unix.ECONNREFUSED) {
					t.Errorf("%+v, verdict %d on a SYN to %s: %v", w, v, address, err)
				}
			}
		}
		_ = ln.Close()
		if n.tables() != len(protocols()) {
			t.Errorf("%+v: %d tables", w, n.tables())
		}
		if err := q.close(); err != nil {
			t.Error(err)
		}
		if n.tables() != 0 {
			t.Errorf("%+v: %d tables are left", w, n.tables())
		}
	}
	if worked == 0 {
		t.Error("no way works")
	}
}

// TestLeftTable: the tables of a process that was killed, on a kernel that does not remove
// them, let connections pass, and are replaced.
func TestLeftTable(t *testing.T) {
	t.Parallel()
	n := newNamespace(t)
	w := way{compat: true}
	for range 3 {
		q, err := tryQueue(n.file, w)
		if err != nil {
			t.Fatal(err)
		}
		_ = q.conn.Close()
		if n.tables() != len(protocols()) {
			t.Errorf("%d tables", n.tables())
		}
		n.refuses("127.0.0.1:80")
		n.refuses("[::1]:80")
	}
	q, err := tryQueue(n.file, w)
	if err != nil {
		t.Fatal(err)
	}
	if err := q.close(); err != nil || n.tables() != 0 {
		t.Errorf("%v, %d tables", err, n.tables())
	}
}

// TestNothingIsLeft: after Close there is no table, no descriptor, and no namespace if
// nobody else has it.
func TestNothingIsLeft(t *testing.T) {
	far, near := newNamespace(t), newNamespace(t)
	// A pair of devices is gone when the namespace of one is.
	if err := inNetns(near.file, func() error {
		cmd := exec.Command("ip", "link", "add", "near", "type", "veth", "peer", "name", "far", "netns", "/proc/self/fd/3")
		cmd.ExtraFiles = []*os.File{far.file}
		out, err := cmd.CombinedOutput()
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	paired := func() (found bool) {
		_ = inNetns(near.file, func() error {
			_, err := net.InterfaceByName("near")
			found = err == nil
			return nil
		})
		return found
	}
	s := newSandbox(t, map[uint16]func(*net.UnixConn){80: echo})
	f := far.forward(s)
	c := far.dial("127.0.0.1:80")
	says(t, c, "open")
	far.refuses("127.0.0.1:81")
	_ = far.file.Close()
	if !paired() {
		t.Fatal("the namespace went before its time")
	}
	far.close(f)
	_ = c.Close()
	eventually(t, "the namespace is gone", func() bool { return !paired() })
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range fds {
		if to, _ := os.Readlink("/proc/self/fd/" + fd.Name()); strings.HasPrefix(to, "net:") && fd.Name() != fmt.Sprint(near.file.Fd()) {
			t.Errorf("descriptor %s is %s, near %s %d", fd.Name(), to, near.path, near.file.Fd())
		}
	}
}

// TestClose: what the sandbox has sent still comes, and no connection stays.
func TestClose(t *testing.T) {
	t.Parallel()
	for name, alive := range map[string]bool{"a living sandbox": true, "a dead sandbox": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := newNamespace(t)
			block := make([]byte, 1<<20)
			speak, spoken := make(chan struct{}), make(chan struct{})
			s := newSandbox(t, map[uint16]func(*net.UnixConn){
				80: echo,
				81: func(c *net.UnixConn) {
					_, _ = io.WriteString(c, "first")
					<-speak
					_, _ = io.WriteString(c, "last words")
					close(spoken)
					_, _ = io.Copy(io.Discard, c)
				},
				82: func(c *net.UnixConn) { // to a client that does not read
					for err := error(nil); err == nil; {
						_, err = c.Write(block)
					}
				},
			})
			f := n.forward(s)
			idle, last, full := n.dial("127.0.0.1:80"), n.dial("[::1]:81"), n.dial("127.0.0.1:82")
			says(t, idle, "idle")
			_, _ = io.ReadFull(full, make([]byte, 1))
			_, _ = io.ReadFull(last, make([]byte, len("first")))
			close(speak)
			<-spoken
			if !alive {
				s.die()
			}
			start := time.Now()
			n.close(f)
			if took := time.Since(start); took > 2*drainTimeout {
				t.Errorf("it took %s", took)
			}
			if b, err := io.ReadAll(last); err != nil || string(b) != "last words" {
				t.Errorf("last words %q, %v", b, err)
			}
			if b, err := io.ReadAll(idle); err != nil || len(b) > 0 {
				t.Errorf("after the end came %q, %v", b, err)
			}
			_, _ = io.Copy(io.Discard, full)
			s.wait()
			n.refuses("127.0.0.1:80")
			if n.tables() != 0 {
				t.Errorf("%d tables", n.tables())
			}
		})
	}
}

// TestCloseAtAnyTime: while connections are made, Close ends them all, and leaves none in
// the middle.
func TestCloseAtAnyTime(t *testing.T) {
	t.Parallel()
	n := newNamespace(t)
	for round := range 20 {
		s := newSandbox(t, map[uint16]func(*net.UnixConn){80: echo})
		s.before = func(ctx context.Context, _ uint16) error {
			select {
			case <-time.After(time.Duration(round) * 100 * time.Microsecond):
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		f, err := Start(t.Context(), n.path, s.dial)
		if err != nil {
			t.Fatal(err)
		}
		var clients sync.WaitGroup
		for range 10 {
			clients.Go(func() {
				c, err := n.begin(net.Dialer{}, "127.0.0.1:80")
				if err != nil {
					if !errors.Is(err, unix.ECONNREFUSED) && !errors.Is(err, unix.ECONNRESET) {
						t.Error(err)
					}
					return
				}
				_ = c.SetDeadline(time.Now().Add(patience))
				if _, err := io.Copy(io.Discard, c); errors.Is(err, os.ErrDeadlineExceeded) {
					t.Error("a connection stays")
				}
				_ = c.Close()
			})
		}
		eventually(t, "the sandbox is asked", func() bool { return s.dialed() > round/4 })
		n.close(f)
		clients.Wait()
		s.wait()
	}
}

const victimEnv = "PORTFORWARD_TEST_VICTIM"

// victim forwards ports until it is killed. It holds the second connection up.
func victim(path string) {
	n := 0
	_, err := Start(context.Background(), path, func(ctx context.Context, _ netip.AddrPort) (Conn, error) {
		if n++; n == 2 {
			fmt.Println("held")
			<-ctx.Done()
			return Conn{}, ctx.Err()
		}
		ours, theirs, err := socketPair()
		if err == nil {
			go echo(theirs)
		}
		return Conn{UnixConn: ours}, err
	})
	fmt.Println("started:", err)
	select {}
}

// TestKilled: of a process that is killed nothing is left, and nobody waits for it.
func TestKilled(t *testing.T) {
	t.Parallel()
	n := newNamespace(t)
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), victimEnv+"="+n.path)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	await := func(want string) {
		t.Helper()
		if !lines.Scan() || lines.Text() != want {
			t.Errorf("it says %q, want %q", lines.Text(), want)
		}
	}
	await("started: <nil>")
	c := n.dial("127.0.0.1:80")
	says(t, c, "alive")
	var held sync.WaitGroup
	held.Go(func() { n.refuses("127.0.0.1:80") })
	await("held")
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	if _, err := io.Copy(io.Discard, c); errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("a connection stays")
	}
	held.Wait()
	n.refuses("127.0.0.1:80")
	n.refuses("[::1]:80")
	eventually(t, "the tables are gone", func() bool { return n.tables() == 0 })
}
