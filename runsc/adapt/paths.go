package adapt

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	confs "github.com/containerd/continuity/fs"
	"github.com/containerd/errdefs"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// limitPaths enforces maskedPaths and readonlyPaths, of which runsc takes no notice, by
// mounts. A path that is not there needs none, as with runc.
func limitPaths(a *adaptation) error {
	if a.spec.Linux == nil {
		return nil
	}
	for _, p := range a.spec.Linux.ReadonlyPaths {
		if err := a.makeReadonly(p); err != nil {
			return fmt.Errorf("read-only path %s: %w", p, err)
		}
	}
	for _, p := range a.spec.Linux.MaskedPaths {
		if err := a.mask(p); err != nil {
			return fmt.Errorf("masked path %s: %w", p, err)
		}
	}
	return nil
}

// kind is what there is at a path in a container, before it has run.
type kind int

const (
	absent kind = iota
	isFile
	isDir
	// unsure is there, or may be, and cannot be mounted on.
	unsure
)

// spot is a path in a container.
type spot struct {
	// path has no symbolic link of the root file system's.
	path string
	kind kind
	// mount is the index of the mount that it is in, or -1 in the root file system. It
	// is the mount itself if exact is true.
	mount int
	exact bool
	// own tells that it is in a file system of the sandbox's own.
	own bool
	// source is where it is on the host, if it is there.
	source string
}

// find looks a path up.
func (a *adaptation) find(path string) (spot, error) {
	if !filepath.IsAbs(path) {
		return spot{}, fmt.Errorf("want an absolute path: %w", errdefs.ErrInvalidArgument)
	}
	rootfs := a.onHost(a.spec.Root.Path)
	source, err := a.below(rootfs, path)
	if errors.Is(err, unix.ENOTDIR) {
		return spot{kind: absent, mount: -1}, nil
	}
	if err != nil {
		return spot{}, err
	}
	rel, err := filepath.Rel(rootfs, source)
	if err != nil {
		return spot{}, err
	}
	s := spot{path: filepath.Join("/", rel), mount: -1}
	m, found := implicitMount(s.path)
	for i, o := range a.spec.Mounts {
		o.Destination = filepath.Clean(o.Destination)
		if isWithin(s.path, o.Destination) && (s.mount < 0 || len(o.Destination) >= len(m.Destination)) {
			m, found, s.mount, s.exact = o, true, i, s.path == o.Destination
		}
	}
	below := strings.TrimPrefix(s.path, m.Destination)
	switch {
	case !found:
		s.source = source
	case !isBind(m):
		s.own = true
		s.kind = a.kindInSandbox(m, below)
		return s, nil
	case below == "":
		s.source = a.onHost(m.Source)
	default:
		s.source, err = a.below(a.onHost(m.Source), below)
		if errors.Is(err, unix.ENOTDIR) {
			return s, nil
		}
		if err != nil {
			return spot{}, err
		}
	}
	s.kind, err = a.kindOf(s.source)
	return s, err
}

// below resolves a path as if the root were a container's.
func (a *adaptation) below(root, path string) (string, error) {
	is, err := within(a.host, "resolve "+path+" in "+root, func() (string, error) { return confs.RootPath(root, path) })
	var errno unix.Errno
	if err != nil && a.hung == nil && (!errors.As(err, &errno) || isOfPath(errno)) {
		// Links in a circle are continuity's own error.
		err = fmt.Errorf("%w: %w", err, errdefs.ErrInvalidArgument)
	}
	return is, err
}

// isOfPath tells of an error that the path itself has, wherever it leads.
func isOfPath(errno unix.Errno) bool {
	return errno == unix.EINVAL || errno == unix.ENAMETOOLONG || errno == unix.ELOOP
}

// isWithin tells whether a path is a directory or something in it.
func isWithin(path, dir string) bool {
	return path == dir || strings.HasPrefix(path, strings.TrimSuffix(dir, "/")+"/")
}

// kindOf tells what a path on the host leads to.
func (a *adaptation) kindOf(path string) (kind, error) {
	fi, err := a.stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, unix.ENOTDIR):
		return absent, nil
	case err != nil:
		return absent, err
	case fi.IsDir():
		return isDir, nil
	}
	return isFile, nil
}

// mask hides a path: a directory below an empty one, a file below the null device.
func (a *adaptation) mask(path string) error {
	s, err := a.find(path)
	if err != nil {
		return err
	}
	over := specs.Mount{Destination: s.path}
	switch s.kind {
	case absent:
		return nil
	case unsure:
		a.note("gVisor cannot hide %s", path)
		return nil
	case isDir:
		if s.path == "/" {
			return fmt.Errorf("a container needs its root: %w", errdefs.ErrInvalidArgument)
		}
		over.Type, over.Source, over.Options = typeTmpfs, typeTmpfs, []string{"ro"}
	case isFile:
		over.Type, over.Source, over.Options = typeBind, os.DevNull, []string{"bind", "ro"}
	}
	// runc covers with it what is mounted there or below, but runsc mounts what has the
	// longer path last, whatever the order is.
	a.spec.Mounts = append(slices.DeleteFunc(a.spec.Mounts, func(m specs.Mount) bool {
		return isWithin(filepath.Clean(m.Destination), s.path)
	}), over)
	a.Changed = true
	return nil
}

// makeReadonly makes a path read-only.
func (a *adaptation) makeReadonly(path string) error {
	s, err := a.find(path)
	if err != nil {
		return err
	}
	switch {
	case s.kind == absent:
		return nil
	case s.path == "/":
		a.Changed = a.Changed || !a.spec.Root.Readonly
		a.spec.Root.Readonly = true
		return nil
	case s.exact:
		a.makeMountReadonly(&a.spec.Mounts[s.mount])
		return nil
	case s.mount >= 0 && slices.Contains(a.spec.Mounts[s.mount].Options, "ro"):
		return nil
	case s.own:
		a.noteWritable(path, s)
		return nil
	case s.mount >= 0:
		// Another container of the pod may put a link there in the meantime that leads
		// anywhere on the host.
		return fmt.Errorf("it is in the mount on %s, of which gVisor can make only all or nothing read-only: %w",
			a.spec.Mounts[s.mount].Destination, errdefs.ErrNotImplemented)
	case a.spec.Root.Readonly && s.path != "/tmp":
		// On an empty /tmp runsc mounts a tmpfs, if nothing else is.
		return nil
	}
	// The others are mounted in it, so it comes before them.
	a.spec.Mounts = slices.Insert(a.spec.Mounts, 0, specs.Mount{
		Destination: s.path, Type: typeBind, Source: s.source, Options: []string{"rbind", "ro"},
	})
	a.Changed = true
	return nil
}

func (a *adaptation) makeMountReadonly(m *specs.Mount) {
	if slices.Contains(m.Options, "ro") {
		return
	}
	m.Options = append(slices.DeleteFunc(slices.Clone(m.Options), func(o string) bool { return o == "rw" }), "ro")
	a.Changed = true
}

// noteWritable notes what stays writable of the sandbox's own file systems. Of the paths
// that clients want read-only by default, it is one: nobody can write to the other file.
func (a *adaptation) noteWritable(path string, s spot) {
	switch s.path {
	case "/proc/sysrq-trigger":
	case "/proc/sys":
		a.usual("gVisor cannot make /proc/sys read-only: what is in it belongs to the sandbox alone")
	default:
		a.note("gVisor cannot make %s read-only", path)
	}
}
