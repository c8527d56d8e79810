package pods

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"testing"

	"k8s.io/client-go/tools/remotecommand"
	"k8s.io/client-go/util/exec"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// screen is where a stream of a test goes.
type screen struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (s *screen) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.buf.Write(b)
}

func (s *screen) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.buf.String()
}

// shows waits until the screen has a text.
func (s *screen) shows(p *pod, text string) {
	p.t.Helper()
	p.until(fmt.Sprintf("%q is shown", text), func(context.Context) (bool, string) {
		got := s.String()
		return strings.Contains(got, text), got
	})
}

// TestLogs: all that a container writes is in its log, each stream in its order, also
// what it writes last.
func TestLogs(t *testing.T) {
	t.Parallel()
	long(t)
	p := newPod(t)
	c := p.run("c", "sh", "-c", "echo out; echo err >&2; printf partial; exit 4")
	c.ends(4, "Error")
	log, err := os.ReadFile(c.LogPath())
	check(t, err)
	equal(t, "stdout", stream(string(log), "stdout"), "out\npartial")
	equal(t, "stderr", stream(string(log), "stderr"), "err\n")

	const lines = 20000
	c = p.run("much", "sh", "-c", fmt.Sprintf("i=0; while [ $i -lt %d ]; do echo line $i; i=$((i+1)); done", lines))
	c.ends(0, "Completed")
	log, err = os.ReadFile(c.LogPath())
	check(t, err)
	var want strings.Builder
	for i := range lines {
		fmt.Fprintln(&want, "line", i)
	}
	if got := written(string(log)); got != want.String() {
		t.Errorf("the log has %d bytes, want %d: it ends with %q", len(got), want.Len(), got[max(0, len(got)-40):])
	}

	// A terminal has one stream.
	tty := config("tty", "sh", "-c", "test -t 0 && test -t 1 && test -t 2 && echo on a terminal; echo err >&2")
	tty.Tty = true
	c = p.runConfig(tty)
	c.ends(0, "Completed")
	log, err = os.ReadFile(c.LogPath())
	check(t, err)
	equal(t, "the terminal's output", strings.ReplaceAll(written(string(log)), "\r", ""), "on a terminal\nerr\n")
}

// TestExec: streams, status and surroundings of an exec.
func TestExec(t *testing.T) {
	t.Parallel()
	p := newPod(t)
	of := config("c", forever()...)
	of.Envs = []*runtimeapi.KeyValue{{Key: "WORD", Value: []byte("some words")}}
	of.WorkingDir = "/etc"
	of.Linux.SecurityContext.RunAsUser = &runtimeapi.Int64Value{Value: 65534}
	c := p.runConfig(of)
	stdout, stderr, code, err := c.Exec(bounded(t), "sh", "-c", `echo "$WORD" $(pwd) $(id -u); echo bad >&2; exit 9`)
	check(t, err)
	equal(t, "stdout", stdout, "some words /etc 65534\n")
	equal(t, "stderr", stderr, "bad\n")
	equal(t, "status", code, 9)

	execStdin(c)
	execTerminal(c)
	execTimeout(c)
	// What stays behind does not hold up the exec that has left it.
	unhindered(t, "an exec that leaves a process", func() {
		equal(t, "its answer", c.sh("sleep 27182818 >/dev/null 2>&1 & echo gone"), "gone")
	})
}

func execStdin(c *container) {
	const size = 4 << 20
	in := strings.Repeat("0123456789abcdef", size/16)
	var out, errs screen
	err := c.ExecStream(bounded(c.pod.t), remotecommand.StreamOptions{Stdin: strings.NewReader(in), Stdout: &out, Stderr: &errs},
		"sh", "-c", "cat; echo end >&2; exit 5")
	c.wantsCode(err, 5)
	if got := out.String(); got != in {
		c.pod.t.Errorf("%d bytes went in, %d came back", len(in), len(got))
	}
	equal(c.pod.t, "stderr", errs.String(), "end\n")
}

// wantsCode checks the error of an exec with streams that is to end with a status.
func (c *container) wantsCode(err error, code int) {
	c.pod.t.Helper()
	var failed exec.CodeExitError
	if !errors.As(err, &failed) || failed.Code != code {
		c.pod.t.Errorf("an exec ended with %v, want status %d", err, code)
	}
}

func execTerminal(c *container) {
	in, typed := io.Pipe()
	var out screen
	size := sizes{{Width: 77, Height: 33}}
	done := make(chan error, 1)
	go func() {
		done <- c.ExecStream(bounded(c.pod.t), remotecommand.StreamOptions{
			Stdin: in, Stdout: &out, Tty: true, TerminalSizeQueue: &size}, "sh")
	}()
	fmt.Fprintln(typed, "stty -echo; until stty size | grep '33 77'; do sleep 0.1; done; echo got $((40+2))")
	out.shows(c.pod, "got 42")
	fmt.Fprintln(typed, "exit 6")
	c.wantsCode(<-done, 6)
	check(c.pod.t, typed.Close())
}

