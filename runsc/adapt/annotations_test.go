package adapt

import (
	"maps"
	"slices"
	"strings"
	"testing"
)

func TestDropAnnotations(t *testing.T) {
	pods := map[string]string{
		"dev.gvisor.tar.rootfs.upper.web":       "/etc/shadow.tar",
		"dev.gvisor.spec.rootfs.source":         "/dev/sda",
		"dev.gvisor.internal.checkpoint.path":   "/etc/cron.d",
		"dev.gvisor.flag.debug":                 "true",
		"dev.gvisor.spec.mount.x.share":         "pod",
		"dev.gvisor.empty-dir.x.force-shared":   "true",
		"dev.gvisor.spec.cgroup-parent":         "/system.slice",
		"io.containerd.runsc.v1.made-cgroup":    "true",
		"io.containerd.runsc.v1.made-something": "x",
		"example.com/x":                         "y",
	}
	for name, tt := range map[string]struct {
		inPod bool
		flags map[string]string
		// dropped are those that go, by what their keys have in them.
		dropped []string
	}{
		"a pod's": {true, nil, []string{"tar.rootfs", "rootfs.source", "internal", "cgroup-parent", "made-cgroup", "made-something"}},
		"a pod's, that may set all flags": {
			true, map[string]string{"allow-flag-override": "true"}, []string{"cgroup-parent", "made-cgroup", "made-something"},
		},
		"its caller's own": {false, nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			spec := podSpec("/web", pods)
			if !tt.inPod {
				spec.Annotations = maps.Clone(pods)
			}
			before := len(spec.Annotations)
			a := &adaptation{host: newHost(t.Context()), Options: flags(t, tt.flags), spec: spec}
			if err := dropAnnotations(a); err != nil {
				t.Fatal(err)
			}
			for _, what := range tt.dropped {
				if slices.ContainsFunc(slices.Collect(maps.Keys(spec.Annotations)), func(key string) bool { return strings.Contains(key, what) }) {
					t.Errorf("%s has stayed", what)
				}
				if !has(a.Result, false, what) {
					t.Errorf("of %s nothing is told: %v", what, a.Notes)
				}
			}
			if left := len(spec.Annotations); left != before-len(tt.dropped) || a.Changed != (len(tt.dropped) > 0) {
				t.Errorf("of %d annotations %d are left, changed %t", before, left, a.Changed)
			}
		})
	}
}
