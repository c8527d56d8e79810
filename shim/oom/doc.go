// Package oom tells whether the kernel killed a sandbox because its memory cgroup
// was full.
//
// It reads the kernel's own count of such kills twice, when the container starts
// and when its sandbox has been killed, and needs no watcher in between: whoever
// asks after the exit is known asks after the kernel has counted. The baseline
// keeps a container from being blamed for what was before it.
package oom
