package adapt

import (
	"path"
	"path/filepath"
	"slices"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// implicitMount returns the mount that runsc makes where the spec has none
// (compileMounts in runsc/boot).
func implicitMount(p string) (specs.Mount, bool) {
	for _, m := range []specs.Mount{
		{Destination: "/proc", Type: typeProc},
		{Destination: "/sys", Type: typeSysfs},
		{Destination: "/dev", Type: typeTmpfs},
	} {
		if isWithin(p, m.Destination) {
			return m, true
		}
	}
	return specs.Mount{}, false
}

// kindInSandbox tells what gVisor has at a path in one of its own file systems.
func (a *adaptation) kindInSandbox(m specs.Mount, p string) kind {
	if p == "" {
		return isDir
	}
	if filepath.Clean(m.Destination) == "/dev" {
		// Whatever the type is, runsc mounts its own (compileMounts in runsc/boot).
		return a.kindInDev(p)
	}
	switch m.Type {
	case typeTmpfs:
		if !filepath.IsAbs(m.Source) {
			return absent // as it is empty
		}
		// It is a volume that other containers may have filled.
	case typeProc:
		return lookUp(p, procFiles(), procDirs(), procUnsure())
	case typeSysfs:
		return lookUp(p, sysFiles(), sysDirs(), nil)
	}
	return unsure
}

func lookUp(p string, files, dirs, others []string) kind {
	is := func(pattern string) bool {
		ok, err := path.Match(pattern, p)
		return ok && err == nil
	}
	switch {
	case slices.ContainsFunc(files, is):
		return isFile
	case slices.ContainsFunc(dirs, is):
		return isDir
	}
	for ; p != "/"; p = path.Dir(p) {
		if slices.ContainsFunc(others, is) {
			return unsure
		}
	}
	return absent
}

// What gVisor has in /proc and /sys is little. There is nothing that clients hide by
// default but directories that are empty; those are left out here. A test compares it with
// what a sandbox has.

func procFiles() []string {
	return []string{
		"/cgroups", "/cmdline", "/cpuinfo", "/devices", "/filesystems", "/loadavg", "/meminfo", "/modules",
		"/sentry-meminfo", "/stat", "/sysrq-trigger", "/uptime", "/version",
	}
}

func procDirs() []string {
	return []string{"/gvisor", "/sys"}
}

// procUnsure are those in which there is too much to tell, or that are another one for
// each process.
func procUnsure() []string {
	return []string{"/[0-9]*", "/self", "/thread-self", "/mounts", "/net", "/sys"}
}

func sysFiles() []string {
	return []string{
		"/devices/system/cpu/online", "/devices/system/cpu/possible", "/devices/system/cpu/present",
		"/devices/system/cpu/cpu[0-9]*/topology/*",
	}
}

func sysDirs() []string {
	return []string{
		"/block", "/bus", "/class", "/class/power_supply", "/dev", "/dev/block", "/dev/char",
		"/devices", "/devices/system", "/devices/system/cpu", "/devices/system/cpu/cpu[0-9]*",
		"/devices/system/cpu/cpu[0-9]*/topology", "/fs", "/fs/cgroup", "/kernel", "/module", "/power",
	}
}

// kindInDev tells what there is in a container's /dev.
func (a *adaptation) kindInDev(p string) kind {
	if a.spec.Linux != nil && slices.ContainsFunc(a.spec.Linux.Devices, func(d specs.LinuxDevice) bool {
		return path.Clean(d.Path) == path.Join("/dev", p)
	}) {
		return isFile
	}
	return lookUp(p,
		[]string{"/full", "/fuse", "/net/tun", "/null", "/random", "/tty", "/urandom", "/zero"},
		[]string{"/net", "/pts", "/shm"},
		[]string{"/block", "/char", "/console", "/fd", "/ptmx", "/pts", "/stderr", "/stdin", "/stdout"})
}
