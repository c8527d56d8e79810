package adapt

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/containerd/errdefs"
	"github.com/moby/sys/mountinfo"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"containerd-shim-runsc/utils/cgroup"
	"containerd-shim-runsc/utils/oci"
)

// fuzzNode is a node with a pod: its kubelet's folder, a bundle whose root file system has
// symbolic links out of it, and the bundle of the pod's sandbox.
type fuzzNode struct{ root, bundle, rootfs, sandbox string }

func newFuzzNode(tb testing.TB) fuzzNode {
	tb.Helper()
	dir := tb.TempDir()
	n := fuzzNode{
		root: filepath.Join(dir, "kubelet"), bundle: filepath.Join(dir, "bundle"),
		rootfs: filepath.Join(dir, "bundle/rootfs"), sandbox: filepath.Join(dir, "sandbox"),
	}
	in := func(name string) string { return filepath.Join(n.rootfs, name) }
	err := errors.Join(
		os.MkdirAll(filepath.Join(n.root, "pods/uid/volumes", emptyDirPlugin, "a"), 0o755),
		os.MkdirAll(in("etc"), 0o755), os.MkdirAll(in("d/e"), 0o755), os.MkdirAll(n.sandbox, 0o755),
		os.WriteFile(in("etc/passwd"), nil, 0o600),
		os.Symlink("/etc", in("abs")), os.Symlink("../../../../../../../../..", in("up")),
		os.Symlink("loop", in("loop")), os.Symlink("/proc/self/root", in("d/root")),
		oci.Save(n.sandbox, volumeSpec(nil)),
	)
	if err != nil {
		tb.Fatal(err)
	}
	return n
}

// adapt adapts a spec as that of the pod's sandbox or of a container in it.
func (n fuzzNode) adapt(ctx context.Context, spec *specs.Spec, root bool) (Result, error) {
	o := Options{
		Place: oci.Place{Root: root, SandboxID: "pod"}, RunscSandboxID: "pod+", Bundle: n.bundle, SandboxBundle: n.sandbox,
		Flag:         func(string) string { return "" },
		RunscVersion: func() (string, error) { return "release-20260905.0", nil },
		Volumes:      Volumes{KubeletRoot: n.root, ShareEmptyDirs: true},
	}
	if root {
		o.SandboxBundle = n.bundle
	}
	return Spec(ctx, spec, o)
}

// fuzzTimeout bounds what a test does at once.
const fuzzTimeout = 5 * time.Second

// checkAdapted checks what holds for whatever is adapted.
func checkAdapted(t *testing.T, spec *specs.Spec, res Result) {
	t.Helper()
	if len(res.Notes) > maxNotes+1 {
		t.Errorf("%d notes", len(res.Notes))
	}
	for _, n := range res.Notes {
		if len(n.Text) > maxNote+len("…") || n.Text == "" {
			t.Errorf("a note of %d bytes", len(n.Text))
		}
	}
	for _, flag := range res.Flags {
		if !strings.HasPrefix(flag, "--") || !strings.Contains(flag, "=") {
			t.Errorf("the flag %q", flag)
		}
	}
	for _, m := range spec.Mounts {
		for _, o := range m.Options {
			if plain, ok := strings.CutPrefix(o, "r"); ok && isAttribute(plain) {
				t.Errorf("the mount on %s has the option %s, which runsc would pass over", m.Destination, o)
			}
		}
	}
	if p := res.Pod; p != nil && (p.Memory < 0 || p.Quota < 0 || p.Shares > cgroup.MaxShares) {
		t.Errorf("the pod's limits are %+v", p.Limits)
	}
	if _, err := json.Marshal(spec); err != nil {
		t.Error(err)
	}
}

// hasKind tells that an error says what kind it is.
func hasKind(err error) bool { return !errdefs.IsUnknown(errdefs.Resolve(err)) }

