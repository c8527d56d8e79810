package runsc

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"containerd-shim-runsc/runsc/control"
)

// fuzzTimeout bounds what a test does at once.
const fuzzTimeout = 5 * time.Second

// FuzzOutput checks that whatever a runsc prints and however it ends, each question has an
// answer that can be, or an error that is short.
func FuzzOutput(f *testing.F) {
	for verb := range uint8(5) {
		f.Add(verb, []byte(`{"exitStatus":42}`), uint8(0))
		f.Add(verb, []byte(""), uint8(0))
		f.Add(verb, []byte("null"), uint8(0))
		f.Add(verb, []byte("runsc: \xff\x00"+strings.Repeat("x", 9000)), uint8(128))
	}
	f.Add(uint8(0), []byte(`{"exitStatus":-1}`), uint8(0))
	f.Add(uint8(0), []byte(`{"exitStatus":256}`), uint8(0))
	f.Add(uint8(1), []byte(`{"type":"stats","id":"c","data":{"pids":{"current":3}}}`), uint8(0))
	f.Add(uint8(2), []byte(`[1,2]`), uint8(0))
	f.Add(uint8(2), []byte(`[0,-1,4294967297]`), uint8(0))
	f.Add(uint8(3), []byte("runsc version release-20260905.0\nspec: 1.1.0\n"), uint8(0))
	f.Add(uint8(4), []byte(`{"mountOptions":["ro","nosuid"]}`), uint8(0))
	f.Fuzz(func(t *testing.T, verb uint8, out []byte, status uint8) {
		c := testContainer(t, "exec 3<\"$0.out\"; cat <&3; exit $(cat \"$0.status\")")
		binary := c.runc.Command
		for name, b := range map[string][]byte{".out": out, ".status": []byte(itoa(status))} {
			if err := os.WriteFile(binary+name, b, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), fuzzTimeout)
		defer cancel()
		var err error
		switch verb % 5 {
		case 0:
			var exit Exit
			if exit, err = c.waitByCommand(ctx, 0); exit.Status < 0 || exit.Status > 255 || err != nil && exit != (Exit{}) {
				t.Errorf("%+v, %v", exit, err)
			}
		case 1:
			stats, serr := c.statsByCommand(ctx, "c")
			if err = serr; (stats == nil) != (err != nil) {
				t.Errorf("%+v, %v", stats, err)
			}
		case 2:
			var pids []int
			pids, err = c.Processes(ctx)
			if len(pids) > control.MaxProcesses || err != nil && pids != nil {
				t.Errorf("%d pids, %v", len(pids), err)
			}
			for _, pid := range pids {
				if pid <= 0 || int(int32(pid)) != pid {
					t.Errorf("the pid %d", pid)
				}
			}
		case 3:
			var version string
			if version, err = c.version(ctx); err != nil && version != "" || strings.Contains(version, "\n") {
				t.Errorf("%q, %v", version, err)
			}
		case 4:
			features, ferr := Features(ctx, binary)
			if err = ferr; (features == nil) != (err != nil) {
				t.Errorf("%+v, %v", features, err)
			}
		}
		if ctx.Err() != nil {
			t.Fatal("it hangs")
		}
		if err == nil && status != 0 {
			t.Errorf("no error, and it ended with %d", status)
		}
		if err != nil && len(err.Error()) > 2*maxSaid {
			t.Errorf("an error of %d bytes: %.200q", len(err.Error()), err)
		}
	})
}

func itoa(n uint8) string { return string([]byte{'0' + n/100, '0' + n/10%10, '0' + n%10}) }

// FuzzCommandError checks that whatever runsc logs, the error says it in a few words, and has
// at most one kind.
func FuzzCommandError(f *testing.F) {
	f.Add("loading container: file does not exist", uint16(1))
	f.Add(`container "c" not found`, uint16(1))
	f.Add("connection refused in state paused", uint16(2))
	f.Add("", uint16(1))
	f.Add("é", uint16(maxSaid))
	f.Fuzz(func(t *testing.T, text string, times uint16) {
		said := strings.Repeat(text, min(int(times), 3*maxSaid/max(len(text), 1)+1))
		end := errors.New("exit status")
		err := commandError("kill", "web", said, end)
		if !errors.Is(err, end) || !strings.Contains(err.Error(), "runsc kill web: ") {
			t.Errorf("%v", err)
		}
		if len(err.Error()) > maxSaid+200 {
			t.Errorf("an error of %d bytes", len(err.Error()))
		}
		kinds := 0
		for _, is := range []func(error) bool{
			errdefs.IsNotFound, errdefs.IsUnavailable, errdefs.IsInvalidArgument, errdefs.IsFailedPrecondition, errdefs.IsNotImplemented,
		} {
			if is(err) {
				kinds++
			}
		}
		if kinds > 1 {
			t.Errorf("%v is of %d kinds", err, kinds)
		}
	})
}

