package contract

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"containerd-shim-runsc/test/harness"
)

// An exec is the same whichever way the shim asks for it: with runsc's command
// (control = "cli") or over the sandbox's control socket (control = "auto"). Each
// row of a table is run both ways, in sandboxes of each setting, and everything
// that can be seen of it must be equal: from within, by its streams, by the task
// API and on the host.

// setting is how a pair of sandboxes is made.
type setting struct {
	name string
	// userns gives it the user namespace of a pod whose root is nobody on the host.
	userns bool
	// raw leaves CAP_NET_RAW in it.
	raw bool
	// owner sets io_uid and io_gid.
	owner bool
	// limits gives the containers resource limits, of which the root's count.
	limits bool
	// annotated lets CAP_NET_RAW in by an annotation instead of a flag.
	annotated bool
	// nobody runs the sandbox process as another user than root, who must then own
	// the streams.
	nobody bool
}

func settings() []setting {
	return []setting{
		{name: "plain"},
		{name: "raw", raw: true, owner: true, limits: true},
		{name: "userns", userns: true, owner: true, limits: true},
		{name: "userns-raw", userns: true, raw: true},
		{name: "nobody", owner: true, nobody: true},
		{name: "annotated", raw: true, annotated: true},
	}
}

// The ids on the host that own streams, or are a container's root.
const (
	ownerUID  = 1234
	ownerGID  = 2345
	mappedUID = 100000
)

// world is a pod of a setting, driven in one way.
type world struct {
	e       *harness.Env
	setting setting
	way     way
	tasks   map[string]*harness.Task
}

// The containers of the pod. They differ in the capabilities that an exec gets if it
// names none.
const (
	rootID = "pod"
	fewID  = "few"  // has few
	noneID = "none" // says nothing of them
)

// newWorld makes a pod whose containers all run args, or nothing in particular.
func newWorld(t *testing.T, s setting, w way, args ...string) *world {
	t.Helper()
	e := harness.NewEnv(t, harness.Real)
	w.use(e)
	if s.owner {
		e.Config += fmt.Sprintf("io_uid = %d\nio_gid = %d\n", ownerUID, ownerGID)
	}
	switch {
	case s.annotated:
		e.Flags += "allow-flag-override = \"true\"\n"
	case s.raw:
		e.Flags += "net-raw = \"true\"\n"
	}
	if s.nobody {
		e.Flags += "directfs = \"false\"\n"
	}
	if s.userns {
		// The gofer reads the rootfs as a user that the test's directory is closed to.
		if err := os.Chmod(e.Dir, 0o711); err != nil {
			t.Fatal(err)
		}
	}
	out := &world{e: e, setting: s, way: w, tasks: map[string]*harness.Task{}}
	for _, c := range []harness.Container{
		{ID: rootID, Sandbox: true}, {ID: fewID, Pod: rootID}, {ID: noneID, Pod: rootID},
	} {
		c.Args = args
		c.Edit = func(spec *specs.Spec) {
			out.edit(c.ID, spec)
			if err := fillImage(t, e.ImageOf(c.ID)); err != nil {
				t.Fatal(err)
			}
		}
		out.tasks[c.ID] = e.Running(c)
	}
	return out
}

func (w *world) edit(id string, spec *specs.Spec) {
	s := w.setting
	if s.userns {
		spec.Linux.Namespaces = append(spec.Linux.Namespaces, specs.LinuxNamespace{Type: specs.UserNamespace})
		ids := []specs.LinuxIDMapping{{ContainerID: 0, HostID: mappedUID, Size: 65536}}
		spec.Linux.UIDMappings, spec.Linux.GIDMappings = ids, ids
	}
	if s.limits {
		// A subcontainer's own have no effect in gVisor, and so must not.
		soft := map[string]uint64{rootID: 500, fewID: 600, noneID: 700}[id]
		spec.Process.Rlimits = []specs.POSIXRlimit{
			{Type: "RLIMIT_NOFILE", Soft: soft, Hard: soft + 50},
			{Type: "RLIMIT_CORE", Soft: soft, Hard: soft},
		}
	}
	if s.annotated {
		spec.Annotations["dev.gvisor.flag.net-raw"] = "true"
	}
	switch id {
	case rootID:
		spec.Process.Capabilities = equalCaps(usualCaps()...)
	case fewID:
		spec.Process.Capabilities = equalCaps("CAP_KILL", "CAP_NET_RAW")
	}
}

// fillImage puts into a rootfs what the rows run.
func fillImage(t *testing.T, dir string) error {
	bin, opt := filepath.Join(dir, "bin"), filepath.Join(dir, "opt")
	if err := os.Mkdir(opt, 0o755); err != nil {
		return err
	}
	if err := harness.InstallProbe(t, bin); err != nil {
		return err
	}
	if err := os.Link(filepath.Join(bin, "probe"), filepath.Join(opt, "found")); err != nil {
		return err
	}
	if err := os.Symlink("/bin/probe", filepath.Join(opt, "link")); err != nil {
		return err
	}
	if err := os.Symlink("nothing", filepath.Join(opt, "dangling")); err != nil {
		return err
	}
	for name, f := range map[string]struct {
		text string
		mode os.FileMode
	}{
		"etc/passwd":     {"root:x:0:0:root:/root-home:/bin/sh\nuser:x:1000:1000::/home/user:/bin/sh\n", 0o644},
		"opt/plain":      {"#!/bin/sh\necho plain\n", 0o644},
		"opt/script":     {"#!/bin/sh\necho script $0 $*\n", 0o755},
		"opt/orphan":     {"#!/no/such/interpreter\n", 0o755},
		"opt/garbage":    {"no program\n", 0o755},
		"opt/empty":      {"", 0o755},
		"opt/only-roots": {"#!/bin/sh\necho secret\n", 0o700},
	} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(f.text), f.mode); err != nil {
			return err
		}
		// Whatever the umask is.
		if err := os.Chmod(path, f.mode); err != nil {
			return err
		}
	}
	return nil
}

