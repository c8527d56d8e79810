package adapt

import (
	"fmt"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"containerd-shim-runsc/utils/oci"
)

// Volumes says how the volumes of pods are found, and which are shared.
type Volumes struct {
	// KubeletRoot is the kubelet's folder, or "" to look for it.
	KubeletRoot string
	// ShareEmptyDirs lets the containers of a pod share its emptyDirs in the sandbox
	// without annotations that ask for it.
	ShareEmptyDirs bool
}

const (
	// shmName is the hint of a pod's /dev/shm. No volume can have the name.
	shmName = "dev_shm"
	shmPath = "/dev/shm"

	// forceShared and its field are gVisor's annotation of a volume that the host uses too.
	forceSharedPrefix = "dev.gvisor.empty-dir."
	forceSharedField  = ".force-shared"
)

// hintVolumes tells a sandbox of the volumes that its containers will share. Its own spec
// has none of them, as they are the mounts of containers that are still to come.
func hintVolumes(a *adaptation) error {
	if !a.Place.Root {
		return nil
	}
	given, wrong := readHints(a.spec.Annotations)
	for _, w := range wrong {
		a.note("ignored: %s", w)
	}
	p, err := a.findPod()
	if err != nil {
		return err
	}
	names, err := a.emptyDirs(p)
	if err != nil {
		return err
	}
	h := &hints{adaptation: a, pod: p}
	for _, name := range slices.Sorted(maps.Keys(given)) {
		if err := h.addGiven(*given[name]); err != nil {
			return err
		}
	}
	if !a.Volumes.ShareEmptyDirs {
		names = nil
	}
	for _, name := range names {
		if !h.has(name) {
			if err := h.addEmptyDir(hint{name: name, ours: true}); err != nil {
				return err
			}
		}
	}
	if err := h.addShm(); err != nil {
		return err
	}
	if err := h.suitRunsc(); err != nil {
		return err
	}
	a.setHints(h.list)
	return nil
}

// hints are the hints for a sandbox, as they are gathered.
type hints struct {
	*adaptation
	pod  pod
	list []*hint
}

func (h *hints) has(name string) bool {
	return slices.ContainsFunc(h.list, func(o *hint) bool { return o.name == name })
}

// add adds a hint. runsc refuses two of one source.
func (h *hints) add(n hint) {
	for _, o := range h.list {
		if h.sameFile(o.source, n.source) {
			h.note("volume %s: ignored, as its source %s is also that of %s", n.name, n.source, o.name)
			return
		}
	}
	h.list = append(h.list, &n)
}

// addGiven adds a hint that the pod's annotations give. One with a source is for mounts that
// have the very same; one without is for the pod's volume of that name.
func (h *hints) addGiven(n hint) error {
	n.given = n.source != ""
	if !n.given {
		source, err := h.volume(h.pod, n.name)
		if err != nil {
			return err
		}
		if source == "" {
			h.note("the annotations %s%s.* match no volume of the pod", hintPrefix, n.name)
			return nil
		}
		if h.pod.isEmptyDir(source) {
			return h.addEmptyDir(n)
		}
		n.source = source
	} else if _, err := h.stat(n.source); err != nil {
		h.note("the annotations %s%s.* are ignored: %v", hintPrefix, n.name, err)
		return nil
	}
	if n.kind == "" && n.share == shareHost {
		n.kind = typeBind
	}
	if !n.complete() {
		h.note("the annotations %s%s.* are ignored: type or share is missing", hintPrefix, n.name)
		return nil
	}
	if n.kind == typeBind && n.share != shareHost {
		// runsc lays a file system over it that ends with the sandbox, and refuses a
		// second container with the volume (initGoferConfs in runsc/container).
		if !n.given {
			h.note("volume %s is mounted with share %s: with type bind and share %s, nothing written to it would reach it", n.name, shareHost, n.share)
			n.share = shareHost
		} else {
			h.note("volume %s: with type bind and share %s, nothing written to it reaches %s", n.name, n.share, n.source)
		}
	}
	if n.inSandbox() {
		n.options, n.memory = h.tmpfsOptions(n, nil), !n.given
	}
	h.add(n)
	return nil
}

