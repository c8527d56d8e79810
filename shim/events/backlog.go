package events

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/containerd/containerd/api/types"
)

// item is an event on its way. Its order among the others is its place.
type item struct {
	env *types.Envelope
	// err says why the event cannot be sent at all. The goroutine logs it.
	err error
}

// backlog holds the events that wait, oldest first. It needs the Queue's lock.
type backlog struct {
	items    []item
	capacity int
	// dropped counts by topic what was given up since takeDropped.
	dropped map[string]int
}

// push adds an event, and gives one up if there are too many.
func (b *backlog) push(it item) {
	b.items = append(b.items, it)
	if len(b.items) <= b.capacity {
		return
	}
	victim := slices.IndexFunc(b.items, func(it item) bool { return !tellsOfAnEnd(it.env.GetTopic()) })
	victim = max(victim, 0) // the oldest where all tell of an end
	if b.dropped == nil {
		b.dropped = map[string]int{}
	}
	b.dropped[b.items[victim].env.GetTopic()]++
	b.items = slices.Delete(b.items, victim, victim+1)
}

// pop takes the oldest event.
func (b *backlog) pop() (item, bool) {
	if len(b.items) == 0 {
		return item{}, false
	}
	it := b.items[0]
	b.items[0] = item{} // for the garbage collector
	b.items = b.items[1:]
	return it, true
}

// takeDropped returns the counts by topic since the last call.
func (b *backlog) takeDropped() map[string]int {
	d := b.dropped
	b.dropped = nil
	return d
}

// describeCounts lists counts by topic for the log.
func describeCounts(counts map[string]int) string {
	var parts []string
	for _, topic := range slices.Sorted(maps.Keys(counts)) {
		parts = append(parts, fmt.Sprintf("%d of %s", counts[topic], topic))
	}
	return strings.Join(parts, ", ")
}
