package contract

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"containerd-shim-runsc/test/fakerunsc/script"
	"containerd-shim-runsc/test/harness"
)

// Connections to loopback in a pod's network namespace reach the sandbox; containerd
// makes them for a port-forward.

// stackless skips a test on a runsc whose network stack does not start here.
func stackless(t *testing.T, e *harness.Env) {
	t.Helper()
	if e.Old() {
		t.Skip("the network stack of this runsc does not start on newer kernels")
	}
}

func TestPortForward_Reaches(t *testing.T) {
	both(t, func(t *testing.T, e *harness.Env) {
		stackless(t, e)
		n := newPodNet(t)
		k := n.root(e, "echo:7")
		for _, address := range []string{"127.0.0.1:7", "[::1]:7", "127.1.2.3:7"} {
			echoes(t, n.dial(address), "to "+address)
		}
		n.refuses("127.0.0.1:8")
		n.refuses("[::1]:8")
		c := n.dial("127.0.0.1:7")
		echoes(t, c, "still")
		k.Signal(unix.SIGKILL)
		k.WaitFor(137)
		ended(t, c)
		k.Delete()
		n.untouched()
		n.refuses("127.0.0.1:7")
	})
}

func TestPortForward_ManyAtOnce(t *testing.T) {
	both(t, func(t *testing.T, e *harness.Env) {
		stackless(t, e)
		n := newPodNet(t)
		n.root(e, "echo:7")
		var all sync.WaitGroup
		for i := range 50 {
			all.Go(func() {
				address := []string{"127.0.0.1:7", "[::1]:7", "127.0.0.1:9"}[i%3]
				if i%3 == 2 {
					n.refuses(address)
					return
				}
				c, err := n.try(address)
				if err != nil {
					t.Errorf("connect to %s: %v", address, err)
					return
				}
				defer func() { _ = c.Close() }()
				for round := range 3 {
					echoes(t, c, fmt.Sprintf("client %d, round %d", i, round))
				}
			})
		}
		all.Wait()
	})
}

// TestPortForward_Amounts: everything arrives, and the end of it. By commands alone, what
// is sent to the sandbox fits its buffers: gVisor's own forwarder loses data when the
// program there does not read in time.
func TestPortForward_Amounts(t *testing.T) {
	onRunsc(t, func(t *testing.T, e *harness.Env) {
		stackless(t, e)
		n := newPodNet(t)
		n.root(e, "hash:80", "bytes:81", "once:82")
		up, down := 64<<20, int64(16<<20)
		if os.Getenv("SHIM_TEST_CONTROL") == "cli" {
			up = 512 << 10
		}
		line := []byte(strings.Repeat("0123456789abcdef", 64)[:1023] + "\n")
		sent := bytes.Repeat(line, up/len(line))
		c := n.dial("127.0.0.1:80")
		if _, err := c.Write(append(sent, '\n')); err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(c); err != nil || string(got) != fmt.Sprintf("%x", sha256.Sum256(sent)) {
			t.Errorf("of what was sent the hash is %s, %v", got, err)
		}
		c = n.dial("[::1]:81")
		_, _ = fmt.Fprintln(c, down)
		if got, err := io.Copy(io.Discard, c); err != nil || got != down {
			t.Errorf("%d bytes came, %v, want %d", got, err, down)
		}
		// Its listener is for one connection.
		c = n.dial("127.0.0.1:82")
		if got, err := bufio.NewReader(c).ReadString('\n'); err != nil || got != "the only one\n" {
			t.Errorf("%q, %v", got, err)
		}
		n.refuses("127.0.0.1:82")
	})
}

// relays skips a test of what only a relay in the sandbox does.
func relays(t *testing.T) {
	t.Helper()
	if os.Getenv("SHIM_TEST_CONTROL") == "cli" {
		t.Skip("there is no relay by commands alone")
	}
}