// FuzzSpec checks that whatever a spec has, it is adapted in time, always in the same way, or
// refused for what is wrong with it; and that what was adapted can be loaded.
func FuzzSpec(f *testing.F) {
	add := func(spec *specs.Spec, root bool) {
		b, err := json.Marshal(spec)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b, root)
	}
	add(plainSpec(), true)
	add(plainSpec(), false)
	add(volumeSpec(map[string]string{hintPrefix + "a.share": "pod", podMemory: "1", CgroupParent: "/evil"}), true)
	f.Add([]byte(`{"process":{},"root":{},"mounts":[{"destination":"/x","source":"/tmp","options":["rbind","ro","rro"]},{"destination":"/x"}]}`), true)
	f.Add([]byte(`{"process":{},"root":{"path":"rootfs"},"linux":{"maskedPaths":["/up/etc","/abs","d/root"],"readonlyPaths":["/","/loop"]}}`), true)
	f.Add([]byte(`{"process":{},"root":{"path":"rootfs"},"linux":{"namespaces":[{"type":"user","path":"/proc/self/ns/user"},{"type":"x","path":"\u0000"}]}}`), false)
	f.Add([]byte(`{"process":{},"root":{"path":"/"},"linux":{"cgroupsPath":"a-b.slice:c:d","rootfsPropagation":"shared"}}`), true)
	f.Add([]byte(`{"process":{},"root":{},"linux":{"resources":null,"devices":[{}],"netDevices":{"x":{}},"personality":{},"intelRdt":{},"sysctl":{"a":"b"}},"hooks":{"startContainer":[{}]}}`), false)
	n := newFuzzNode(f)
	f.Fuzz(func(t *testing.T, b []byte, root bool) {
		ctx, cancel := context.WithTimeout(t.Context(), fuzzTimeout)
		defer cancel()
		type outcome struct {
			spec  []byte
			notes []Note
			err   string
		}
		var got [2]outcome
		for i := range got {
			var spec specs.Spec
			if json.Unmarshal(b, &spec) != nil || spec.Process == nil || spec.Root == nil {
				return // it is not loaded: see FuzzSave in utils/oci
			}
			_ = os.Remove(filepath.Join(n.sandbox, usesName))
			_ = os.Remove(filepath.Join(n.bundle, usesName))
			res, err := n.adapt(ctx, &spec, root)
			if ctx.Err() != nil {
				t.Fatalf("it hangs: %v", err)
			}
			if err != nil {
				if !hasKind(err) {
					t.Errorf("%v is of no kind", err)
				}
				if res.Changed || res.Notes != nil || res.Pod != nil {
					t.Errorf("%+v, %v", res, err)
				}
				got[i].err = err.Error()
				continue
			}
			checkAdapted(t, &spec, res)
			got[i].notes = res.Notes
			if got[i].spec, err = json.Marshal(&spec); err != nil {
				t.Fatal(err)
			}
		}
		if string(got[0].spec) != string(got[1].spec) || got[0].err != got[1].err || !slices.Equal(got[0].notes, got[1].notes) {
			t.Errorf("once it is %s, %v, %s and then %s, %v, %s", got[0].spec, got[0].notes, got[0].err, got[1].spec, got[1].notes, got[1].err)
		}
	})
}

