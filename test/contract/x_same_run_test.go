package contract

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/containerd/errdefs"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"containerd-shim-runsc/test/harness"
)

// row is a process that is run both ways.
type row struct {
	name string
	// in is the container, if not the pod's root.
	in string
	// process is what runs; without arguments it is the probe, without a cwd it is
	// in /, and without an environment it has a usual one.
	process specs.Process
	// exact leaves the process as it is.
	exact bool
	// streams changes what the shim is told of the streams.
	streams func(*world, *harness.Stdio)
	// play does something to the running process.
	play func(w *world, p *harness.Process, s seen)
	// want is part of what must be seen.
	want func(setting) seen
	// says are parts of the error with which the start fails; nil if it need not.
	says []string
	// unlike are what is known to be seen differently, in each way.
	unlike map[way]seen
	// unless keeps the row out of a setting.
	unless func(setting) bool
}

// seen is what was seen of a process, by what it is about.
type seen map[string]string

const (
	// message is what is said about the error of a start.
	message = "message"
	// said is what somebody wrote about it to the process's stderr.
	said = "said on stderr"
)

// of returns a value for people to read.
func (s seen) of(key string) string {
	v, ok := s[key]
	if !ok {
		return "nothing"
	}
	return fmt.Sprintf("%q", v)
}

// is makes the want of a row that holds in every setting.
func is(pairs ...string) func(setting) seen {
	return func(setting) seen {
		s := seen{}
		for i := 0; i < len(pairs); i += 2 {
			s[pairs[i]] = pairs[i+1]
		}
		return s
	}
}

// run runs a row and returns what is seen.
func (w *world) run(id string, r row) seen {
	s := seen{}
	p := r.process
	if !r.exact {
		if p.Args == nil {
			p.Args = []string{"/bin/probe"}
		}
		if p.Env == nil {
			p.Env = usualEnv()
		}
		if p.Cwd == "" {
			p.Cwd = "/"
		}
	}
	in := r.in
	if in == "" {
		in = rootID
	}
	g, err := w.tasks[in].Given(id, &p, func(io *harness.Stdio) {
		if r.streams != nil {
			r.streams(w, io)
		}
	})
	s["exec"] = kindOf(err)
	if err != nil {
		s[message] = err.Error()
		return s
	}
	exec := g.Process
	err = g.TryStart()
	s["start"] = kindOf(err)
	if err != nil {
		s[message] = err.Error()
	} else if r.play != nil {
		r.play(w, exec, s)
	}
	s["status"] = fmt.Sprint(exec.Wait().ExitStatus)
	s["state"] = exec.Status().Status.String()
	d := exec.Delete()
	s["status at delete"] = fmt.Sprint(d.ExitStatus)
	if r.streams == nil {
		s.output(w, exec)
	}
	if s["start"] != "ok" {
		// runsc's command has the process's stderr and says there what the error
		// says, if it was called at all.
		s[said] = s["error output"]
		delete(s, "error output")
	}
	return s
}

// output reads what the process wrote, and who owns its streams on the host.
func (s seen) output(w *world, p *harness.Process) {
	files := map[string]string{"stdin": p.IO.Stdin, "stdout": p.IO.Stdout}
	s.report(p.IO.Out.All(w.e.T()))
	if p.IO.Stderr != "" {
		files["stderr"] = p.IO.Stderr
		s["error output"] = p.IO.Err.All(w.e.T())
	}
	for name, path := range files {
		s.owner(name, path)
	}
}

// owner sees who owns a file on the host.
func (s seen) owner(name, path string) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		s["host's "+name] = err.Error()
		return
	}
	s["host's "+name] = fmt.Sprintf("%d:%d %#o", st.Uid, st.Gid, st.Mode)
}

// report takes the probe's reports out of what was written.
func (s seen) report(out string) {
	var rest strings.Builder
	prefix := ""
	for line := range strings.Lines(out) {
		var r seen
		if !strings.HasPrefix(line, "{") || json.Unmarshal([]byte(line), &r) != nil {
			rest.WriteString(line)
			continue
		}
		for key, value := range r {
			s[prefix+key] = value
		}
		prefix += "then "
	}
	s["output"] = rest.String()
}

// kindOf names the kind of an error as a client sees it.
func kindOf(err error) string {
	if err == nil {
		return "ok"
	}
	for _, kind := range []error{
		errdefs.ErrNotFound, errdefs.ErrAlreadyExists, errdefs.ErrInvalidArgument, errdefs.ErrFailedPrecondition,
		errdefs.ErrUnavailable, errdefs.ErrNotImplemented, errdefs.ErrPermissionDenied, errdefs.ErrInternal,
		errdefs.ErrAborted, errdefs.ErrDataLoss, errdefs.ErrOutOfRange, errdefs.ErrResourceExhausted,
		errdefs.ErrUnknown,
	} {
		if errors.Is(err, kind) {
			return kind.Error()
		}
	}
	return "of no kind"
}

func usualEnv() []string { return []string{"PATH=/bin:/usr/bin", "HOME=/", "TERM=xterm"} }

// usualCaps are those that containerd gives a container.
func usualCaps() []string {
	return []string{
		"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FSETID", "CAP_FOWNER", "CAP_MKNOD", "CAP_NET_RAW", "CAP_SETGID",
		"CAP_SETUID", "CAP_SETFCAP", "CAP_SETPCAP", "CAP_NET_BIND_SERVICE", "CAP_SYS_CHROOT", "CAP_KILL",
		"CAP_AUDIT_WRITE",
	}
}

// equalCaps are capabilities as most have them: the same in the three sets.
func equalCaps(names ...string) *specs.LinuxCapabilities {
	return &specs.LinuxCapabilities{Bounding: names, Effective: names, Permitted: names}
}

// onDisk reads a report that the probe left in a file of the container's.
func onDisk(path string) func(*world, *harness.Process, seen) {
	return func(w *world, p *harness.Process, s seen) {
		p.Wait()
		cat := w.tasks[rootID].ExecRunning(harness.ExecOptions{ID: p.ExecID() + "-cat", Args: []string{"/bin/cat", path}})
		cat.WaitFor(0)
		s.report(cat.IO.Out.All(w.e.T()))
		cat.Delete()
	}
}

// outputOf reads the output where the streams are not as usual.
func outputOf(w *world, p *harness.Process, s seen) {
	s.report(p.IO.Out.All(w.e.T()))
}

// hostFile is a file of the test's that a stream can be.
func hostFile(e *harness.Env) string { return e.Dir + "/file" }

// fromFile reads a report that the probe wrote to a file of the host's.
func fromFile(w *world, p *harness.Process, s seen) {
	p.Wait()
	b, err := os.ReadFile(hostFile(w.e))
	if err != nil {
		w.e.T().Fatal(err)
	}
	s.report(string(b))
	s.owner("file", hostFile(w.e))
	_ = os.Remove(hostFile(w.e))
}
