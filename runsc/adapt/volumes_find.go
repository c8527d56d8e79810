package adapt

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"containerd-shim-runsc/utils/oci"
)

// emptyDirPlugin is the folder in which the kubelet makes a pod's emptyDirs, and csiPlugin
// the one of volumes whose content is a folder below their own.
const (
	emptyDirPlugin = "kubernetes.io~empty-dir"
	csiPlugin      = "kubernetes.io~csi"
)

// pod is where the kubelet keeps what it has made for a pod.
type pod struct {
	// uid is "" where it is not known.
	uid string
	// dir is "" where there is none.
	dir string
}

// findPod finds the folder of the spec's pod. By the time that the sandbox is created, the
// kubelet has made and mounted all volumes there.
func (a *adaptation) findPod() (pod, error) {
	p := pod{uid: a.podUID()}
	if p.uid == "" {
		return p, nil
	}
	for _, root := range kubeletRoots(a.Volumes.KubeletRoot) {
		dir, err := filepath.EvalSymlinks(filepath.Join(root, "pods", p.uid))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return p, fmt.Errorf("find the pod's volumes: %w", err)
		}
		p.dir = dir
		return p, nil
	}
	if a.Volumes.KubeletRoot != "" {
		return p, nil
	}
	var err error
	p.dir, err = mountedPod(p.uid)
	return p, err
}

// podUID returns the pod's uid, or "" if there is none that can name a folder.
func (a *adaptation) podUID() string {
	uid := oci.PodUID(a.spec)
	if uid == "" {
		// The kubelet names the folder of a pod's logs <namespace>_<name>_<uid>.
		if name := filepath.Base(a.spec.Annotations["io.kubernetes.cri.sandbox-log-directory"]); strings.Count(name, "_") == 2 {
			uid = name[strings.LastIndex(name, "_")+1:]
		}
	}
	if strings.ContainsAny(uid, "/ ") || strings.Trim(uid, ".") == "" {
		return ""
	}
	return uid
}

// kubeletRoots returns where the kubelet's folder may be: where it is configured to be, or
// where kubeadm, k3s, RKE2 and most others have it, MicroK8s and k0s.
func kubeletRoots(configured string) []string {
	if configured != "" {
		return []string{configured}
	}
	return []string{"/var/lib/kubelet", "/var/snap/microk8s/common/var/lib/kubelet", "/var/lib/k0s/kubelet"}
}

// mountedPod finds the folder of a pod by a volume that is mounted there, as that with the
// pod's service account is.
func mountedPod(uid string) (string, error) {
	b, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(b)) {
		fields := strings.Fields(line)
		if len(fields) < 5 {
			continue
		}
		root, _, ok := strings.Cut(fields[4], "/pods/"+uid+"/volumes/")
		// Bytes that the table escapes are in no kubelet's path.
		if ok && !strings.Contains(root, `\`) {
			return filepath.Join(root, "pods", uid), nil
		}
	}
	return "", nil
}

// volume finds a volume of any kind by its name. It returns "" if there is none.
func (p pod) volume(name string) (string, error) {
	if p.dir == "" {
		return "", nil
	}
	plugins, err := readDir(filepath.Join(p.dir, "volumes"))
	for _, plugin := range plugins {
		path := filepath.Join(p.dir, "volumes", plugin, name)
		if plugin == csiPlugin {
			path = filepath.Join(path, "mount")
		}
		if st, err := os.Lstat(path); err == nil && st.IsDir() {
			return path, nil
		}
	}
	return "", err
}

// emptyDirs returns the names of the pod's emptyDirs.
func (p pod) emptyDirs() ([]string, error) {
	if p.dir == "" {
		return nil, nil
	}
	return readDir(filepath.Join(p.dir, "volumes", emptyDirPlugin))
}

// isEmptyDir tells that a path is that of one of the pod's emptyDirs.
func (p pod) isEmptyDir(path string) bool {
	return p.dir != "" && filepath.Dir(path) == filepath.Join(p.dir, "volumes", emptyDirPlugin)
}

// readDir returns the sorted names in a folder that need not exist.
func readDir(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("find the pod's volumes: %w", err)
	}
	var names []string
	for _, e := range entries {
		if e.IsDir() {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

// emptyDir is what the kubelet has made for one.
type emptyDir struct {
	// foreign is set if it is neither a plain folder nor a tmpfs.
	foreign bool
	// memory is set for a tmpfs, and size its size in bytes, 0 for no limit.
	memory bool
	size   uint64
	// used is set if there is something in it.
	used     bool
	mode     uint32
	uid, gid uint32
}

// lookAt looks at an emptyDir. What a sandbox that is gone has left in it is removed, and
// does not count: the sandbox of a pod is made anew if its processes or the machine broke down.
func lookAt(path string) (emptyDir, error) {
	var e emptyDir
	var st, parent unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return e, &os.PathError{Op: "lstat", Path: path, Err: err}
	}
	if err := unix.Lstat(filepath.Dir(path), &parent); err != nil {
		return e, &os.PathError{Op: "lstat", Path: filepath.Dir(path), Err: err}
	}
	e.mode, e.uid, e.gid = st.Mode&0o7777, st.Uid, st.Gid
	if st.Dev != parent.Dev {
		var err error
		e.memory, e.size, err = tmpfsSize(path)
		e.foreign = !e.memory
		if err != nil || e.foreign {
			return e, err
		}
	}
	var err error
	e.used, err = isUsed(path)
	return e, err
}

// tmpfsSize tells whether a path is in a tmpfs, and its size.
func tmpfsSize(path string) (is bool, size uint64, err error) {
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return false, 0, &os.PathError{Op: "statfs", Path: path, Err: err}
	}
	return st.Type == unix.TMPFS_MAGIC, st.Blocks * uint64(st.Bsize), nil
}

// filestorePrefix begins the name of the file in which a sandbox keeps a volume that is on
// disk (fsutil.SelfFilestorePrefix in runsc). The sandbox's id follows.
const filestorePrefix = ".gvisor.filestore."

func isUsed(dir string) (bool, error) {
	f, err := os.Open(dir)
	if err != nil {
		return false, err
	}
	defer func() { _ = f.Close() }()
	var stale []string
	for {
		entries, err := f.ReadDir(64)
		for _, e := range entries {
			if !e.Type().IsRegular() || !strings.HasPrefix(e.Name(), filestorePrefix) {
				return true, nil
			}
			stale = append(stale, filepath.Join(dir, e.Name()))
		}
		if errors.Is(err, io.EOF) {
			return false, removeFiles(stale)
		}
		if err != nil {
			return false, err
		}
	}
}

// removeFiles removes files that need not exist.
func removeFiles(paths []string) error {
	var errs []error
	for _, path := range paths {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
