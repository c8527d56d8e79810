package adapt

import (
	"context"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"containerd-shim-runsc/utils/oci"
)

// fakePod makes a kubelet's folder for a pod with emptyDirs and returns what adapts the
// specs of its containers.
func fakePod(t *testing.T, emptyDirs ...string) (o Options, dir string) {
	t.Helper()
	root := t.TempDir()
	dir = filepath.Join(root, "pods", "uid", "volumes", emptyDirPlugin)
	for _, name := range emptyDirs {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return Options{
		Place:         oci.Place{Root: true, SandboxID: "pod"},
		SandboxBundle: t.TempDir(),
		RunscVersion:  func() (string, error) { return "release-20260905.0", nil },
		Volumes:       Volumes{KubeletRoot: root, ShareEmptyDirs: true},
	}, dir
}

func volumeSpec(annotations map[string]string, mounts ...specs.Mount) *specs.Spec {
	all := map[string]string{
		"io.kubernetes.cri.container-type": "sandbox",
		"io.kubernetes.cri.sandbox-uid":    "uid",
	}
	for key, value := range annotations {
		all[key] = value
	}
	return &specs.Spec{Process: &specs.Process{}, Root: &specs.Root{}, Annotations: all, Mounts: mounts}
}

// volumeSteps runs the steps about volumes.
func volumeSteps(spec *specs.Spec, o Options) (*adaptation, error) {
	a := &adaptation{host: newHost(context.Background()), Options: o, spec: spec}
	for _, step := range []func(*adaptation) error{hintVolumes, mountVolumes} {
		if err := step(a); err != nil {
			return nil, err
		}
	}
	return a, nil
}

// sandboxOf runs the steps for a sandbox, and returns what adapts the specs of its containers.
func sandboxOf(t *testing.T, spec *specs.Spec, o Options) Options {
	t.Helper()
	if _, err := volumeSteps(spec, o); err != nil {
		t.Fatal(err)
	}
	if err := oci.Save(o.SandboxBundle, spec); err != nil {
		t.Fatal(err)
	}
	o.Place.Root = false
	return o
}

func TestVolumes_Hints(t *testing.T) {
	o, dir := fakePod(t, "a", "b")
	spec := volumeSpec(map[string]string{hintPrefix + "b.share": shareHost, hintPrefix + "x.y.z": "1"})
	a, err := volumeSteps(spec, o)
	if err != nil {
		t.Fatal(err)
	}
	have, wrong := readHints(spec.Annotations)
	if len(wrong) > 0 || len(have) != 2 || len(a.Notes) != 1 || !a.Changed {
		t.Fatalf("hints %v, wrong %v, notes %v", have, wrong, a.Notes)
	}
	want := map[string]hint{
		"a": {name: "a", source: filepath.Join(dir, "a"), kind: typeTmpfs, share: sharePod, options: "mode=755,uid=0,gid=0"},
		"b": {name: "b", source: filepath.Join(dir, "b"), kind: typeBind, share: shareHost},
	}
	for name, h := range want {
		if *have[name] != h {
			t.Errorf("hint %+v, want %+v", *have[name], h)
		}
	}
}

func TestVolumes_OlderRunsc(t *testing.T) {
	for version, old := range map[string]bool{
		"0.0~20221219.0": true, "release-20240401.0": true, "release-20240722.0": false,
		"v0.0.0-20260905035102-160fafc42237": false, "VERSION_MISSING": false,
	} {
		o, _ := fakePod(t, "a", "b")
		o.RunscVersion = func() (string, error) { return version, nil }
		spec := volumeSpec(map[string]string{hintPrefix + "b.share": sharePod})
		if _, err := volumeSteps(spec, o); err != nil {
			t.Fatal(err)
		}
		hints, _ := readHints(spec.Annotations)
		if b := hints["b"]; b == nil || (b.options == "") != old || (hints["a"] == nil) != old {
			t.Errorf("with runsc %s the hints are %+v", version, spec.Annotations)
		}
	}
}

func TestVolumes_NoPod(t *testing.T) {
	o, _ := fakePod(t)
	spec := volumeSpec(nil)
	before := len(spec.Annotations)
	if a, err := volumeSteps(spec, o); err != nil || a.Changed || len(spec.Annotations) != before {
		t.Errorf("a pod without volumes became %v, %v", spec.Annotations, err)
	}
}

func TestVolumes_Mounts(t *testing.T) {
	o, dir := fakePod(t, "a", "b")
	in := sandboxOf(t, volumeSpec(map[string]string{hintPrefix + "b.type": typeTmpfs}), o)
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(filepath.Join(dir, "a"), link); err != nil {
		t.Fatal(err)
	}
	spec := volumeSpec(nil,
		specs.Mount{Destination: "/a", Source: link, Options: []string{"rbind", "ro"}},
		specs.Mount{Destination: "/b", Type: typeBind, Source: filepath.Join(dir, "b"), Options: []string{"rbind", "ro"}},
		specs.Mount{Destination: "/etc", Type: typeBind, Source: "/etc"},
	)
	if _, err := volumeSteps(spec, in); err != nil {
		t.Fatal(err)
	}
	if m := spec.Mounts[0]; m.Source != filepath.Join(dir, "a") || !isBind(m) {
		t.Errorf("a volume on disk is %+v", m)
	}
	if m := spec.Mounts[1]; m.Type != typeTmpfs || isBind(m) || !slices.Contains(m.Options, "ro") {
		t.Errorf("a volume in memory is %+v", m)
	}
	if m := spec.Mounts[2]; m.Source != "/etc" || !isBind(m) {
		t.Errorf("another mount is %+v", m)
	}
}

// A source that an annotation gives may be a link that its author points elsewhere later.
func TestVolumes_GivenSource(t *testing.T) {
	o, _ := fakePod(t)
	folder := t.TempDir()
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(folder, link); err != nil {
		t.Fatal(err)
	}
	hint := func(name, source string) map[string]string {
		prefix := hintPrefix + name + "."
		return map[string]string{prefix + "source": source, prefix + "type": typeTmpfs, prefix + "share": sharePod}
	}
	for source, kept := range map[string]bool{link: false, folder: true} {
		in := sandboxOf(t, volumeSpec(hint("x", source)), o)
		spec := volumeSpec(nil, specs.Mount{Destination: "/x", Type: typeBind, Source: folder})
		a, err := volumeSteps(spec, in)
		if err != nil {
			t.Fatal(err)
		}
		if m := spec.Mounts[0]; m.Source != folder {
			t.Errorf("with the source %s the mount is %+v", source, m)
		}
		uses, err := os.ReadFile(filepath.Join(in.SandboxBundle, usesName))
		if used := err == nil && strings.Contains(string(uses), string(useSandbox)); used != kept {
			t.Errorf("with the source %s the volume is kept by the sandbox: %t, %v", source, used, a.Notes)
		}
		o.SandboxBundle = t.TempDir()
	}
}

func TestVolumes_WholeAndPart(t *testing.T) {
	mounts := func(o Options, dir string) (whole, part specs.Mount) {
		sub := filepath.Join(o.Volumes.KubeletRoot, "pods/uid/volume-subpaths/a/web/0")
		return specs.Mount{Destination: "/a", Type: typeBind, Source: filepath.Join(dir, "a")},
			specs.Mount{Destination: "/b", Type: typeBind, Source: sub}
	}
	t.Run("part first", func(t *testing.T) {
		o, dir := fakePod(t, "a")
		in := sandboxOf(t, volumeSpec(nil), o)
		whole, part := mounts(o, dir)
		for _, spec := range []*specs.Spec{volumeSpec(nil, part), volumeSpec(nil, whole), volumeSpec(nil, part, whole)} {
			a, err := volumeSteps(spec, in)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range spec.Mounts {
				if m.Source == whole.Source || len(a.Notes) != 1 {
					t.Errorf("the mount is of %s, with the notes %v", m.Source, a.Notes)
				}
			}
		}
	})
	t.Run("whole first", func(t *testing.T) {
		o, dir := fakePod(t, "a")
		in := sandboxOf(t, volumeSpec(nil), o)
		whole, part := mounts(o, dir)
		if _, err := volumeSteps(volumeSpec(nil, whole), in); err != nil {
			t.Fatal(err)
		}
		if _, err := volumeSteps(volumeSpec(nil, part), in); !errdefs.IsFailedPrecondition(err) {
			t.Errorf("a part after the whole: %v", err)
		}
	})
	t.Run("as a path", func(t *testing.T) {
		o, dir := fakePod(t, "a")
		in := sandboxOf(t, volumeSpec(nil), o)
		whole, part := mounts(o, dir)
		part.Source = whole.Source + "/sub"
		if _, err := volumeSteps(volumeSpec(nil, whole), in); err != nil {
			t.Fatal(err)
		}
		if _, err := volumeSteps(volumeSpec(nil, part), in); !errdefs.IsFailedPrecondition(err) {
			t.Errorf("a part after the whole: %v", err)
		}
	})
}

func TestVolumes_PodUID(t *testing.T) {
	const uid, logs = "io.kubernetes.cri.sandbox-uid", "io.kubernetes.cri.sandbox-log-directory"
	for _, tc := range []struct{ key, value, want string }{
		{uid, "11-22", "11-22"},
		{logs, "/var/log/pods/default_web_11-22", "11-22"},
		{logs, "/var/log/pods/11-22", ""},
		{uid, "../..", ""},
		{uid, "..", ""},
		{"", "", ""},
	} {
		a := &adaptation{spec: &specs.Spec{Annotations: map[string]string{tc.key: tc.value}}}
		if have := a.podUID(); have != tc.want {
			t.Errorf("%s=%s says %q, want %q", tc.key, tc.value, have, tc.want)
		}
	}
}

func TestVolumes_Used(t *testing.T) {
	for name, tc := range map[string]struct {
		files, dirs []string
		used        bool
	}{
		"empty":                   {},
		"of a sandbox":            {files: []string{filestorePrefix + "x"}},
		"of a sandbox and others": {files: []string{filestorePrefix + "x", "y"}, used: true},
		"a folder of that name":   {dirs: []string{filestorePrefix + "x"}, used: true},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for _, f := range tc.files {
				if err := os.WriteFile(filepath.Join(dir, f), nil, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			for _, d := range tc.dirs {
				if err := os.Mkdir(filepath.Join(dir, d), 0o700); err != nil {
					t.Fatal(err)
				}
			}
			used, err := isUsed(t.Context(), dir)
			if err != nil || used != tc.used {
				t.Errorf("used is %t, %v", used, err)
			}
			left, err := os.ReadDir(dir)
			if want := len(tc.files) + len(tc.dirs); err != nil || used && len(left) != want || !used && len(left) > 0 {
				t.Errorf("it holds %v, %v", left, err)
			}
		})
	}
}

func TestVolumes_Size(t *testing.T) {
	for text, good := range map[string]bool{
		"0": true, "8388608": true, "8m": true, "1G": true, "7e": true, "50%": true,
		"": false, "m": false, "8mb": false, "8mm": false, "-1": false, "1.5g": false, "8e": false, "9223372036854775807k": false,
	} {
		if err := checkSize(text); (err == nil) != good {
			t.Errorf("%q: %v", text, err)
		}
	}
	if err := checkSize("9223372036854775807"); err != nil {
		t.Errorf("%d: %v", int64(math.MaxInt64), err)
	}
}

func TestVolumeFiles(t *testing.T) {
	o, dir := fakePod(t, "a", "b")
	spec := volumeSpec(map[string]string{hintPrefix + "b.share": shareHost})
	if _, err := volumeSteps(spec, o); err != nil {
		t.Fatal(err)
	}
	if files := VolumeFiles(spec, "pod+"); len(files) != 1 || files[0] != filepath.Join(dir, "a", ".gvisor.filestore.pod+") {
		t.Errorf("the files are %v", files)
	}
}

// FuzzHints checks that whatever a pod's annotations are, runsc is left with hints that it
// does not refuse.
func FuzzHints(f *testing.F) {
	f.Add(hintPrefix+"a.share", "pod", hintPrefix+"a.source", "/x")
	f.Add(hintPrefix+"a.options", "size=1,ro,mode=9", hintPrefix+"b.c.d", "")
	f.Add(hintPrefix+"a/b.type", "tmpfs", hintPrefix+".type", "tmpfs")
	f.Fuzz(func(t *testing.T, key1, value1, key2, value2 string) {
		o, _ := fakePod(t, "a")
		spec := volumeSpec(map[string]string{key1: value1, key2: value2})
		if _, err := volumeSteps(spec, o); err != nil {
			return
		}
		sources := map[string]bool{}
		hints, wrong := readHints(spec.Annotations)
		for name, h := range hints {
			if !h.complete() || sources[h.source] || strings.ContainsAny(name, "./") {
				t.Errorf("hint %+v", h)
			}
			sources[h.source] = true
		}
		if len(wrong) > 0 {
			t.Errorf("left are %v", wrong)
		}
	})
}
