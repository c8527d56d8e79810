package runsc

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/containerd/errdefs"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"containerd-shim-runsc/runsc/adapt"
	"containerd-shim-runsc/utils/cgroup"
	"containerd-shim-runsc/utils/oci"
)

// FuzzKept checks that what a shim has left of what it needs to remove a container is read as
// it was written, or refused, and that of the caller's spec nothing is believed but the
// container's own cgroup.
func FuzzKept(f *testing.F) {
	f.Add([]byte(`{"Path":"/c","Parent":"/pod","Made":true,"Volumes":["/v/.gvisor.filestore.c"]}`), []byte(`{}`))
	f.Add([]byte(`{"Path":5}`), []byte(`{"process":{},"root":{},"linux":{"cgroupsPath":"../../x"}}`))
	f.Add([]byte(``), []byte(`{"process":{},"root":{},"annotations":{"dev.gvisor.spec.cgroup-parent":"/system.slice","io.containerd.runsc.v1.made-cgroup":"true"}}`))
	f.Add([]byte(`null`), []byte(`{`))
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, keeps, spec []byte) {
		c := &Container{id: "c", name: "c", bundle: dir, root: true}
		for name, b := range map[string][]byte{keptName: keeps, oci.ConfigName: spec} {
			if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		of, err := c.recall()
		if err != nil {
			if !reflect.DeepEqual(of, learnt{}) || !errdefs.IsInvalidArgument(err) {
				t.Errorf("%+v, %v", of, err)
			}
		} else {
			kept := &Container{bundle: dir, learnt: of}
			if err := kept.keep(); err != nil {
				t.Fatal(err)
			}
			if again, err := c.recall(); err != nil || again.cgroups != of.cgroups || len(again.volumeFiles) != len(of.volumeFiles) {
				t.Errorf("%+v became %+v, %v", of, again, err)
			}
		}
		if err := c.unlearn(); err != nil {
			t.Fatal(err)
		}
		of, err = c.recall()
		if err != nil && !errdefs.IsInvalidArgument(err) || of.cgroupParent != "" || of.madeCgroup || of.volumeFiles != nil {
			t.Errorf("by its spec: %+v, %v", of, err)
		}
	})
}

// FuzzPodLimits checks that whatever a pod and its containers were given, the pod's limits are
// such as can be set: T9.
func FuzzPodLimits(f *testing.F) {
	const most = 1<<63 - 1
	f.Add(int64(1<<30), int64(50000), uint64(512), int64(1<<20), int64(-60000), int64(-600), []byte(`{"memory":{"limit":1024}}`), int64(1<<20))
	f.Add(int64(most), int64(most), uint64(262144), int64(most), int64(most), int64(1), []byte(`{"memory":{"limit":9223372036854775807}}`), int64(1))
	f.Add(int64(1), int64(0), uint64(0), int64(-most), int64(-most), int64(-most), []byte(`{"memory":{"limit":-1},"cpu":{"quota":-1}}`), int64(0))
	f.Fuzz(func(t *testing.T, memory, quota int64, shares uint64, moreMemory, moreQuota, moreShares int64, b []byte, own int64) {
		var res specs.LinuxResources
		if memory < 0 || quota < 0 || shares > cgroup.MaxShares || own < 0 || json.Unmarshal(b, &res) != nil {
			return
		}
		if moreShares > cgroup.MaxShares || moreShares < -cgroup.MaxShares {
			return
		}
		p := newPodLimits(adapt.PodLimits{
			Known: true, Kubelet: true, Limits: cgroup.Limits{Memory: memory, Quota: quota, Shares: shares},
		}, "")
		p.own = own
		grown := cgroup.Growth{Memory: moreMemory, Quota: moreQuota, Shares: moreShares}
		is := p.resources(cgroup.PodResources{Sum: &res, Grown: grown})
		l := cgroup.LimitsOf(is)
		if (memory > 0) != (l.Memory > 0) || moreMemory > 0 && l.Memory < memory || moreMemory < 0 && l.Memory > memory {
			t.Errorf("of %d bytes, which grow by %d, come %d", memory, moreMemory, l.Memory)
		}
		if (quota > 0) != (l.Quota > 0) || moreQuota > 0 && l.Quota < quota || moreQuota < 0 && l.Quota > quota {
			t.Errorf("of the quota %d, which grows by %d, comes %d", quota, moreQuota, l.Quota)
		}
		if (shares > 0) != (l.Shares > 0) {
			t.Errorf("of %d shares, which grow by %d, come %d", shares, moreShares, l.Shares)
		}
		if with := cgroup.LimitsOf(p.withOwn(&res)).Memory; with < cgroup.LimitsOf(&res).Memory {
			t.Errorf("of %s and its own %d the sandbox may use %d", b, own, with)
		}
		p.say(&res)
		if l := p.said().Limits; l.Memory < 0 || l.Quota < 0 || l.Shares > cgroup.MaxShares {
			t.Errorf("said are %+v", l)
		}
	})
}
