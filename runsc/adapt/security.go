package adapt

import (
	"fmt"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
)

// noteSecurity notes the profiles and capabilities that gVisor does not give effect to.
// That a container has none of the host's kernel to attack makes up for most of them. An
// SELinux label it cannot leave out: with it, whoever wrote the policy counts on more
// than the container's system calls being kept in.
func noteSecurity(a *adaptation) error {
	process := a.spec.Process
	if label := process.SelinuxLabel; label != "" {
		return fmt.Errorf("SELinux label %q: gVisor does not apply SELinux labels: %w", label, errdefs.ErrNotImplemented)
	}
	if linux := a.spec.Linux; linux != nil {
		if linux.MountLabel != "" {
			a.note("gVisor does not apply the SELinux label %q to mounts", linux.MountLabel)
		}
		if linux.Seccomp != nil && !a.isOn("oci-seccomp") {
			// The default profile of every Kubernetes pod cannot be told from another.
			a.usual("gVisor ignores the seccomp profile (runsc's oci-seccomp=true applies it)")
		}
	}
	switch profile := process.ApparmorProfile; {
	case profile == "" || profile == "unconfined":
	case isDefaultApparmor(profile):
		a.usual("gVisor ignores the AppArmor profile %q", profile)
	default:
		a.note("gVisor ignores the AppArmor profile %q", profile)
	}
	if caps := process.Capabilities; caps != nil && slices.Contains(caps.Permitted, "CAP_NET_RAW") && !a.isOn("net-raw") {
		a.usual("gVisor takes the capability CAP_NET_RAW away (runsc's net-raw=true leaves it)")
	}
	return nil
}

// isDefaultApparmor tells whether a profile is one that a client gives to each container.
func isDefaultApparmor(profile string) bool {
	switch profile {
	case "cri-containerd.apparmor.d", "docker-default", "nerdctl-default", "buildkit-default":
		return true
	}
	return strings.HasPrefix(profile, "crio-default") || strings.HasPrefix(profile, "containers-default")
}
