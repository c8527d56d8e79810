package adapt

import (
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/moby/sys/mountinfo"
	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// File systems that gVisor has in the sandbox.
const (
	typeProc    = "proc"
	typeSysfs   = "sysfs"
	typeDevpts  = "devpts"
	typeCgroup  = "cgroup"
	typeCgroup2 = "cgroup2"
	typeMqueue  = "mqueue"
	typeErofs   = "erofs"
)

// adaptMounts gives each mount the options by which runsc does what is asked for.
func adaptMounts(a *adaptation) error {
	if err := checkRootPropagation(a.spec); err != nil {
		return err
	}
	for i := range a.spec.Mounts {
		m := &a.spec.Mounts[i]
		a.serveSysfs(m)
		if err := a.adaptOptions(m); err != nil {
			return fmt.Errorf("mount on %s: %w", m.Destination, err)
		}
		if err := a.checkSubmounts(m); err != nil {
			return fmt.Errorf("mount on %s: %w", m.Destination, err)
		}
		a.noteType(m)
	}
	return nil
}

// checkRootPropagation refuses a propagation of the root file system's mounts that runsc
// cannot have.
func checkRootPropagation(spec *specs.Spec) error {
	if spec.Linux == nil {
		return nil
	}
	switch p := spec.Linux.RootfsPropagation; p {
	case "", "private", "rprivate", "slave", "rslave":
		return nil
	default:
		return fmt.Errorf("rootfsPropagation: %w", checkPropagation(p))
	}
}

// checkPropagation refuses what would let mounts that are made in the sandbox appear on
// the host, and what runsc takes and then mounts nothing.
func checkPropagation(option string) error {
	switch option {
	case "shared", "rshared":
		return fmt.Errorf("propagation %q (Bidirectional): gVisor keeps mounts that are made in a sandbox to itself: %w",
			option, errdefs.ErrNotImplemented)
	case "unbindable", "runbindable":
		return fmt.Errorf("propagation %q: gVisor cannot serve a mount that cannot be bound: %w", option, errdefs.ErrNotImplemented)
	default:
		return fmt.Errorf("propagation %q: want private, rprivate, slave or rslave: %w", option, errdefs.ErrInvalidArgument)
	}
}

// adaptOptions puts those options that hold for what is mounted below as well into the
// words that runsc has. A mount in the sandbox has all that is below its source, with the
// same options, so that its "ro" is "rro". runsc would pass over "rro" and let all be
// written.
func (a *adaptation) adaptOptions(m *specs.Mount) error {
	options := make([]string, 0, len(m.Options))
	changed := false
	for _, o := range m.Options {
		switch o {
		case "shared", "rshared", "unbindable", "runbindable":
			return checkPropagation(o)
		}
		plain, recursive := strings.CutPrefix(o, "r")
		if recursive && isAttribute(plain) {
			o, changed = plain, true
		}
		if !known(m, o) {
			a.note("gVisor has no mount option %s, which %s should have", o, m.Destination)
		}
		options = append(options, o)
	}
	if changed {
		m.Options, a.Changed = options, true
	}
	return nil
}

// isAttribute tells whether the option is one that the OCI runtime specification also has
// with an r in front, for a mount and all that is mounted below it.
func isAttribute(option string) bool {
	switch option {
	case "ro", "rw", "suid", "nosuid", "dev", "nodev", "exec", "noexec", "atime", "noatime", "diratime", "nodiratime",
		"relatime", "norelatime", "strictatime", "nostrictatime", "symfollow", "nosymfollow":
		return true
	}
	return false
}

// onHost makes a path in the spec one of the host's.
func (a *adaptation) onHost(path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(a.Bundle, path)
}

// known tells whether gVisor does what the option says, or it makes no difference there:
// a device in a volume cannot be opened whether or not "nodev" is set.
func known(m *specs.Mount, option string) bool {
	switch option {
	case "nosymfollow":
		return false
	case "bind", "rbind", "private", "rprivate", "slave", "rslave", "idmap", "ridmap",
		"defaults", "async", "silent", "loud", "acl", "iversion", "noiversion", "nomand", "lazytime", "nolazytime":
		return true
	}
	if isAttribute(option) {
		return true
	}
	key, _, _ := strings.Cut(option, "=")
	if isBind(*m) {
		// Those of gVisor's own.
		return slices.Contains([]string{"dcache", "disable_file_handle_sharing", "overlayfs_stale_read"}, key)
	}
	switch m.Type {
	case typeTmpfs:
		return slices.Contains([]string{"mode", "size", "uid", "gid"}, key)
	case typeDevpts:
		// Each container has one, with its own ptmx, and the modes are what programs expect.
		return slices.Contains([]string{"newinstance", "ptmxmode", "mode", "gid"}, key)
	case typeCgroup, typeCgroup2:
		// They say how the kernel's one hierarchy is seen; the sandbox has its own.
		return true
	}
	return false
}

// serveSysfs makes of the host's /sys on /sys the sandbox's own, as every other container
// has it. CRI gives the host's to a pod with a user namespace in the host's network,
// because the kernel does not let it mount its own there.
func (a *adaptation) serveSysfs(m *specs.Mount) {
	if !isBind(*m) || filepath.Clean(m.Source) != "/sys" || filepath.Clean(m.Destination) != "/sys" {
		return
	}
	if _, ok := namespace(a.spec, specs.UserNamespace); !ok {
		return
	}
	m.Type, m.Source = typeSysfs, typeSysfs
	m.Options = slices.DeleteFunc(slices.Clone(m.Options), func(o string) bool { return o == "bind" || o == "rbind" })
	a.Changed = true
}

// checkSubmounts refuses a bind mount without what is mounted below its source, if there
// is something: the kernel does not show a user namespace, in which gVisor serves files,
// what is under a mount. runsc would only say that the sandbox has ended.
func (a *adaptation) checkSubmounts(m *specs.Mount) error {
	if !isBind(*m) || slices.Contains(m.Options, "rbind") || a.sharesUserNamespace() {
		return nil
	}
	source, err := a.resolve(a.onHost(m.Source))
	if a.hung != nil {
		return a.hung
	}
	if err != nil {
		return fmt.Errorf("source: %w: %w", err, errdefs.ErrInvalidArgument)
	}
	if fi, err := a.stat(source); err != nil || !fi.IsDir() {
		return err
	}
	all, err := a.mounts()
	if err != nil {
		return fmt.Errorf("look for mounts below %s: %w", source, err)
	}
	below := strings.TrimSuffix(source, "/") + "/"
	first := slices.IndexFunc(all, func(info *mountinfo.Info) bool { return strings.HasPrefix(info.Mountpoint, below) })
	if first < 0 {
		return nil
	}
	return fmt.Errorf("the option is bind and not rbind, and %s is mounted below the source: gVisor can only serve both: %w",
		all[first].Mountpoint, errdefs.ErrNotImplemented)
}

// sharesUserNamespace tells whether runsc lets what serves files be in the host's user
// namespace (modifySpecForDirectfs in runsc/container).
func (a *adaptation) sharesUserNamespace() bool {
	if _, ok := namespace(a.spec, specs.UserNamespace); ok {
		return false
	}
	direct, err := strconv.ParseBool(a.Flag("directfs"))
	return err == nil && !direct || a.network() == networkHost
}

// noteType notes a file system that gVisor mounts nothing for.
func (a *adaptation) noteType(m *specs.Mount) {
	if isBind(*m) || filepath.Clean(m.Destination) == "/dev" || filepath.Clean(m.Destination) == "/dev/pts" {
		return
	}
	switch m.Type {
	case typeProc, typeSysfs, typeTmpfs, typeDevpts, typeCgroup, typeCgroup2, typeErofs:
	case typeMqueue:
		a.usual("gVisor has no file system of message queues, so nothing is mounted on %s", m.Destination)
	default:
		a.note("gVisor has no file system %q, so nothing is mounted on %s", m.Type, m.Destination)
	}
}