// TestPortForward_Deaf: a server that accepts nothing holds up nobody but its own clients.
func TestPortForward_Deaf(t *testing.T) {
	relays(t)
	onRunsc(t, func(t *testing.T, e *harness.Env) {
		stackless(t, e)
		n := newPodNet(t)
		n.root(e, "deaf:80", "echo:7")
		var all sync.WaitGroup
		for i := range 6 {
			all.Go(func() {
				c, err := n.try([]string{"127.0.0.1:80", "[::1]:80"}[i%2])
				if err == nil { // it has found room in the queue
					t.Cleanup(func() { _ = c.Close() })
				} else if !errors.Is(err, unix.ECONNREFUSED) {
					t.Error(err)
				}
			})
		}
		time.Sleep(500 * time.Millisecond) // until they wait
		start := time.Now()
		echoes(t, n.dial("127.0.0.1:7"), "meanwhile")
		if took := time.Since(start); took > 2*time.Second {
			t.Errorf("it took %s", took)
		}
		all.Wait()
	})
}

// TestPortForward_Broken: what a server has broken off does not look complete.
func TestPortForward_Broken(t *testing.T) {
	relays(t)
	onRunsc(t, func(t *testing.T, e *harness.Env) {
		stackless(t, e)
		n := newPodNet(t)
		n.root(e, "bytes:81")
		c := n.dial("127.0.0.1:81")
		// A server that closes and has not read all breaks the connection. What is sent
		// is so little that nobody still sends it then, and learns of that instead.
		_, _ = c.Write(append([]byte("100\n"), make([]byte, 16<<10)...))
		if got, err := io.Copy(io.Discard, c); !errors.Is(err, unix.ECONNRESET) {
			t.Errorf("%d bytes came, %v", got, err)
		}
	})
}

// TestPortForward_WithoutRelay: what can never be had is asked for once, and what may be
// had the next time some times more.
func TestPortForward_WithoutRelay(t *testing.T) {
	for name, c := range map[string]struct {
		faults []script.Fault
		asks   int
	}{
		"unknown": {[]script.Fault{{Verb: script.Sock("ExecuteAsync"), Do: script.Unknown}}, 1},
		"refused": {nil, 3}, // the scripted runsc takes no program from outside
		"broken":  {[]script.Fault{{Verb: script.Sock("ExecuteAsync"), Do: script.Disconnect}}, 3},
	} {
		t.Run(name, func(t *testing.T) {
			onSocket(t, func(t *testing.T, e *harness.Env) {
				n := newPodNet(t)
				n.root(e)
				e.Script.Set(c.faults...)
				for range 5 {
					echoes(t, n.dial("127.0.0.1:7"), name)
				}
				if asked := len(e.Script.Calls(script.Sock("ExecuteAsync"))); asked != c.asks {
					t.Errorf("it was asked for %d times, want %d", asked, c.asks)
				}
			})
		})
	}
}

// TestPortForward_Container: all containers of a pod have the sandbox's loopback.
func TestPortForward_Container(t *testing.T) {
	onRunsc(t, func(t *testing.T, e *harness.Env) {
		stackless(t, e)
		n := newPodNet(t)
		n.root(e)
		n.refuses("127.0.0.1:80")
		k := e.Running(harness.Container{ID: "web", Pod: "pod", Args: listener(e, "echo:80"), Edit: func(s *specs.Spec) {
			n.join(s)
			withListener(t, e, s)
		}})
		awaitListener(t, e, k)
		c := n.dial("127.0.0.1:80")
		echoes(t, c, "in a container")
		k.Signal(unix.SIGKILL)
		k.WaitFor(137)
		ended(t, c)
		n.refuses("127.0.0.1:80")
		k.Delete()
	})
}

// TestPortForward_SandboxDies: with the sandbox goes what was made for it.
func TestPortForward_SandboxDies(t *testing.T) {
	both(t, func(t *testing.T, e *harness.Env) {
		stackless(t, e)
		n := newPodNet(t)
		k := n.root(e, "echo:7")
		c := n.dial("127.0.0.1:7")
		echoes(t, c, "alive")
		if err := unix.Kill(k.HostPID(), unix.SIGKILL); err != nil {
			t.Fatal(err)
		}
		k.WaitFor(137)
		ended(t, c)
		n.untouched()
		n.refuses("127.0.0.1:7")
	})
}

// TestPortForward_ShimDies: with the shim goes what it made.
func TestPortForward_ShimDies(t *testing.T) {
	both(t, func(t *testing.T, e *harness.Env) {
		stackless(t, e)
		n := newPodNet(t)
		k := n.root(e, "echo:7")
		c := n.dial("127.0.0.1:7")
		echoes(t, c, "alive")
		k.Shim.Kill()
		ended(t, c)
		n.untouched()
		n.refuses("127.0.0.1:7")
		if _, _, err := e.DeleteAction(k.ID); err != nil {
			t.Error(err)
		}
		k.Forget()
	})
}

