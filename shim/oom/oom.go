package oom

import (
	"os"
	"sync"

	"containerd-shim-runsc/utils/cgroup"
)

// Watcher watches the sandboxes of a shim.
type Watcher struct {
	mu sync.Mutex
	// sandboxes are those in which a container is watched, by the file of their count.
	sandboxes map[string]*sandbox
}

// sandbox is what the watches of its containers share.
type sandbox struct {
	counter counter
	// last is the count when it could last be read.
	last    uint64
	watches map[*Watch]struct{}
}

// count returns how many processes were killed so far, as far as that is known.
func (s *sandbox) count() uint64 {
	if n, err := s.counter.count(); err == nil {
		s.last = max(s.last, n)
	}
	return s.last
}

// Watch is the watch of one container. The Watcher's lock guards it.
type Watch struct {
	watcher *Watcher
	sandbox *sandbox
	// explained is how much of the count is explained otherwise than by this container.
	explained uint64
	kills     uint64
}

// New returns a Watcher that watches nothing yet.
func New() *Watcher { return &Watcher{sandboxes: map[string]*sandbox{}} }

// Watch begins to watch a container that is about to be started in a sandbox process.
func (w *Watcher) Watch(pid int) (*Watch, error) {
	m, err := cgroup.Of(pid)
	if err != nil {
		return nil, err
	}
	own, err := cgroup.Of(os.Getpid())
	if err != nil {
		return nil, err
	}
	return w.watch(m, own)
}

func (w *Watcher) watch(m, own cgroup.Membership) (*Watch, error) {
	counter, err := newCounter(m, own)
	if err != nil {
		return nil, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	s := w.sandboxes[counter.file]
	if s == nil {
		s = &sandbox{counter: counter, watches: map[*Watch]struct{}{}}
		w.sandboxes[counter.file] = s
	}
	k := &Watch{watcher: w, sandbox: s, explained: s.count()}
	s.watches[k] = struct{}{}
	return k, nil
}

// Suspect tells that the kernel has killed something that is not explained yet. What it
// finds is known from then on, also when the cgroup is gone.
func (k *Watch) Suspect() bool {
	k.watcher.mu.Lock()
	defer k.watcher.mu.Unlock()
	return k.sandbox.count() > k.explained
}

// Killed tells whether such a kill explains that a process of the container has ended by
// SIGKILL, for which nobody asked. alone is set if its sandbox goes on: then it explains
// nothing else.
func (k *Watch) Killed(alone bool) bool {
	k.watcher.mu.Lock()
	defer k.watcher.mu.Unlock()
	n := k.sandbox.count()
	if n <= k.explained {
		return false
	}
	k.kills++
	if !alone {
		k.explained = n
		return true
	}
	k.explained++
	for other := range k.sandbox.watches {
		if other != k && other.explained < n {
			other.explained++
		}
	}
	return true
}

// Kills is how often Killed was true.
func (k *Watch) Kills() uint64 {
	k.watcher.mu.Lock()
	defer k.watcher.mu.Unlock()
	return k.kills
}

// Close ends the watch.
func (k *Watch) Close() {
	k.watcher.mu.Lock()
	defer k.watcher.mu.Unlock()
	delete(k.sandbox.watches, k)
	if len(k.sandbox.watches) == 0 {
		delete(k.watcher.sandboxes, k.sandbox.counter.file)
	}
}