// addEmptyDir adds a hint for an emptyDir, of which n has what the annotations say: the
// sandbox keeps it, in memory or in a file in the volume's folder. There the kubelet sees
// how much it is. A volume that something has written to already stays a folder of the
// host's, for every container.
func (h *hints) addEmptyDir(n hint) error {
	n.source = filepath.Join(h.pod.dir, "volumes", emptyDirPlugin, n.name)
	e, err := within(h.host, "look at "+n.source, func() (emptyDir, error) { return lookAt(h.ctx, n.source) })
	if err != nil {
		return fmt.Errorf("volume %s: %w", n.name, err)
	}
	switch {
	case n.share == shareHost, h.forceShared(n.name):
		n.share = shareHost
	case e.foreign:
		h.note("volume %s is on a file system of its own, so it is not shared in the sandbox", n.name)
		n.share = shareHost
	case e.used:
		h.note("volume %s is not empty, so it is not shared in the sandbox: sockets and FIFOs in it are not seen by other containers", n.name)
		n.share = shareHost
	case n.share == "":
		n.share = sharePod
	}
	if n.share == shareHost {
		n.kind, n.options = typeBind, ""
		h.add(n)
		return nil
	}
	n.memory = e.memory || n.kind == typeTmpfs
	n.kind = typeTmpfs
	// The sandbox's tmpfs begins with what the kubelet has set: 0777, and the pod's fsGroup.
	options := []string{
		"mode=" + strconv.FormatUint(uint64(e.mode), 8),
		"uid=" + strconv.FormatUint(uint64(e.uid), 10),
		"gid=" + strconv.FormatUint(uint64(e.gid), 10),
	}
	if e.size > 0 {
		options = append(options, "size="+strconv.FormatUint(e.size, 10))
	}
	n.options = h.tmpfsOptions(n, options)
	h.add(n)
	return nil
}

// forceShared tells that the annotations want the emptyDir to be a folder of the host.
func (a *adaptation) forceShared(name string) bool {
	key := forceSharedPrefix + name + forceSharedField
	text := a.spec.Annotations[key]
	if text == "" {
		return false
	}
	on, err := strconv.ParseBool(text)
	if err != nil {
		a.note("annotation %s is ignored: want true or false, have %q", key, text)
	}
	return on
}

// addShm adds a hint for the pod's /dev/shm, which CRI makes on the host as a tmpfs and
// mounts into each container. That of the host itself, which a pod in the host's IPC
// namespace has, stays what it is.
func (h *hints) addShm() error {
	i := slices.IndexFunc(h.spec.Mounts, func(m specs.Mount) bool {
		return isBind(m) && filepath.Clean(m.Destination) == shmPath
	})
	if i < 0 || !oci.InPod(h.spec) {
		return nil
	}
	source := h.spec.Mounts[i].Source
	if h.sameFile(source, shmPath) {
		return nil
	}
	fs, err := within(h.host, "look at "+source, func() (tmpfs, error) { return tmpfsAt(source) })
	if err != nil || !fs.is {
		return err
	}
	options := "mode=1777"
	if fs.size > 0 {
		options += ",size=" + strconv.FormatUint(fs.size, 10)
	}
	h.add(hint{name: shmName, source: source, kind: typeTmpfs, share: sharePod, options: options, memory: true, ours: true})
	return nil
}

// hintOptions is a day, as it is in runsc's version, since which a hint may have a tmpfs's
// options. An older runsc refuses the sandbox or passes over them, and the oldest have all
// content in memory.
const hintOptions = "20240722"

// suitRunsc leaves only what the runsc in use understands.
func (h *hints) suitRunsc() error {
	if len(h.list) == 0 {
		return nil
	}
	version, err := h.RunscVersion()
	if err != nil {
		return fmt.Errorf("the sandbox's volumes: %w", err)
	}
	day := regexp.MustCompile(`20\d{6}`).FindString(version)
	if day == "" || day >= hintOptions {
		return nil
	}
	h.list = slices.DeleteFunc(h.list, func(o *hint) bool { return o.ours })
	h.note("runsc %s is too old to share volumes in the sandbox without annotations", version)
	for _, o := range h.list {
		o.options, o.memory = "", o.inSandbox()
	}
	return nil
}