// FuzzPodAnnotations checks that whatever the author of a pod writes into its annotations, the
// sandbox is in the cgroup that the spec says, its limits are such as can be set, and of the
// annotations that runsc and the shim read, none is left but those that may be.
func FuzzPodAnnotations(f *testing.F) {
	f.Add(CgroupParent, "/system.slice", podMemory, "1024", "/kubepods/poduid/c")
	f.Add(ownPrefix+"made-cgroup", "true", podQuota, "-1", "kubepods-poduid.slice:cri:c")
	f.Add(runscPrefix+"spec.x", "y", podShares, "18446744073709551615", "")
	f.Add(FlagPrefix+"debug", "true", podPeriod, "0", "../../x")
	f.Add(podQuota, "9223372036854775807", podPeriod, "1", "/pod1/c")
	f.Add("x", "y", "x", "y", "\x00-pod:")
	f.Add(podMemory, "-9223372036854775808", podShares, "x", "/")
	f.Add("io.kubernetes.cri.sandbox-uid", "../..", "io.kubernetes.cri.sandbox-log-directory", "/var/log/pods/a_b_..", "/a/b")
	n := newFuzzNode(f)
	f.Fuzz(func(t *testing.T, key1, value1, key2, value2, path string) {
		ctx, cancel := context.WithTimeout(t.Context(), fuzzTimeout)
		defer cancel()
		spec := plainSpec()
		spec.Annotations = map[string]string{"io.kubernetes.cri.container-type": "sandbox", key1: value1, key2: value2}
		if !oci.InPod(spec) {
			return
		}
		spec.Linux.CgroupsPath = path
		parents := []string{cgroup.Parent(path)}
		res, err := n.adapt(ctx, spec, true)
		if err != nil {
			if ctx.Err() != nil || !hasKind(err) {
				t.Errorf("%v", err)
			}
			return
		}
		checkAdapted(t, spec, res)
		if res.Pod == nil {
			t.Fatal("there are no limits of the pod")
		}
		for _, key := range slices.Sorted(maps.Keys(spec.Annotations)) {
			switch value := spec.Annotations[key]; {
			case key == CgroupParent && !slices.Contains(parents, value):
				t.Errorf("the cgroup is in %q, and the spec's is %q", value, path)
			case key == CgroupParent, strings.HasPrefix(key, FlagPrefix), strings.HasPrefix(key, hintPrefix), strings.HasPrefix(key, forceSharedPrefix):
			case key == MadeCgroup && spec.Annotations[CgroupParent] == "":
				t.Error("a cgroup is the shim's to remove that it does not make")
			case key == MadeCgroup, key == inMemory, key == bySource:
			case strings.HasPrefix(key, runscPrefix), strings.HasPrefix(key, ownPrefix):
				t.Errorf("left is %s=%s", key, value)
			}
		}
	})
}

// FuzzPaths checks that a masked or read-only path, whatever it is and whatever the container's
// image has there, never leads out of the container.
func FuzzPaths(f *testing.F) {
	for _, path := range []string{
		"/proc/kcore", "/etc/passwd", "/up/etc/passwd", "/abs/passwd", "/d/root/etc", "/loop", "/", "etc", "/../../etc",
		"/d/./e/../e", "/up/up/up", "/nonexistent/x", "/etc/passwd/x", "/a\x00b", "/dev/null", "/x/y",
	} {
		f.Add(path, "/x", "d", "rbind,rro")
		f.Add(path, "/d/../x", "/nonexistent", "bind")
	}
	f.Add("/x", "/y", "/nonexistent", "rbind,ro")
	f.Add("/x/"+strings.Repeat("y", 300), "/x", "", "")
	n := newFuzzNode(f)
	f.Fuzz(func(t *testing.T, path, destination, source, options string) {
		ctx, cancel := context.WithTimeout(t.Context(), fuzzTimeout)
		defer cancel()
		for _, readonly := range []bool{false, true} {
			spec := plainSpec()
			m := specs.Mount{Destination: destination, Source: source, Type: "x", Options: strings.Split(options, ",")}
			spec.Mounts = append(spec.Mounts, m)
			if spec.Linux.MaskedPaths = []string{path}; readonly {
				spec.Linux.MaskedPaths, spec.Linux.ReadonlyPaths = nil, []string{path}
			}
			res, err := n.adapt(ctx, spec, true)
			if err != nil {
				if ctx.Err() != nil || !hasKind(err) {
					t.Errorf("%v", err)
				}
				continue
			}
			checkAdapted(t, spec, res)
			before := append(plainSpec().Mounts, m)
			for _, m := range spec.Mounts {
				if slices.ContainsFunc(before, func(o specs.Mount) bool { return o.Destination == m.Destination && o.Source == m.Source }) {
					continue
				}
				added := m.Source == os.DevNull || m.Source == typeTmpfs || isWithin(m.Source, n.rootfs) ||
					strings.HasPrefix(m.Destination, filepath.Clean(destination)+"/")
				if !added || !filepath.IsAbs(m.Destination) || filepath.Clean(m.Destination) != m.Destination || m.Destination == "/" {
					t.Errorf("added is %+v", m)
				}
			}
		}
	})
}