// FuzzLog checks that whatever is in a command's log, the end of it is kept, and an error that
// is the last in it is found.
func FuzzLog(f *testing.F) {
	f.Add([]byte("runtime: panic{\"msg\":\"boom\",\"level\":\"error\"}\ngoroutine 1 {}"), uint16(0))
	f.Add([]byte(`{"msg":"   ","level":"error"}`), uint16(1))
	f.Add([]byte("x"), uint16(60000))
	f.Add([]byte(`{"`), uint16(3000))
	f.Fuzz(func(t *testing.T, b []byte, times uint16) {
		const last = `{"level":"error","msg":"the last"}`
		said, err := newLog()
		if err != nil {
			t.Fatal(err)
		}
		// All that is written fits what may be: less than the most.
		n := min(int(times), maxLog/4/max(len(b), 1))
		for range n {
			if _, err := said.w.Write(b); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := said.w.WriteString(last); err != nil {
			t.Fatal(err)
		}
		tail := said.end()
		if len(tail) > 4*logTail {
			t.Errorf("%d bytes are kept", len(tail))
		}
		if !bytes.HasSuffix(tail, []byte(last)) {
			t.Errorf("kept is %.100q", tail)
		}
		if got := lastError(tail); got != "the last" {
			t.Errorf("the last error is %.100q", got)
		}
	})
}

// counting reads as what it begins with, and then as zeros without an end.
type counting struct {
	begin io.Reader
	read  int
}

func (e *counting) Read(b []byte) (int, error) {
	n, err := e.begin.Read(b)
	if err != nil {
		n = len(b)
	}
	e.read += n
	return n, nil
}

// FuzzArgs checks that whatever a process of the host has for its arguments, it is none of
// runsc's unless it says so, and that not much is read to know it.
func FuzzArgs(f *testing.F) {
	f.Add([]byte("runsc-sandbox\x00--root=/x\x00boot\x00--bundle=/b\x00c"), "/b")
	f.Add([]byte("runsc-gofer\x00--bundle\x00/b"), "/c")
	f.Add([]byte("runsc-sandboxes\x00--bundle=/b"), "")
	f.Add([]byte("runsc-gofer"), "\x00")
	f.Add([]byte("\x00runsc-gofer\x00--bundle=/b"), "x")
	f.Fuzz(func(t *testing.T, cmdline []byte, bundle string) {
		of := &counting{begin: bytes.NewReader(cmdline)}
		name, at := parseArgs(of)
		if name != "" && name != sandboxName && name != goferName || name == "" && at != "" ||
			!bytes.HasPrefix(cmdline, []byte(name)) || !bytes.Contains(cmdline, []byte(at)) {
			t.Errorf("%q of %q", name, at)
		}
		if most := len(sandboxName) + 1 + maxArgs; of.read > 2*most || name == "" && of.read > 2*len(sandboxName) {
			t.Errorf("%d bytes were read", of.read)
		}
		if strings.Contains(bundle, "\x00") || len(bundle) > 4096 {
			return
		}
		for _, args := range []string{"--bundle=" + bundle, "--bundle\x00" + bundle} {
			name, at := parseArgs(strings.NewReader(goferName + "\x00--root\x00/x\x00" + args + "\x00"))
			if name != goferName || at != bundle {
				t.Errorf("%q is of %q, not of %q", name, at, bundle)
			}
		}
	})
}

// FuzzPID checks that whatever runsc writes where a pid should be, it is one, or nothing, or
// garbage, and nobody waits for it for ever.
func FuzzPID(f *testing.F) {
	for _, text := range []string{"", "17", "17\n", "\n17", "0", "-1", "+5", "2147483648", "4294967297", "1x", strings.Repeat("9", 100)} {
		f.Add([]byte(text), uint16(1))
	}
	f.Add([]byte("x"), uint16(65535))
	f.Add([]byte("17\n"), uint16(30000))
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, text []byte, times uint16) {
		const most = 70_000 // more than a pipe takes
		b := bytes.Repeat(text, min(int(times), most/max(len(text), 1)+1))
		if pid := parsePID(b); pid < garbage || int(int32(pid)) != pid {
			t.Errorf("the pid is %d", pid)
		}
		file := filepath.Join(dir, "sandbox.pid")
		if err := os.WriteFile(file, b, 0o600); err != nil {
			t.Fatal(err)
		}
		if pid, err := readPID(file); err != nil && (pid != 0 || !errdefs.IsInternal(err)) || err == nil && (pid <= 0 || int(int32(pid)) != pid) {
			t.Errorf("the pid is %d, %v", pid, err)
		}
		p, err := newPidPipe(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer p.close()
		// As much as there is room for.
		if fd, err := unix.Open(p.path, unix.O_WRONLY|unix.O_NONBLOCK, 0); err != nil {
			t.Fatal(err)
		} else if _, err = unix.Write(fd, b); len(b) > 0 && err != nil || unix.Close(fd) != nil {
			t.Fatal(err)
		}
		go p.read()
		last := make(chan int, 1)
		go func() { last <- p.last() }()
		select {
		case pid := <-last:
			if pid < garbage || int(int32(pid)) != pid || len(b) == 0 && pid != nothing {
				t.Errorf("the pid is %d", pid)
			}
		case <-time.After(fuzzTimeout):
			t.Fatal("it hangs")
		}
	})
}
