package reaper

import (
	"context"
	"os"
	"os/exec"

	"containerd-shim-runsc/utils/safe"
)

// Reach makes sure, within ctx, that the file system of a program answers: a path, or a name
// in $PATH. To start a program, a thread waits in the kernel until the program's begin is
// read, and nothing in this process, not even what has to do with other programs, goes on
// while the garbage collector waits for that thread. The only error is ctx's; whatever else is
// wrong with the program is for the start to tell.
func Reach(ctx context.Context, program string) error {
	return safe.DoWithin(ctx, "read program "+program, func() error {
		path, _ := exec.LookPath(program)
		if f, err := os.Open(path); err == nil {
			_, _ = f.Read(make([]byte, 1))
			_ = f.Close()
		}
		return nil
	})
}