// rows are those of a setting.
func (s setting) rows() []row {
	if s.annotated {
		return capRows()
	}
	return slices.DeleteFunc(rows(), func(r row) bool { return r.unless != nil && r.unless(s) })
}

func TestX_SameExec(t *testing.T) {
	t.Parallel()
	for _, s := range settings() {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			ways := map[way]*world{byCommand: newWorld(t, s, byCommand), bySocket: newWorld(t, s, bySocket)}
			rows := s.rows()
			open := map[way]int{}
			for w, in := range ways {
				in.run("first", row{}) // what is opened once, is now
				open[w] = in.descriptors()
			}
			var have []map[way]seen
			for i, r := range rows {
				one := map[way]seen{}
				for w, in := range ways {
					one[w] = in.run(fmt.Sprintf("e%d", i), r)
				}
				have = append(have, one)
			}
			for i, r := range rows {
				t.Run(r.name, func(t *testing.T) { r.check(t, s, have[i]) })
			}
			t.Run("each in its way", func(t *testing.T) {
				execs := map[way]int{}
				for _, one := range have {
					for w, in := range one {
						if in["start"] == "ok" {
							execs[w]++
						}
					}
				}
				for w, in := range ways {
					in.checkWay(t, w, execs[w])
				}
			})
			t.Run("nothing is left", func(t *testing.T) {
				for w, in := range ways {
					harness.Eventually(t, fmt.Sprintf("the shim has no more than %d files open with control = %q", open[w], w),
						func() bool { return in.descriptors() <= open[w] })
					if left := in.e.Commands("exec", rootID); len(left) > 0 {
						t.Errorf("%s: commands that run still: %v", w, left)
					}
				}
			})
		})
	}
}

// check compares what was seen.
func (r row) check(t *testing.T, s setting, have map[way]seen) {
	for w, in := range have {
		if in["start"] == "ok" {
			continue
		}
		t.Logf("%s: %s: %s", w, in["start"], in[message])
		for _, word := range r.says {
			if !strings.Contains(in[message], word) {
				t.Errorf("%s: the error %q does not have %q", w, in[message], word)
			}
		}
	}
	if have[byCommand]["start"] == "ok" && r.says != nil {
		t.Error("it started, which it must not")
	}
	for w, known := range r.unlike {
		for _, d := range differences(known, have[w], false) {
			t.Errorf("%s: want, have: %s", w, d)
		}
	}
	if r.want != nil {
		// That the other way is no different, what follows finds.
		for _, d := range differences(r.want(s), have[byCommand], false) {
			t.Errorf("want, have: %s", d)
		}
	}
	for _, d := range differences(have[byCommand].without(r.unlike), have[bySocket].without(r.unlike), true) {
		t.Errorf("cli, auto: %s", d)
	}
}

// without leaves out what is known to be different, and what is said of an error,
// which begins with who says it.
func (s seen) without(unlike map[way]seen) seen {
	s = maps.Clone(s)
	delete(s, message)
	delete(s, said)
	for _, known := range unlike {
		for k := range known {
			delete(s, k)
		}
	}
	return s
}

// differences lists the values that two sets have not in common; without all, only
// of what the first one has.
func differences(a, b seen, all bool) []string {
	keys := slices.Collect(maps.Keys(a))
	if all {
		keys = append(keys, slices.Collect(maps.Keys(b))...)
	}
	slices.Sort(keys)
	var list []string
	for _, k := range slices.Compact(keys) {
		if va, vb := a.of(k), b.of(k); va != vb {
			list = append(list, fmt.Sprintf("%s: %s, %s", k, from(va, vb), from(vb, va)))
		}
	}
	return list
}

// from returns what a value is from where it differs from another on.
func from(v, other string) string {
	n := 0
	for n < min(len(v), len(other)) && v[n] == other[n] {
		n++
	}
	const before, all = 30, 300
	if start := n - before; start > before {
		v = "..." + v[start:]
	}
	return v[:min(len(v), all)]
}

// descriptors counts the shim's open files.
func (w *world) descriptors() int {
	entries, _ := os.ReadDir(fmt.Sprintf("/proc/%d/fd", w.tasks[rootID].Shim.PID))
	return len(entries)
}

// checkWay checks by the log that the shim asked in this way, for so many processes
// that were started.
func (w *world) checkWay(t *testing.T, asked way, execs int) {
	t.Helper()
	// The log is one stream: what was logged before the stacks was read before them.
	w.tasks[rootID].Shim.Stacks(t)
	if asked == byCommand {
		if n := len(w.e.Logged("runsc exec ", " took ")); n < execs {
			t.Errorf("of %d execs %d were commands; with control = %q all are", execs, n, asked)
		}
		return
	}
	for _, verb := range []string{"exec", "wait", "kill", "ps", "events", "pause", "resume"} {
		if lines := w.e.Logged("runsc "+verb+" ", " took "); len(lines) > 0 {
			t.Errorf("with control = %q there were commands: %q", asked, lines)
		}
	}
}
