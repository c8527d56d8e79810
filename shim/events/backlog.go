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
	// weight says how late it is given up where there are too many.
	weight weight
	// err says why the event cannot be sent at all. The goroutine logs it.
	err error
}

// overhead is about what an event takes in memory besides its content, in bytes.
const overhead = 256

// size is about what the event takes in memory, in bytes.
func (it item) size() int {
	return overhead + len(it.env.GetEvent().GetValue())
}

// backlog holds the events that wait, oldest first. It needs the Queue's lock.
type backlog struct {
	items    []item
	capacity int
	// size is that of the items, and room how much it may be, both in bytes.
	size, room int
	// dropped counts by topic what was given up since takeDropped.
	dropped map[string]int
}

// push adds an event, and gives up what is too much.
func (b *backlog) push(it item) {
	b.items = append(b.items, it)
	b.size += it.size()
	for len(b.items) > b.capacity || b.size > b.room && len(b.items) > 1 {
		b.giveUp(b.victim())
	}
}

// victim returns the first to be given up: of those with the least weight the oldest.
func (b *backlog) victim() int {
	least := 0
	for i, it := range b.items {
		if it.weight < b.items[least].weight {
			least = i
		}
		if b.items[least].weight == passing {
			break
		}
	}
	return least
}

func (b *backlog) giveUp(i int) {
	if b.dropped == nil {
		b.dropped = map[string]int{}
	}
	b.dropped[b.items[i].env.GetTopic()]++
	b.size -= b.items[i].size()
	b.items = slices.Delete(b.items, i, i+1)
}

// pop takes the oldest event.
func (b *backlog) pop() (item, bool) {
	if len(b.items) == 0 {
		return item{}, false
	}
	it := b.items[0]
	b.size -= it.size()
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
