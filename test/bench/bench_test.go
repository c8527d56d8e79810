package bench

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

const (
	ours  = "containerd-shim-runsc-v1"
	runcs = "containerd-shim-runc-v2"
)

// tool returns the path of a binary that the Makefile built.
func tool(b *testing.B, name string) string {
	b.Helper()
	dir := os.Getenv("SHIM_TEST_BIN")
	if dir == "" {
		b.Fatal("SHIM_TEST_BIN is not set; run: make bench")
	}
	path := filepath.Join(dir, name)
	if _, err := os.Stat(path); err != nil {
		b.Fatal(err)
	}
	return path
}

func BenchmarkBinarySize(b *testing.B) {
	fi, err := os.Stat(tool(b, ours))
	if err != nil {
		b.Fatal(err)
	}
	only(b, float64(fi.Size())/1e6, "MB")
}

// BenchmarkVersion runs -v of both shims in pairs.
func BenchmarkVersion(b *testing.B) {
	a, r := tool(b, ours), tool(b, runcs)
	took := func(path string) time.Duration {
		start := time.Now()
		if out, err := exec.CommandContext(b.Context(), path, "-v").CombinedOutput(); err != nil {
			b.Fatalf("%s: %v: %s", path, err, out)
		}
		return time.Since(start)
	}
	var ratios []float64
	for b.Loop() {
		// Who comes first changes, so that neither profits.
		var mine, other time.Duration
		if len(ratios)%2 == 0 {
			mine, other = took(a), took(r)
		} else {
			other, mine = took(r), took(a)
		}
		ratios = append(ratios, float64(mine)/float64(other))
	}
	b.ReportMetric(median(ratios), "x-runc")
}

// BenchmarkMemory runs one container with each shim below one containerd.
func BenchmarkMemory(b *testing.B) {
	c := startContainerd(b)
	mine := c.shimMemory(b, "io.containerd.runsc.v1", ours)
	other := c.shimMemory(b, "io.containerd.runc.v2", runcs)
	only(b, mine, "KiB")
	b.ReportMetric(other, "KiB-runc")
	b.ReportMetric(mine/other, "x-runc")
}

// only reports a number that is no time.
func only(b *testing.B, value float64, unit string) {
	b.Helper()
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(value, unit)
}

func median(values []float64) float64 {
	slices.Sort(values)
	return values[len(values)/2]
}
