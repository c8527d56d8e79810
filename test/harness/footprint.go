package harness

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Footprint is what a shim holds.
type Footprint struct {
	// Files are its open descriptors, Goroutines those that run in it.
	Files, Goroutines int
	// Detail tells them apart, for a test that fails.
	Detail string
}

// Footprint counts what the shim holds at the moment.
func (s *Shim) Footprint(t testing.TB) Footprint {
	t.Helper()
	stacks := s.Stacks(t)
	dir := fmt.Sprintf("/proc/%d/fd", s.PID)
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	paths := socketPaths()
	var files []string
	for _, f := range entries {
		target, _ := os.Readlink(filepath.Join(dir, f.Name()))
		files = append(files, f.Name()+" "+target+" "+paths[target])
	}
	return Footprint{
		Files: len(files), Goroutines: len(regexp.MustCompile(`goroutine \d+ \[`).FindAllString(stacks, -1)),
		Detail: strings.Join(files, "\n") + "\n" + stacks,
	}
}

// socketPaths returns the paths of unix sockets, by how a descriptor's link names them. A
// connection has a path at the end of the one who listened.
func socketPaths() map[string]string {
	b, _ := os.ReadFile("/proc/net/unix")
	paths := map[string]string{}
	for line := range strings.Lines(string(b)) {
		if fields := strings.Fields(line); len(fields) > 7 {
			paths["socket:["+fields[6]+"]"] = fields[7]
		}
	}
	return paths
}
