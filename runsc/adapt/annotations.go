package adapt

import (
	"maps"
	"slices"
	"strings"

	"containerd-shim-runsc/utils/oci"
)

const (
	// ownPrefix begins the annotations by which the shim leaves word for itself.
	ownPrefix = "io.containerd.runsc.v1."
	// runscPrefix begins those that runsc reads.
	runscPrefix = "dev.gvisor."
	// FlagPrefix begins those that set a flag of runsc, which takes a few alone.
	FlagPrefix = runscPrefix + "flag."
)

// dropAnnotations takes from a pod those annotations that its author must not set: the
// shim's own, and what has runsc open files and make cgroups of the host that it names.
// Who may set every flag of runsc may set those of runsc's too.
func dropAnnotations(a *adaptation) error {
	if !oci.InPod(a.spec) {
		return nil
	}
	harmless := []string{FlagPrefix, hintPrefix, forceSharedPrefix}
	if a.isOn("allow-flag-override") {
		harmless = append(harmless, runscPrefix)
	}
	for _, key := range slices.Sorted(maps.Keys(a.spec.Annotations)) {
		own := strings.HasPrefix(key, ownPrefix) || key == CgroupParent
		runscs := strings.HasPrefix(key, runscPrefix) &&
			!slices.ContainsFunc(harmless, func(prefix string) bool { return strings.HasPrefix(key, prefix) })
		if own || runscs {
			a.note("the annotation %s has no effect on a pod", key)
			delete(a.spec.Annotations, key)
			a.Changed = true
		}
	}
	return nil
}
