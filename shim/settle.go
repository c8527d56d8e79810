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
	"github.com/containerd/log"

	"containerd-shim-runsc/shim/metrics"
	"containerd-shim-runsc/shim/options"
)

// settle gives the serving process its place on the host.
func settle(pid int, opts options.Options) error {
	if opts.ShimCgroup != "" {
		if err := joinCgroup(pid, opts.ShimCgroup); err != nil {
			return err
		}
	}
	if err := adjustOOMScore(pid); err != nil {
		log.L.WithError(err).Warn("the shim keeps containerd's oom_score_adj")
	}
	return nil
}

// joinCgroup moves the process into an existing cgroup.
func joinCgroup(pid int, path string) error {
	if metrics.HostUnified() {
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
func adjustOOMScore(pid int) error {
	b, err := os.ReadFile("/proc/self/oom_score_adj")
	if err != nil {
		return err
	}
	score, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		return err
	}
	const most = 1000 // OOM_SCORE_ADJ_MAX
	score = min(score+1, most)
	return os.WriteFile(fmt.Sprintf("/proc/%d/oom_score_adj", pid), []byte(strconv.Itoa(score)), 0)
}
