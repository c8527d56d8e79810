package cgroup

import (
	"math"
	"os"
	"path/filepath"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

func TestParent(t *testing.T) {
	for path, want := range map[string]string{
		"/kubepods/pod1/web": "/kubepods/pod1",
		"/web":               "/",
		"":                   "/",
		"a/b":                "/a",
		"kubepods-burstable-pod1_2.slice:cri-containerd:web": "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1_2.slice",
		"system.slice:runsc:web":                             "/system.slice",
	} {
		if got := Parent(path); got != want {
			t.Errorf("%q: have %q, want %q", path, got, want)
		}
	}
}

func TestScopePath(t *testing.T) {
	for path, want := range map[string]string{
		"kubepods-pod1_2.slice:cri-containerd:web": "/kubepods.slice/kubepods-pod1_2.slice/cri-containerd-web.scope",
		"system.slice::web":                        "/system.slice/web.scope",
	} {
		if got := ScopePath(path); got != want {
			t.Errorf("%q: have %q, want %q", path, got, want)
		}
	}
}

func TestLimitsOf(t *testing.T) {
	quota, period, shares, memory := int64(5000), uint64(10000), uint64(7), int64(-1)
	got := LimitsOf(&specs.LinuxResources{
		CPU:    &specs.LinuxCPU{Quota: &quota, Period: &period, Shares: &shares},
		Memory: &specs.LinuxMemory{Limit: &memory},
	})
	if want := (Limits{Quota: 50000, Shares: 7}); got != want {
		t.Errorf("have %+v, want %+v", got, want)
	}
}

// Whoever sets limits may set any number, and none of them becomes one of another sign.
func TestLimitsDoNotOverflow(t *testing.T) {
	const most, least = math.MaxInt64, math.MinInt64
	for _, tt := range []struct {
		quota  int64
		period uint64
		want   int64
	}{
		{50000, 0, 50000}, {50000, 50000, 100000}, {1, 1000000, 0},
		{most, 1, most}, {most, 0, most}, {most, DefaultPeriod, most}, {most, 2 * DefaultPeriod, most / 2},
		{most, math.MaxUint64, 49999}, {1, math.MaxUint64, 0}, {least, 1, 0}, {-1, 0, 0},
	} {
		if got := Quota(tt.quota, tt.period); got != tt.want {
			t.Errorf("quota %d of %d: have %d, want %d", tt.quota, tt.period, got, tt.want)
		}
	}
	for _, tt := range []struct{ a, b, want int64 }{
		{1, 2, 3}, {most, 1, most}, {1, most, most}, {most, most, most}, {least, -1, least}, {-1, least, least}, {most, least, -1}, {0, 0, 0},
	} {
		if got := Sum(tt.a, tt.b); got != tt.want {
			t.Errorf("%d and %d: have %d, want %d", tt.a, tt.b, got, tt.want)
		}
	}
	shares := uint64(math.MaxUint64)
	if l := LimitsOf(&specs.LinuxResources{CPU: &specs.LinuxCPU{Shares: &shares}}); l.Shares != MaxShares {
		t.Errorf("shares are %d", l.Shares)
	}
	g := Growth{Memory: most, Quota: most, Shares: most}
	if sum := g.Plus(g); sum != g || g.Less(g) != (Growth{}) {
		t.Errorf("%+v and %+v", sum, g.Less(g))
	}
}

// TestMake makes a cgroup on this host, whichever version it has.
func TestMake(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root makes cgroups")
	}
	above := "/" + filepath.Base(t.TempDir()) + "-limits"
	path := above + "/pod1"
	t.Cleanup(func() {
		for _, p := range []string{path, above} {
			for _, dir := range Dirs(p) {
				if err := os.Remove(dir); err != nil {
					t.Error(err)
				}
			}
		}
	})
	if At(path).Exists() {
		t.Fatal("it is there before it is made")
	}
	if err := Make(path); err != nil {
		t.Fatal(err)
	}
	m := At(path)
	if !m.Exists() || m.Path() != path {
		t.Errorf("%s is not there", path)
	}
	for _, want := range []Limits{{}, {Memory: 64 << 20, Quota: 150000}, {Memory: 32 << 20}, {}} {
		if err := m.SetLimits(want); err != nil {
			t.Fatal(err)
		}
		if got, err := m.Limits(); err != nil || got != want {
			t.Errorf("have %+v, %v, want %+v", got, err, want)
		}
	}
	if err := m.SetLimits(Limits{Shares: 512}); err != nil {
		t.Error(err)
	}
	if used, err := m.MemoryUsage(); err != nil || used < 0 {
		t.Errorf("%d bytes are used, %v", used, err)
	}
}

func TestWeight(t *testing.T) {
	for shares, want := range map[uint64]uint64{0: 1, 2: 1, 1024: 39, 262144: 10000, 1 << 40: 10000} {
		if got := weight(shares); got != want {
			t.Errorf("%d shares are the weight %d, want %d", shares, got, want)
		}
	}
}
