package adapt

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/moby/sys/mountinfo"
	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// maxSubmounts is how many mounts below the source of a read-only one stay writable.
// Whoever has more, as the host's root has, wants to look at them.
const maxSubmounts = 16

// keepSubmounts leaves writable what is mounted below the source of a mount that is "ro"
// and not "rro", as Kubernetes' readOnly has it by default. gVisor has one mount for all
// that is below a source, and that is read-only as a whole, so each of them becomes a mount
// of its own.
func keepSubmounts(a *adaptation) error {
	var kept []specs.Mount
	for _, m := range a.spec.Mounts {
		if !isBind(m) || !slices.Contains(m.Options, "rbind") || !slices.Contains(m.Options, "ro") || slices.Contains(m.Options, "rro") {
			continue
		}
		below, err := a.writableBelow(m)
		if err != nil {
			return fmt.Errorf("mount on %s: %w", m.Destination, err)
		}
		if len(below) > maxSubmounts {
			a.note("the %d mounts below %s are read-only on %s as well", len(below), m.Source, m.Destination)
			continue
		}
		kept = append(kept, below...)
	}
	kept = slices.DeleteFunc(kept, func(m specs.Mount) bool {
		return slices.ContainsFunc(a.spec.Mounts, func(o specs.Mount) bool { return filepath.Clean(o.Destination) == m.Destination })
	})
	if len(kept) > 0 {
		a.spec.Mounts = append(a.spec.Mounts, kept...)
		a.Changed = true
	}
	return nil
}

// writableBelow returns mounts for what is mounted writably below the source of a mount.
// What is mounted below one of them comes with it.
func (a *adaptation) writableBelow(m specs.Mount) ([]specs.Mount, error) {
	source, err := a.resolve(a.onHost(m.Source))
	if a.hung != nil {
		return nil, a.hung
	}
	if err != nil {
		return nil, fmt.Errorf("source: %w: %w", err, errdefs.ErrInvalidArgument)
	}
	within := strings.TrimSuffix(source, "/") + "/"
	all, err := a.mounts()
	if err != nil {
		return nil, fmt.Errorf("look for mounts below %s: %w", source, err)
	}
	infos := slices.DeleteFunc(slices.Clone(all), func(info *mountinfo.Info) bool {
		return !strings.HasPrefix(info.Mountpoint, within) || isKernels(info.FSType)
	})
	slices.SortFunc(infos, func(x, y *mountinfo.Info) int { return strings.Compare(x.Mountpoint, y.Mountpoint) })
	var list []specs.Mount
	for _, info := range infos {
		if slices.Contains(strings.Split(info.Options, ","), "ro") ||
			slices.ContainsFunc(list, func(o specs.Mount) bool { return isWithin(info.Mountpoint, o.Source) }) {
			continue
		}
		sub := m
		sub.Destination = filepath.Join(m.Destination, strings.TrimPrefix(info.Mountpoint, within))
		sub.Source = info.Mountpoint
		sub.Options = append(slices.DeleteFunc(slices.Clone(m.Options), func(o string) bool { return o == "ro" }), "rw")
		list = append(list, sub)
	}
	return list, nil
}

// isKernels tells whether a file system is a view of the host's kernel. Nothing in it is a
// container's to write.
func isKernels(fsType string) bool {
	switch fsType {
	case "proc", "sysfs", "devtmpfs", "devpts", "cgroup", "cgroup2", "mqueue", "securityfs", "debugfs", "tracefs",
		"bpf", "pstore", "configfs", "fusectl", "binfmt_misc", "autofs", "nsfs", "efivarfs", "selinuxfs", "hugetlbfs":
		return true
	}
	return false
}
