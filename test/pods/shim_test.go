package pods

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// descriptors returns what a process has open.
func descriptors(t *testing.T, pid int) []string {
	t.Helper()
	paths, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	check(t, err)
	var list []string
	for _, path := range paths {
		if to, err := os.Readlink(path); err == nil {
			list = append(list, to)
		}
	}
	return list
}

// sockets returns the sockets and namespaces that a process has open, but no pipes, of
// which Go keeps some for the next connection that is copied.
func sockets(t *testing.T, pid int) []string {
	t.Helper()
	return slices.DeleteFunc(descriptors(t, pid), func(name string) bool { return strings.HasPrefix(name, "pipe:") })
}

// size is how much a shim has of what it must not lose.
type size struct{ descriptors, goroutines, children int }

// fits tells that it is no more than another.
func (s size) fits(other size) bool {
	return s.descriptors <= other.descriptors && s.goroutines <= other.goroutines && s.children <= other.children
}

// shimSize counts what the pod's shim has.
func (p *pod) shimSize(pid int) size {
	p.t.Helper()
	return size{len(descriptors(p.t, pid)), p.goroutines(pid), len(children(pid))}
}

// goroutines makes the shim log the stacks of its goroutines, and counts them.
func (p *pod) goroutines(pid int) int {
	p.t.Helper()
	const begin = "stacks of all goroutines"
	dumps := func() []string {
		return slices.DeleteFunc(strings.Split(shimLog(p.node, p.ID), "\n"), func(line string) bool { return !strings.Contains(line, begin) })
	}
	before := len(dumps())
	check(p.t, unix.Kill(pid, unix.SIGUSR1))
	n := 0
	p.until("the shim has logged its goroutines", func(context.Context) (bool, string) {
		list := dumps()
		if len(list) <= before {
			return false, fmt.Sprint(len(list))
		}
		n = strings.Count(list[len(list)-1], `\ngoroutine `)
		return n > 0, ""
	})
	return n
}

// children returns the processes that a process has made, or taken over.
func children(pid int) []string {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	if err != nil {
		return nil
	}
	return strings.Fields(string(text))
}
