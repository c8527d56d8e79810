package adapt

import (
	"context"
	"os"
	"path/filepath"
	"time"

	"github.com/moby/sys/mountinfo"

	"containerd-shim-runsc/utils/safe"
)

// hostTimeout bounds each look at the host's files, which take microseconds where they do
// not hang. As none follows one that hung, it bounds them all.
const hostTimeout = 10 * time.Second

// host is how one adaptation looks at the host's files. A file system that hangs, as that of
// a network server that is gone, ends the adaptation with an error that names the path. What
// was looked at is remembered: a spec may have thousands of mounts, and a pod as many
// volumes.
type host struct {
	ctx context.Context
	// hung is set when a look did not come back: then there are no more.
	hung  error
	stats map[string]looked[os.FileInfo]
	links map[string]looked[string]
	// mountTable is nil until it is read.
	mountTable []*mountinfo.Info
}

type looked[T any] struct {
	is  T
	err error
}

func newHost(ctx context.Context) *host {
	return &host{ctx: ctx, stats: map[string]looked[os.FileInfo]{}, links: map[string]looked[string]{}}
}

// within calls what may hang, and must leave nothing to undo.
func within[T any](h *host, what string, f func() (T, error)) (T, error) {
	if h.hung != nil {
		var none T
		return none, h.hung
	}
	ctx, cancel := context.WithTimeout(h.ctx, hostTimeout)
	defer cancel()
	is, err := safe.Within(ctx, what, f, nil)
	if err != nil && ctx.Err() != nil {
		h.hung = err
	}
	return is, err
}

// remembered is within for what has an answer already, or will have.
func remembered[T any](h *host, known map[string]looked[T], verb, path string, f func(string) (T, error)) (T, error) {
	if l, ok := known[path]; ok {
		return l.is, l.err
	}
	is, err := within(h, verb+" "+path, func() (T, error) { return f(path) })
	known[path] = looked[T]{is, err}
	return is, err
}

// stat is os.Stat.
func (h *host) stat(path string) (os.FileInfo, error) {
	return remembered(h, h.stats, "stat", path, os.Stat)
}

// resolve is filepath.EvalSymlinks.
func (h *host) resolve(path string) (string, error) {
	return remembered(h, h.links, "resolve", path, filepath.EvalSymlinks)
}

// sameFile tells that two paths lead to the same file. They may differ, as CRI resolves
// symbolic links. That of one that hangs is none; who needs it fails by it.
func (h *host) sameFile(a, b string) bool {
	if a == b {
		return true
	}
	sa, err := h.stat(a)
	if err != nil {
		return false
	}
	sb, err := h.stat(b)
	return err == nil && os.SameFile(sa, sb)
}

// mounts returns the host's mounts.
func (h *host) mounts() ([]*mountinfo.Info, error) {
	if h.mountTable == nil {
		table, err := within(h, "read the host's mounts", func() ([]*mountinfo.Info, error) { return mountinfo.GetMounts(nil) })
		if err != nil {
			return nil, err
		}
		h.mountTable = table
	}
	return h.mountTable, nil
}