// execTimeout: an exec that takes longer than it may is ended.
func execTimeout(c *container) {
	_, err := c.pod.node.Runtime.ExecSync(bounded(c.pod.t), &runtimeapi.ExecSyncRequest{
		ContainerId: c.ID, Cmd: []string{"sleep", "31415926"}, Timeout: 1})
	if err == nil || !oneOf(err.Error(), "timeout", "deadline") {
		c.pod.t.Errorf("an exec that takes too long: %v", err)
	}
	c.pod.until("the exec is gone", func(context.Context) (bool, string) {
		list := c.sh("ps -o args")
		return !strings.Contains(list, "31415926"), list
	})
}

// sizes are a terminal's sizes, one after the other.
type sizes []remotecommand.TerminalSize

// Next returns the next size, or nil if it stays.
func (s *sizes) Next() *remotecommand.TerminalSize {
	if len(*s) == 0 {
		return nil
	}
	next := (*s)[0]
	*s = (*s)[1:]
	return &next
}

// TestExecsAtOnce: execs of one container do not disturb each other.
func TestExecsAtOnce(t *testing.T) {
	t.Parallel()
	long(t)
	p := newPod(t)
	c := p.run("c", forever()...)
	var all sync.WaitGroup
	for i := range 20 {
		all.Go(func() {
			stdout, stderr, code, err := c.Exec(bounded(t), "sh", "-c", fmt.Sprintf("echo out%d; echo err%d >&2; exit %d", i, i, i))
			want := fmt.Sprintf("out%d\nerr%d\n", i, i)
			if err != nil || stdout+stderr != want || code != int32(i) {
				t.Errorf("exec %d: %q %q %d %v", i, stdout, stderr, code, err)
			}
		})
	}
	all.Wait()
}

// typeUntil types lines until the screen shows a text. The first ones may be answered
// before containerd lets the client see it.
func typeUntil(p *pod, typed io.Writer, line func(i int) string, out *screen, text string) {
	p.t.Helper()
	i := 0
	p.until(fmt.Sprintf("%q is shown", text), func(context.Context) (bool, string) {
		fmt.Fprintln(typed, line(i))
		i++
		got := out.String()
		return strings.Contains(got, text), got
	})
}

// TestAttach: a client may come and go; the container stays, and its log is complete.
func TestAttach(t *testing.T) {
	t.Parallel()
	long(t)
	p := newPod(t)
	of := config("c", "sh", "-c", "while read line; do echo got $line; [ $line = end ] && exit 8; done; exit 9")
	of.Stdin = true
	c := p.runConfig(of)
	var seen []string
	for i := range 2 {
		ctx, leave := context.WithCancel(bounded(t))
		in, typed := io.Pipe()
		var out screen
		done := make(chan error, 1)
		go func() {
			done <- c.Attach(ctx, remotecommand.StreamOptions{Stdin: in, Stdout: &out, Stderr: io.Discard})
		}()
		typeUntil(p, typed, func(n int) string { return fmt.Sprintf("%d-%d", i, n) }, &out, fmt.Sprintf("got %d-", i))
		leave()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("the client that left: %v", err)
		}
		seen = append(seen, out.String())
		c.wants(running)
	}
	// What it says last may not reach a client, which containerd closes, but the log.
	check(t, c.Attach(bounded(t), remotecommand.StreamOptions{Stdin: strings.NewReader("end\n"), Stdout: io.Discard, Stderr: io.Discard}))
	c.ends(8, "Error")
	text, err := os.ReadFile(c.LogPath())
	check(t, err)
	log := written(string(text))
	for _, part := range append(seen, "got end\n") {
		if !strings.Contains(log, part) {
			t.Errorf("the log lacks %q: %q", part, log)
		}
	}
}

// TestAttachTerminal: a terminal can be attached and resized.
func TestAttachTerminal(t *testing.T) {
	t.Parallel()
	long(t)
	p := newPod(t)
	of := config("c", "sh")
	of.Stdin, of.Tty = true, true
	c := p.runConfig(of)
	in, typed := io.Pipe()
	var out screen
	size := sizes{{Width: 99, Height: 44}}
	done := make(chan error, 1)
	go func() {
		done <- c.Attach(bounded(t), remotecommand.StreamOptions{Stdin: in, Stdout: &out, Tty: true, TerminalSizeQueue: &size})
	}()
	typeUntil(p, typed, func(int) string { return "stty size" }, &out, "44 99")
	fmt.Fprintln(typed, "exit 3")
	check(t, <-done)
	c.ends(3, "Error")
	check(t, typed.Close())
}

// TestStdinOnce: the input ends with the first client.
func TestStdinOnce(t *testing.T) {
	t.Parallel()
	long(t)
	p := newPod(t)
	of := config("c", "sh", "-c", "cat; echo over")
	of.Stdin, of.StdinOnce = true, true
	c := p.runConfig(of)
	check(t, c.Attach(bounded(t), remotecommand.StreamOptions{Stdin: strings.NewReader("all\n"), Stdout: io.Discard, Stderr: io.Discard}))
	c.ends(0, "Completed")
	log, err := os.ReadFile(c.LogPath())
	check(t, err)
	equal(t, "the output", written(string(log)), "all\nover\n")
}
