package adapt

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"containerd-shim-runsc/utils/cgroup"
)

// isOn tells whether a flag of runsc that is false by default is set.
func (a *adaptation) isOn(flag string) bool {
	on, err := strconv.ParseBool(a.Flag(flag))
	return err == nil && on
}

// noteSysctls notes the kernel parameters that a sandbox does not take over.
func noteSysctls(a *adaptation) error {
	if a.spec.Linux == nil {
		return nil
	}
	var left []string
	for _, name := range slices.Sorted(maps.Keys(a.spec.Linux.Sysctl)) {
		if value := a.spec.Linux.Sysctl[name]; !a.hasSysctl(name, value) {
			left = append(left, name+"="+value)
		}
	}
	if len(left) > 0 {
		a.note("gVisor does not set the sysctl %s", strings.Join(left, ", "))
	}
	return nil
}

// hasSysctl tells whether gVisor sets a parameter, or has the value in any case.
func (a *adaptation) hasSysctl(name, value string) bool {
	switch name {
	case "fs.nr_open", "net.ipv6.conf.all.disable_ipv6":
		// It looks at them when it makes a sandbox.
		return a.Place.Root
	case "net.ipv4.ip_unprivileged_port_start":
		return value == "0"
	case "net.ipv4.ping_group_range":
		return strings.Join(strings.Fields(value), " ") == "0 2147483647"
	}
	return false
}

// noteDevices notes the devices that are there by name only: gVisor opens none of the
// host's, and has a few of its own.
func noteDevices(a *adaptation) error {
	if a.spec.Linux == nil {
		return nil
	}
	var names []string
	for _, d := range a.spec.Linux.Devices {
		if !hasDevice(d) {
			names = append(names, d.Path)
		}
	}
	const most = 5
	switch n := len(names); {
	case n > most:
		a.note("gVisor cannot open the devices %s and %d more", strings.Join(names[:most], ", "), n-most)
	case n > 0:
		a.note("gVisor cannot open the devices %s", strings.Join(names, ", "))
	}
	return nil
}

// hasDevice tells whether gVisor has a device, or passes it on with flags of runsc.
func hasDevice(d specs.LinuxDevice) bool {
	if d.Type == "p" {
		return true
	}
	for _, prefix := range []string{"/dev/nvidia", "/dev/vfio", "/dev/accel", "/dev/infiniband/uverbs"} {
		if strings.HasPrefix(d.Path, prefix) {
			return true
		}
	}
	if d.Type == "b" {
		return false
	}
	type number struct{ major, minor int64 }
	return slices.Contains([]number{
		{1, 3}, {1, 5}, {1, 7}, {1, 8}, {1, 9}, // null, zero, full, random, urandom
		{5, 0}, {5, 1}, {5, 2}, // tty, console, ptmx
		{10, 200}, {10, 229}, // net/tun, fuse
	}, number{d.Major, d.Minor})
}

// noteResources notes the resources of a container that it cannot have for itself.
func noteResources(a *adaptation) error {
	if a.Place.Root || a.spec.Linux == nil {
		return nil
	}
	names, usual := cgroup.Unheld(a.spec.Linux.Resources)
	if len(names) == 0 {
		return nil
	}
	note := a.note
	if usual {
		note = a.usual
	}
	note("gVisor limits the containers of a sandbox together, and by memory and CPU time alone: without effect is %s", strings.Join(names, ", "))
	return nil
}

// noteRest notes what else a spec can have and gVisor has not.
func noteRest(a *adaptation) error {
	p := a.spec.Process
	for _, what := range []struct {
		name  string
		asked bool
	}{
		{"scheduler", p.Scheduler != nil},
		{"ioPriority", p.IOPriority != nil},
		{"execCPUAffinity", p.ExecCPUAffinity != nil},
	} {
		if what.asked {
			a.note("gVisor ignores the process's %s", what.name)
		}
	}
	if len(p.Rlimits) > 0 && !a.Place.Root {
		a.note("gVisor has one set of resource limits for all containers of a sandbox: those of this one hold for the others too")
	}
	if hooks := a.spec.Hooks; hooks != nil && len(hooks.StartContainer) > 0 {
		a.note("gVisor does not run startContainer hooks, as %s", hooks.StartContainer[0].Path)
	}
	linux := a.spec.Linux
	if linux == nil {
		return nil
	}
	if d := linux.Personality; d != nil && (d.Domain != specs.PerLinux || len(d.Flags) > 0) {
		a.note("gVisor ignores the personality %s", d.Domain)
	}
	if linux.IntelRdt != nil {
		a.note("gVisor ignores intelRdt%s", classOf(linux.IntelRdt))
	}
	if linux.MemoryPolicy != nil {
		a.note("gVisor ignores the memoryPolicy")
	}
	for _, name := range slices.Sorted(maps.Keys(linux.NetDevices)) {
		a.note("gVisor does not move the network device %s", name)
	}
	return nil
}

func classOf(r *specs.LinuxIntelRdt) string {
	if r.ClosID == "" {
		return ""
	}
	return fmt.Sprintf(" (class %s)", r.ClosID)
}
