package faults

import (
	"testing"
	"time"
)

// A containerd that is gone, stopped, slow, or that refuses what it is told: E4. The
// events come late then, but all, and in order.

func TestSink(t *testing.T) { cross(t, sinkFaults()) }

func sinkFaults() []fault {
	up := func(w *world) { w.e.Events.Up() }
	asked := because("its events are the situation", func(s situation) bool { return s.verb != "shutdown" })
	return []fault{
		{name: "absent", na: asked, inject: func(w *world) { w.e.Events.Down() }, lift: up},
		{name: "stopped", na: asked,
			inject: func(w *world) { w.endStall = w.e.Events.Stall() },
			lift:   func(w *world) { w.endStall(); w.e.Events.Up() }},
		{name: "slow", na: asked, inject: func(w *world) { w.e.Events.Slow(time.Second) }, lift: up},
		{name: "refusing", na: asked, inject: func(w *world) { w.e.Events.Refuse() }, lift: up},
		{name: "comes and goes", na: asked, inject: func(w *world) { w.e.Events.Down(); w.e.Events.Up(); w.e.Events.Down() }, lift: up},
	}
}
