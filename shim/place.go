package shim

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/containerd/cgroups/v3/cgroup1"
	"github.com/containerd/cgroups/v3/cgroup2"
	"github.com/containerd/errdefs"

	"containerd-shim-runsc/utils/cgroup"
)

// joinCgroup moves the process into an existing cgroup.
func joinCgroup(pid int, path string) error {
	if cgroup.Unified() {
		cg, err := cgroup2.Load(path)
		if err == nil {
			err = cg.AddProc(uint64(pid))
		}
		return cgroupError(path, err)
	}
	cg, err := cgroup1.Load(cgroup1.StaticPath(path))
	if err == nil {
		err = cg.AddProc(uint64(pid))
	}
	return cgroupError(path, err)
}

func cgroupError(path string, err error) error {
	if err == nil {
		return nil
	}
	kind := error(errdefs.ErrFailedPrecondition)
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, cgroup1.ErrCgroupDeleted) {
		kind = errdefs.ErrInvalidArgument
	}
	return fmt.Errorf("move the shim into shim_cgroup %q: %w: %w", path, err, kind)
}

// adjustOOMScore makes the kernel take the shim before containerd: its score is
// one higher, and the containers' are higher still.
func adjustOOMScore() error {
	const path = "/proc/self/oom_score_adj"
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	score, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		return err
	}
	const most = 1000 // OOM_SCORE_ADJ_MAX
	return os.WriteFile(path, []byte(strconv.Itoa(min(score+1, most))), 0)
}