// TestPortForward_Namespace: a shim without tasks holds no namespace.
func TestPortForward_Namespace(t *testing.T) {
	both(t, func(t *testing.T, e *harness.Env) {
		stackless(t, e)
		host, n := newPodNet(t), newPodNet(t)
		// A pair of devices is gone when the namespace of one is.
		if err := host.do(func() error {
			out, err := exec.Command("ip", "link", "add", "pod", "type", "veth", "peer", "name", "eth0", "netns", n.path()).CombinedOutput()
			if err != nil {
				return fmt.Errorf("%w: %s", err, out)
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		k := n.root(e, "echo:7")
		c := n.dial("127.0.0.1:7")
		echoes(t, c, "there")
		_ = c.Close()
		k.Signal(unix.SIGKILL)
		k.WaitFor(137)
		n.leave()
		harness.Eventually(t, "the pod's network namespace is gone", func() bool {
			return host.do(func() error { return exec.Command("ip", "link", "show", "pod").Run() }) != nil
		})
		k.Delete()
	})
}

// TestPortForward_Off: nothing is made where it is not wanted, or where the sandbox's
// loopback is another.
func TestPortForward_Off(t *testing.T) {
	for name, set := range map[string]func(e *harness.Env){
		"by the option":   func(e *harness.Env) { e.Config += "port_forward = false\n" },
		"without network": func(e *harness.Env) { e.Flags += `network = "none"` + "\n" },
	} {
		t.Run(name, func(t *testing.T) {
			both(t, func(t *testing.T, e *harness.Env) {
				stackless(t, e)
				set(e)
				n := newPodNet(t)
				n.root(e, "echo:7")
				n.untouched()
				n.refuses("127.0.0.1:7")
			})
		})
	}
}

// TestPortForward_Hangs: a sandbox that does not answer holds nothing else up, and the
// client not for ever.
func TestPortForward_Hangs(t *testing.T) {
	eachWay(t, func(t *testing.T, e *harness.Env, w way) {
		n := newPodNet(t)
		k := n.root(e)
		k.IO.Out.Until(t, "ready")
		verb := map[way]string{byCommand: "port-forward", bySocket: script.Sock("PortForward")}[w]
		gate := e.Script.Gate()
		e.Script.Set(hang(verb, gate))
		var refused sync.WaitGroup
		refused.Go(func() { n.refuses("127.0.0.1:7") })
		e.Script.AwaitHang(verb)
		answers(t, k, nil, nil)
		refused.Wait()
		gate.Open()
		echoes(t, n.dial("127.0.0.1:7"), "again")
	})
}

// TestPortForward_Refusals: whatever else goes wrong, the client is refused, and the next
// one is not.
func TestPortForward_Refusals(t *testing.T) {
	onSocket(t, func(t *testing.T, e *harness.Env) {
		n := newPodNet(t)
		n.root(e)
		// After the last, it is done by command.
		for _, do := range []script.Action{script.Disconnect, script.Half, script.Garbage} {
			e.Script.Set(script.Fault{Verb: script.Sock("PortForward"), Nth: 1, Do: do})
			n.refuses("127.0.0.1:7")
			echoes(t, n.dial("127.0.0.1:7"), string(do))
		}
	})
}

// TestPortForward_OldSandbox: a runsc that knows neither the method nor the command
// refuses, and the log says why.
func TestPortForward_OldSandbox(t *testing.T) {
	onSocket(t, func(t *testing.T, e *harness.Env) {
		n := newPodNet(t)
		n.root(e)
		e.Script.Set(
			script.Fault{Verb: script.Sock("PortForward"), Do: script.Unknown},
			fail("port-forward", "Usage: runsc <flags> <subcommand>"),
		)
		n.refuses("127.0.0.1:7")
		n.refuses("127.0.0.1:7")
		e.AwaitLog("there is no port-forward")
		if l := e.Logged("there is no port-forward"); len(l) != 1 {
			t.Errorf("the log says it %d times: %v", len(l), l)
		}
	})
}
