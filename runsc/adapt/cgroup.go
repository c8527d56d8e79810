package adapt

import (
	"fmt"
	"path"
	"strconv"
	"strings"

	"github.com/containerd/errdefs"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"containerd-shim-runsc/utils/cgroup"
	"containerd-shim-runsc/utils/oci"
)

// CgroupParent is the annotation from which runsc takes the cgroup of a sandbox, which
// otherwise is that of its root container (cgroupParentAnnotation in runsc/container).
const CgroupParent = "dev.gvisor.spec.cgroup-parent"

// MadeCgroup is an annotation that the shim sets where the pod's cgroup is not there yet,
// so that it is the shim's to make and to remove.
const MadeCgroup = ownPrefix + "made-cgroup"

// PodLimits is what is known of what a pod may use, when its sandbox is created.
type PodLimits struct {
	// Known tells that somebody has said what the pod may use. Otherwise it is the sum of
	// what its containers may.
	Known bool
	// Kubelet tells that it was the kubelet, or who else asked CRI for the pod: of all
	// containers that the pod will have.
	Kubelet bool
	// Limits are those that were said.
	cgroup.Limits
}

// nameCgroups makes the path of the container's cgroup one that runsc understands: with
// cgroup v1 it knows none of systemd's, and would make a cgroup of that very name below
// the shim's.
func nameCgroups(a *adaptation) error {
	linux := a.spec.Linux
	if linux == nil || cgroup.Unified() || !cgroup.IsSystemd(linux.CgroupsPath) {
		return nil
	}
	linux.CgroupsPath = cgroup.ScopePath(linux.CgroupsPath)
	a.Changed = true
	return nil
}

// joinPodCgroup puts a pod's sandbox into the pod's cgroup, where the kubelet has set what
// the pod may use. Otherwise it would be in that of the pod's pause container. A path for
// systemd stays: the sandbox is in a scope in the pod's slice then, as systemd allows no
// process in a slice itself. The pod itself has no say in it (dropAnnotations): its author
// could name a cgroup of the node's own daemons.
func joinPodCgroup(a *adaptation) error {
	if !a.podRoot() || a.spec.Linux == nil || cgroup.IsSystemd(a.spec.Linux.CgroupsPath) {
		return nil
	}
	pod := podCgroup(a.spec)
	if pod == "" {
		return nil
	}
	a.annotate(CgroupParent, pod)
	if !cgroup.At(pod).Exists() {
		a.annotate(MadeCgroup, "true")
	}
	return nil
}

// podCgroup returns the path of the cgroup that the pod of the spec's container has to
// itself, or "" if there is none: without a kubelet, the parent of the containers'
// cgroups may be one for all pods.
func podCgroup(spec *specs.Spec) string {
	parent := cgroup.Parent(spec.Linux.CgroupsPath)
	name := path.Base(parent)
	// systemd's names have no dash but between the parts.
	uid := oci.PodUID(spec)
	for _, mark := range []string{uid, strings.ReplaceAll(uid, "-", "_")} {
		if mark != "" && strings.Contains(name, mark) {
			return parent
		}
	}
	if strings.HasPrefix(name, "pod") || strings.HasSuffix(name, ".slice") && strings.Contains(name, "-pod") {
		return parent
	}
	return ""
}

// limitPod gives a pod's sandbox what the pod may use, instead of what its pause
// container may, which is next to nothing. runsc also tells the containers by it how many
// processors and how much memory there is.
func limitPod(a *adaptation) error {
	if !a.podRoot() {
		return nil
	}
	if a.spec.Linux == nil {
		a.spec.Linux = &specs.Linux{}
	}
	if a.spec.Linux.Resources == nil {
		a.spec.Linux.Resources = &specs.LinuxResources{}
	}
	said, err := a.saidLimits()
	if err != nil {
		return err
	}
	a.Pod = &PodLimits{Known: said.known, Kubelet: said.kubelet, Limits: said.Limits}
	if dir := podCgroup(a.spec); dir != "" {
		// The kubelet's are those of the containers and the overhead of the
		// RuntimeClass.
		set, err := cgroup.At(dir).Limits()
		if err != nil {
			return fmt.Errorf("limits of the pod's cgroup: %w: %w", err, errdefs.ErrFailedPrecondition)
		}
		if set.Memory > 0 {
			a.Pod.Memory, a.Pod.Known, a.Pod.Kubelet = set.Memory, true, true
		}
		if set.Quota > 0 {
			a.Pod.Quota, a.Pod.Known, a.Pod.Kubelet = set.Quota, true, true
		}
	}
	a.Pod.put(a.spec.Linux.Resources)
	a.Changed = true
	return nil
}

// put puts the limits in place of the pause container's.
func (p *PodLimits) put(res *specs.LinuxResources) {
	said := p.Resources()
	if res.CPU != nil {
		said.CPU.Cpus, said.CPU.Mems = res.CPU.Cpus, res.CPU.Mems
	}
	res.CPU, res.Memory = said.CPU, said.Memory
}

// The annotations by which CRI says what a pod's containers may use together when it is
// created (internal/cri/annotations in containerd). Times are in microseconds, sizes in
// bytes; 0 is no limit.
const (
	podPeriod = "io.kubernetes.cri.sandbox-cpu-period"
	podQuota  = "io.kubernetes.cri.sandbox-cpu-quota"
	podShares = "io.kubernetes.cri.sandbox-cpu-shares"
	podMemory = "io.kubernetes.cri.sandbox-memory"
)

// pauseShares are the CPU shares that CRI gives a pause container.
const pauseShares = 2

// saidLimits are the limits that the spec says, if known is set, and if kubelet is set,
// its annotations.
type saidLimits struct {
	cgroup.Limits
	known, kubelet bool
}

// saidLimits returns what the annotations say, or without any, what the spec itself says
// but for the pause container's shares (DefaultSandboxCPUshares in containerd).
func (a *adaptation) saidLimits() (said saidLimits, err error) {
	values := map[string]int64{}
	for _, key := range []string{podPeriod, podQuota, podShares, podMemory} {
		text := a.spec.Annotations[key]
		if text == "" {
			continue
		}
		said.known, said.kubelet = true, true
		if values[key], err = strconv.ParseInt(text, 10, 64); err != nil {
			return saidLimits{}, fmt.Errorf("annotation %s: %q is no number: %w", key, text, errdefs.ErrInvalidArgument)
		}
	}
	if !said.known {
		said.Limits = cgroup.LimitsOf(a.spec.Linux.Resources)
		said.known = said.Memory > 0 || said.Quota > 0
		if said.Shares <= pauseShares {
			said.Shares = 0
		}
		return said, nil
	}
	said.Memory = max(values[podMemory], 0)
	said.Shares = min(uint64(max(values[podShares], 0)), cgroup.MaxShares)
	if quota, period := values[podQuota], values[podPeriod]; quota > 0 {
		said.Quota = cgroup.Quota(quota, uint64(max(period, 0)))
	}
	return said, nil
}

// podRoot tells that the container makes the sandbox of a pod.
func (a *adaptation) podRoot() bool { return a.Place.Root && oci.InPod(a.spec) }
