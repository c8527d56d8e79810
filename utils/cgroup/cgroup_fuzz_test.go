package cgroup

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// inside tells that a path is one below the root, in its shortest form.
func inside(path string) bool { return filepath.IsAbs(path) && filepath.Clean(path) == path }

// FuzzPaths checks that whatever a spec's cgroup path is, no cgroup outside of the host's
// hierarchies stands for it.
func FuzzPaths(f *testing.F) {
	for _, path := range []string{
		"", "/kubepods/pod1/c", "kubepods-burstable-pod1.slice:cri-containerd:c", "../../etc", "a-b.slice:../../x:y",
		"/../..:c:d", "-.slice::", "a/../../b.slice:c:d",
	} {
		f.Add(path)
	}
	f.Fuzz(func(t *testing.T, path string) {
		parent := Parent(path)
		if !inside(parent) {
			t.Errorf("the parent is %q", parent)
		}
		if IsSystemd(path) {
			if scope := ScopePath(path); !inside(scope) || !strings.HasSuffix(scope, ".scope") {
				t.Errorf("the scope is %q", scope)
			}
		}
		for _, dir := range append(Dirs(path), Dirs(parent)...) {
			if rel, err := filepath.Rel(Root, dir); err != nil || rel == ".." || strings.HasPrefix(rel, "../") {
				t.Errorf("the directory is %q", dir)
			}
		}
		if m := At(parent); m.Path() != parent {
			t.Errorf("at %q is %q", parent, m.Path())
		}
	})
}

// FuzzLimits checks that whatever resources somebody asks for, the limits are such as can be
// set, and stay what they are as resources.
func FuzzLimits(f *testing.F) {
	f.Add([]byte(`{"memory":{"limit":1024},"cpu":{"quota":50000,"period":100000,"shares":512}}`), []byte(`{}`))
	f.Add([]byte(`{"memory":{"limit":-1},"cpu":{"quota":-1,"shares":0}}`), []byte(`{"memory":{"limit":9223372036854775807}}`))
	f.Add([]byte(`{"cpu":{"quota":9223372036854775807,"period":1}}`), []byte(`{"cpu":{"quota":1,"period":18446744073709551615}}`))
	f.Add([]byte(`{"cpu":{"shares":18446744073709551615}}`), []byte(`{"memory":{"limit":-9223372036854775808}}`))
	f.Fuzz(func(t *testing.T, b, b2 []byte) {
		var res, update specs.LinuxResources
		if json.Unmarshal(b, &res) != nil || json.Unmarshal(b2, &update) != nil {
			return
		}
		l := LimitsOf(&res)
		if l.Memory < 0 || l.Quota < 0 || l.Shares > MaxShares {
			t.Errorf("%+v", l)
		}
		if again := LimitsOf(l.Resources()); again != l {
			t.Errorf("%+v became %+v", l, again)
		}
		if w := weight(l.Shares); w < 1 || w > 10000 {
			t.Errorf("%d shares are the weight %d", l.Shares, w)
		}
		to := LimitsOf(&update)
		g := GrowthOf(&res, &update)
		for _, is := range []struct{ from, to, grown int64 }{
			{l.Memory, to.Memory, g.Memory}, {l.Quota, to.Quota, g.Quota}, {int64(l.Shares), int64(to.Shares), g.Shares},
		} {
			if is.from > 0 && is.to > 0 && is.from+is.grown != is.to || (is.from == 0 || is.to == 0) && is.grown != 0 {
				t.Errorf("from %d to %d it grows by %d", is.from, is.to, is.grown)
			}
		}
		if (g.Less(g) != Growth{}) {
			t.Errorf("%+v less itself is %+v", g, g.Less(g))
		}
		if names, usual := Unheld(&res); len(names) == 0 && !usual {
			t.Error("nothing is not usual")
		}
	})
}

// FuzzSum checks the sum of what may be too much for a number.
func FuzzSum(f *testing.F) {
	f.Add(int64(1), int64(2))
	f.Add(int64(math.MaxInt64), int64(1))
	f.Add(int64(math.MinInt64), int64(-1))
	f.Add(int64(math.MinInt64), int64(math.MaxInt64))
	f.Fuzz(func(t *testing.T, a, b int64) {
		sum := Sum(a, b)
		if sum != Sum(b, a) || b >= 0 && sum < a || b <= 0 && sum > a {
			t.Errorf("%d and %d are %d", a, b, sum)
		}
	})
}

// FuzzFiles checks that whatever the files of a cgroup hold, its limits and its use are such
// as can be reported, or an error.
func FuzzFiles(f *testing.F) {
	f.Add("max\n", "max 100000\n", "1024\n", "anon 5\nfile 7\nshmem 9\n", "usage_usec 5\n")
	f.Add("9223372036854771712", "-1", "", "anon", "usage_usec -1")
	f.Add("5", "50000 0", "18446744073709551616", "anon 18446744073709551615\nfile 1", "\x00")
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, limit, quota, use, stat, cpu string) {
		if strings.HasPrefix(limit, "-") || strings.HasPrefix(use, "-") {
			return // the kernel has no sign there
		}
		for name, text := range map[string]string{
			"memory.max": limit, "cpu.max": quota, "memory.current": use, "memory.stat": stat, "cpu.stat": cpu,
		} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		m := Membership{root: filepath.Dir(dir), unified: "/" + filepath.Base(dir)}
		l, err := m.Limits()
		if err != nil && l != (Limits{}) || l.Memory < 0 || l.Quota < 0 {
			t.Errorf("%+v, %v", l, err)
		}
		if is, err := m.MemoryUsage(); is < 0 {
			t.Errorf("it uses %d, %v", is, err)
		}
		is, err := m.Memory()
		few, ferr := m.MemoryUse()
		if err != nil && is != (Memory{}) || err == nil && (ferr != nil || few.Usage != is.Usage || few.Limit != is.Limit) {
			t.Errorf("%+v, %v, and in short %+v, %v", is, err, few, ferr)
		}
		if err == nil && l.Memory > 0 && is.Limit > uint64(l.Memory) {
			t.Errorf("%+v, with the limit %d", is, l.Memory)
		}
		if c, err := m.CPU(); err != nil && c != (CPU{}) {
			t.Errorf("%+v, %v", c, err)
		}
	})
}
