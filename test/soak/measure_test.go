package soak

import (
	"context"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"containerd-shim-runsc/test/node"
)

const (
	// still is how long the numbers of a shim must be the same to count: longer than it
	// keeps memory for what might come next.
	still = 3 * time.Second
	// jitter is by how much its memory may change meanwhile, in bytes.
	jitter = 256 << 10
	// moreMemory is how much more a shim may have at the end, in bytes, or a fifth, if that
	// is more: how full its heap's pages are is chance.
	moreMemory = 2 << 20
	// moreThreads is how many more threads it may have: Go keeps those that it once needed
	// for calls that block.
	moreThreads = 4
)

// holding is what a shim holds at a quiet moment.
type holding struct {
	node.ShimSize
	goroutines map[string]int // by where they were made
}

func (h holding) all() int {
	all := 0
	for _, n := range h.goroutines {
		all += n
	}
	return all
}

// moment is what the node and the shims that live all the time hold, when it is quiet.
type moment struct {
	name  string
	at    time.Duration
	node  map[string][]string // names by kind
	shims []holding
}

// quietly stops the load, lets enough look at what there is until it returns "", and lets the
// load go on.
func (w *world) quietly(ctx context.Context, name string, at time.Duration, all []*lived, enough func(moment) string) (m moment, err error) {
	w.work.Lock()
	defer w.work.Unlock()
	for _, l := range all {
		for _, id := range l.containers() {
			n, err := w.orphans(ctx, id)
			if err != nil {
				return m, err
			}
			w.tally.add("execs that containerd's CRI plugin forgot", n)
		}
		if err := w.node.Until(ctx, "no exec is left in "+l.name, func(ctx context.Context) (bool, string) {
			err := l.alone(ctx)
			return err == nil, fmt.Sprint(err)
		}); err != nil {
			return m, err
		}
	}
	deadline, first := time.Now().Add(callTime), ""
	for {
		m = moment{name: name, at: at, node: w.kinds()}
		for _, l := range all {
			h, err := w.settled(ctx, l)
			if err != nil {
				return m, fmt.Errorf("%s (%s): %w", l.name, l.id, err)
			}
			m.shims = append(m.shims, h)
		}
		why := enough(m)
		if why == "" {
			return m, nil
		}
		// Looking makes a shim's log and memory grow, so the first difference is what counts.
		if first == "" {
			first = why
		}
		if time.Now().After(deadline) {
			return m, fmt.Errorf("%s: %s\nand after %s: %s", name, first, callTime, why)
		}
	}
}

// settled returns what a shim holds when that changes no more.
func (w *world) settled(ctx context.Context, l *lived) (h holding, err error) {
	var since time.Time
	err = w.node.Until(ctx, "the shim is quiet", func(context.Context) (bool, string) {
		now, err := node.ShimSizeOf(l.shim)
		if err != nil {
			return false, err.Error()
		}
		if !maps.Equal(now.Descriptors, h.Descriptors) || now.Children != h.Children || max(now.Memory-h.Memory, h.Memory-now.Memory) > jitter {
			h.ShimSize, since = now, time.Now()
		}
		return time.Since(since) > still, fmt.Sprintf("%+v", now)
	})
	if err != nil {
		return h, err
	}
	// Last, as this takes memory.
	stacks, err := w.node.Goroutines(ctx, l.shim, w.logOf(l.id))
	h.goroutines = map[string]int{}
	maker := regexp.MustCompile(`created by (\S+)`)
	for _, stack := range stacks {
		name := "main"
		if m := maker.FindStringSubmatch(stack); m != nil {
			name = m[1]
		}
		h.goroutines[name]++
	}
	return h, err
}

// kinds returns what there is because of pods. A sandbox has processes for what runs in it,
// as many as it needed once, which look like itself: they count as one.
func (w *world) kinds() map[string][]string {
	kinds := map[string][]string{}
	for _, what := range w.remains("") {
		kind, name, _ := strings.Cut(what, " ")
		if kind == "process" {
			_, name, _ = strings.Cut(name, ": ")
		}
		if !slices.Contains(kinds[kind], name) {
			kinds[kind] = append(kinds[kind], name)
		}
	}
	return kinds
}

