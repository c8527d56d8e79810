package harness

import (
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

// programs are the programs that were built for the containers, by their names.
var programs sync.Map

type program struct {
	once sync.Once
	out  []byte
	err  error
}

// Program returns the directory with a program of test/ of that name, to be mounted into
// a container. It is built once.
func Program(t testing.TB, name string) string {
	t.Helper()
	dir := filepath.Join(sharedDir(t), "programs", name)
	entry, _ := programs.LoadOrStore(name, &program{})
	p := entry.(*program)
	p.once.Do(func() {
		build := exec.Command("go", "build", "-o", dir+"/", "containerd-shim-runsc/test/"+name)
		// There is no libc in the rootfs.
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		p.out, p.err = build.CombinedOutput()
	})
	if p.err != nil {
		t.Fatalf("build %s: %v\n%s", name, p.err, p.out)
	}
	return dir
}