// FuzzPod checks that whatever a pod says its uid is, the folder that is taken for the pod's is
// one of a pod.
func FuzzPod(f *testing.F) {
	f.Add("uid", "", "/var/lib/kubelet/pods/uid/volumes/x/y")
	f.Add("../..", "/var/log/pods/a_b_c", "/x/pods/c/volumes/")
	f.Add("", "/var/log/pods/a_b_..", "/pods/../volumes/")
	f.Add("a\x00b", "", "")
	f.Add(strings.Repeat("x", 300), "", "")
	n := newFuzzNode(f)
	f.Fuzz(func(t *testing.T, uid, logs, mounted string) {
		spec := volumeSpec(map[string]string{"io.kubernetes.cri.sandbox-uid": uid, "io.kubernetes.cri.sandbox-log-directory": logs})
		for _, kubelet := range []string{n.root, ""} {
			ctx, cancel := context.WithTimeout(t.Context(), fuzzTimeout)
			a := &adaptation{host: newHost(ctx), Options: Options{Volumes: Volumes{KubeletRoot: kubelet}}, spec: spec}
			a.mountTable = []*mountinfo.Info{{Mountpoint: mounted}}
			p, err := a.findPod()
			cancel()
			if err != nil && !hasKind(err) {
				t.Errorf("%q, %q: %v", uid, logs, err)
			}
			if strings.Contains(p.uid, "/") || p.uid == ".." || p.uid == "." {
				t.Errorf("the uid is %q", p.uid)
			}
			if p.dir != "" && (p.uid == "" || filepath.Base(p.dir) != p.uid || filepath.Base(filepath.Dir(p.dir)) != "pods") {
				t.Errorf("the folder of %q is %q", p.uid, p.dir)
			}
		}
	})
}

// FuzzUses checks that of what containers have left word of, each volume is of one kind for
// all, or a container is refused.
func FuzzUses(f *testing.F) {
	f.Add([]byte(`{"a":"sandbox"}`), false)
	f.Add([]byte(`{"a":"folder"}`), true)
	f.Add([]byte(`{"a":"x","b":""}`), true)
	f.Add([]byte(`{"a":5}`), false)
	f.Add([]byte(``), true)
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, b []byte, part bool) {
		path := filepath.Join(dir, usesName)
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		keep := func(part bool) ([]string, error) {
			a := &adaptation{host: newHost(t.Context()), Options: Options{SandboxBundle: dir}}
			return (&mounts{adaptation: a}).keepFolders(map[string]bool{"a": part})
		}
		folders, err := keep(part)
		if err != nil {
			if folders != nil || !errdefs.IsInvalidArgument(err) && !(part && errdefs.IsFailedPrecondition(err)) {
				t.Errorf("%v, %v", folders, err)
			}
			return
		}
		// Who comes next has the same.
		again, err := keep(false)
		if err != nil || !slices.Equal(folders, again) || part && len(folders) != 1 {
			t.Errorf("%v became %v, %v", folders, again, err)
		}
		if _, err := keep(true); (err != nil) != (len(folders) == 0) {
			t.Errorf("with %v, a part: %v", folders, err)
		}
	})
}

// FuzzSize checks that a size is taken that runsc takes, and no other.
func FuzzSize(f *testing.F) {
	for _, text := range []string{"0", "8m", "50%", "-1", "1.5g", "8e", "9223372036854775807k", "m", "+1", "1_0", "0x1"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		err := checkSize(text)
		n, number, unit := uint64(0), text, text[max(len(text)-1, 0):]
		if strings.ContainsAny(strings.ToLower(unit), "kmgtpe%") && utf8.ValidString(unit) && unit != "" {
			number = text[:len(text)-1]
		}
		for _, digit := range number {
			if digit < '0' || digit > '9' {
				if err == nil {
					t.Errorf("%q is taken", text)
				}
				return
			}
			if n > (math.MaxInt64-9)/10 {
				return // near the limit: see TestVolumes_Size
			}
			n = 10*n + uint64(digit-'0')
		}
		if err != nil && number != "" && n < 8 {
			t.Errorf("%q: %v", text, err)
		}
	})
}
