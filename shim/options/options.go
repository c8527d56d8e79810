package options

import (
	"maps"
	"path/filepath"
	"slices"
	"strings"
)

// Control is a way to drive a running sandbox.
type Control string

const (
	// ControlAuto asks the sandbox over its control socket and falls back to
	// runsc's commands where that is not possible. It is the default.
	ControlAuto Control = "auto"
	// ControlCLI uses runsc's commands for everything.
	ControlCLI Control = "cli"
)

const (
	defaultBinary = "runsc"
	defaultRoot   = "/run/containerd/runsc"

	// idPlaceholder stands for the sandbox's id in paths and in runsc's flags.
	idPlaceholder = "%ID%"
)

// Options is everything about the shim that can be configured. Every value that
// Loader or FromAny returns is valid. It can be stored as JSON.
type Options struct {
	// BinaryName is runsc: a name to look up in PATH or an absolute path.
	BinaryName string `json:"binary_name"`
	// Root is the absolute path of the directory for runsc's state. The
	// containerd namespace is not part of it.
	Root string `json:"root"`
	// ShimCgroup is the cgroup that the shim moves itself to. Empty: it stays
	// where containerd started it.
	ShimCgroup string `json:"shim_cgroup,omitempty"`
	// IoUID and IoGID own the pipes of a container's stdio.
	IoUID uint32 `json:"io_uid,omitempty"`
	IoGID uint32 `json:"io_gid,omitempty"`
	// LogLevel is one of trace, debug, info, warn, warning, error. Empty: as
	// containerd asks.
	LogLevel string `json:"log_level,omitempty"`
	// LogPath is the absolute path of the shim's log file, see LogFile, in place of
	// containerd's log. Empty: containerd has it.
	LogPath string `json:"log_path,omitempty"`
	// Grouping puts the containers of a pod into the shim of the pod.
	Grouping bool `json:"grouping"`
	// Control chooses how running sandboxes are driven.
	Control Control `json:"control"`
	// KubeletRoot is the absolute path of the kubelet's folder. Empty: where it
	// usually is, or where a volume of the pod is mounted.
	KubeletRoot string `json:"kubelet_root,omitempty"`
	// ShareEmptyDirs lets the containers of a pod share its emptyDirs in the
	// sandbox. Without it, only annotations do.
	ShareEmptyDirs bool `json:"share_empty_dirs"`
	// PortForward makes connections to loopback in a pod's network namespace reach
	// its sandbox.
	PortForward bool `json:"port_forward"`
	// SystemdCgroup makes runsc ask systemd for its cgroups.
	SystemdCgroup bool `json:"systemd_cgroup,omitempty"`
	// RunscConfig holds further flags for every runsc command, by their names
	// without dashes. It never holds a flag that the shim sets itself, nor
	// systemd-cgroup, which is SystemdCgroup.
	RunscConfig map[string]string `json:"runsc_config,omitempty"`
	// Ignored says, a sentence for each, what the caller set that has no effect
	// here. It is for the log.
	Ignored []string `json:"-"`
}

// Default returns the options that hold where nothing is configured.
func Default() Options {
	return Options{
		BinaryName:     defaultBinary,
		Root:           defaultRoot,
		Grouping:       true,
		Control:        ControlAuto,
		ShareEmptyDirs: true,
		PortForward:    true,
	}
}

// Flags returns the configured runsc flags for the container id, each in the
// form --key=value, sorted. %ID% in a value becomes the id. The flags that the
// shim sets itself (root, log, log-format) are not among them.
func (o Options) Flags(id string) []string {
	flags := make([]string, 0, len(o.RunscConfig)+1)
	for _, key := range slices.Sorted(maps.Keys(o.RunscConfig)) {
		flags = append(flags, "--"+key+"="+strings.ReplaceAll(o.RunscConfig[key], idPlaceholder, id))
	}
	if o.SystemdCgroup {
		flags = append(flags, "--"+systemdCgroupKey+"=true")
		slices.Sort(flags)
	}
	return flags
}

// LogFile returns the shim's log file for the shim of id: LogPath with %ID%
// replaced by the id. If LogPath ends with a slash it is a directory, and the
// file in it is runsc-shim-<id>.log. It is empty if no LogPath is set.
func (o Options) LogFile(id string) string {
	if o.LogPath == "" {
		return ""
	}
	path := strings.ReplaceAll(o.LogPath, idPlaceholder, id)
	if strings.HasSuffix(path, "/") {
		path += "runsc-shim-" + id + ".log"
	}
	return filepath.Clean(path)
}