// more says what there is more of than before, "" for nothing.
func (m moment) more(before moment, all []*lived) string {
	var list []string
	add := func(where string, text string) {
		if text != "" {
			list = append(list, where+": "+text)
		}
	}
	add("the node", differ(before.node, m.node))
	for i, l := range all {
		was, is := before.shims[i], m.shims[i]
		add(l.name+", descriptors", grown(was.Descriptors, is.Descriptors))
		add(l.name+", goroutines", grown(was.goroutines, is.goroutines))
		if is.Children > was.Children {
			add(l.name, fmt.Sprintf("%d children, of %d", is.Children, was.Children))
		}
		if is.Threads > was.Threads+moreThreads {
			add(l.name, fmt.Sprintf("%d threads, of %d", is.Threads, was.Threads))
		}
		if is.Memory > was.Memory+max(was.Memory/5, moreMemory) {
			add(l.name, fmt.Sprintf("%d KiB, of %d", is.Memory>>10, was.Memory>>10))
		}
	}
	return strings.Join(list, "\n")
}

// grown says which counts are more than they were.
func grown(was, is map[string]int) string {
	var list []string
	for _, kind := range slices.Sorted(maps.Keys(is)) {
		if is[kind] > was[kind] {
			list = append(list, fmt.Sprintf("%d %s, of %d", is[kind], kind, was[kind]))
		}
	}
	return strings.Join(list, ", ")
}

// differ names those of the kinds of which there are not as many as there were.
func differ(was, is map[string][]string) string {
	kinds := slices.Collect(maps.Keys(was))
	kinds = slices.AppendSeq(kinds, maps.Keys(is))
	slices.Sort(kinds)
	var list []string
	for _, kind := range slices.Compact(kinds) {
		if len(was[kind]) != len(is[kind]) {
			list = append(list, fmt.Sprintf("%d %s, of %d; new: %q, gone: %q", len(is[kind]), kind, len(was[kind]),
				without(is[kind], was[kind]), without(was[kind], is[kind])))
		}
	}
	return strings.Join(list, "\n")
}

// without returns what is in one list and not in the other.
func without(list, other []string) []string {
	return slices.DeleteFunc(slices.Clone(list), func(s string) bool { return slices.Contains(other, s) })
}

// table shows moments side by side.
func table(all []*lived, moments ...moment) string {
	var b strings.Builder
	row := func(name string, value func(moment) any) {
		fmt.Fprintf(&b, "  %-44s", name)
		for _, m := range moments {
			fmt.Fprintf(&b, " %16v", value(m))
		}
		fmt.Fprintln(&b)
	}
	row("", func(m moment) any { return m.name })
	row("", func(m moment) any { return m.at.Round(time.Second) })
	for i, l := range all {
		fmt.Fprintf(&b, "  the shim of %s\n", l.name)
		row("  descriptors", func(m moment) any { return m.shims[i].Files() })
		kinds := map[string]int{}
		for _, m := range moments {
			maps.Copy(kinds, m.shims[i].Descriptors)
		}
		for _, kind := range slices.Sorted(maps.Keys(kinds)) {
			row("    "+kind, func(m moment) any { return m.shims[i].Descriptors[kind] })
		}
		row("  goroutines", func(m moment) any { return m.shims[i].all() })
		row("  threads", func(m moment) any { return m.shims[i].Threads })
		row("  children", func(m moment) any { return m.shims[i].Children })
		row("  memory of its own, KiB", func(m moment) any { return m.shims[i].Memory >> 10 })
	}
	fmt.Fprintln(&b, "  the node")
	for _, kind := range slices.Sorted(maps.Keys(moments[0].node)) {
		row("  "+kind, func(m moment) any { return len(m.node[kind]) })
	}
	return b.String()
}
