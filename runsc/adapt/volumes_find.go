package adapt

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"unicode"

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
		dir, err := a.resolve(filepath.Join(root, "pods", p.uid))
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
	p.dir, err = a.mountedPod(p.uid)
	return p, err
}

// maxUID is the length of the longest name of a file, in bytes.
const maxUID = 255

// podUID returns the pod's uid, or "" if there is none that can name a folder.
func (a *adaptation) podUID() string {
	uid := oci.PodUID(a.spec)
	if uid == "" {
		// The kubelet names the folder of a pod's logs <namespace>_<name>_<uid>.
		if name := filepath.Base(a.spec.Annotations["io.kubernetes.cri.sandbox-log-directory"]); strings.Count(name, "_") == 2 {
			uid = name[strings.LastIndex(name, "_")+1:]
		}
	}
	if len(uid) > maxUID || strings.ContainsAny(uid, "/ ") || strings.ContainsFunc(uid, unicode.IsControl) || strings.Trim(uid, ".") == "" {
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
func (a *adaptation) mountedPod(uid string) (string, error) {
	all, err := a.mounts()
	if err != nil {
		return "", err
	}
	for _, info := range all {
		if root, _, ok := strings.Cut(info.Mountpoint, "/pods/"+uid+"/volumes/"); ok {
			return filepath.Join(root, "pods", uid), nil
		}
	}
	return "", nil
}

// volume finds a volume of any kind by its name. It returns "" if there is none.
func (a *adaptation) volume(p pod, name string) (string, error) {
	if p.dir == "" {
		return "", nil
	}
	plugins, err := a.readDir(filepath.Join(p.dir, "volumes"))
	for _, plugin := range plugins {
		path := filepath.Join(p.dir, "volumes", plugin, name)
		if plugin == csiPlugin {
			path = filepath.Join(path, "mount")
		}
		st, err := within(a.host, "stat "+path, func() (os.FileInfo, error) { return os.Lstat(path) })
		if err == nil && st.IsDir() {
			return path, nil
		}
	}
	return "", err
}

// emptyDirs returns the names of the pod's emptyDirs.
func (a *adaptation) emptyDirs(p pod) ([]string, error) {
	if p.dir == "" {
		return nil, nil
	}
	return a.readDir(filepath.Join(p.dir, "volumes", emptyDirPlugin))
}

// isEmptyDir tells that a path is that of one of the pod's emptyDirs.
func (p pod) isEmptyDir(path string) bool {
	return p.dir != "" && filepath.Dir(path) == filepath.Join(p.dir, "volumes", emptyDirPlugin)
}

// readDir returns the sorted names in a folder that need not exist.
func (a *adaptation) readDir(dir string) ([]string, error) {
	entries, err := within(a.host, "read "+dir, func() ([]os.DirEntry, error) { return os.ReadDir(dir) })
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
// When ctx has ended nothing is removed any more.
func lookAt(ctx context.Context, path string) (emptyDir, error) {
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
		fs, err := tmpfsAt(path)
		e.memory, e.size, e.foreign = fs.is, fs.size, !fs.is
		if err != nil || e.foreign {
			return e, err
		}
	}
	var err error
	e.used, err = isUsed(ctx, path)
	return e, err
}

// tmpfs tells whether a path is in one, and its size in bytes, 0 for no limit.
type tmpfs struct {
	is   bool
	size uint64
}

func tmpfsAt(path string) (tmpfs, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return tmpfs{}, &os.PathError{Op: "statfs", Path: path, Err: err}
	}
	return tmpfs{is: st.Type == unix.TMPFS_MAGIC, size: st.Blocks * uint64(st.Bsize)}, nil
}

// filestorePrefix begins the name of the file in which a sandbox keeps a volume that is on
// disk (fsutil.SelfFilestorePrefix in runsc). The sandbox's id follows.
const filestorePrefix = ".gvisor.filestore."

// maxStale is how many files of sandboxes that are gone an emptyDir may have.
const maxStale = 4096

func isUsed(ctx context.Context, dir string) (bool, error) {
	f, err := os.OpenFile(dir, unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
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
			if len(stale) == maxStale {
				return true, nil
			}
			stale = append(stale, filepath.Join(dir, e.Name()))
		}
		if errors.Is(err, io.EOF) && ctx.Err() == nil {
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
