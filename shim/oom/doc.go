// Package oom tells whether the kernel killed a container, or its whole sandbox, because
// memory was used up.
//
// It reads the kernel's own count of such kills when a container starts and when one of
// its processes has been killed, and needs no watcher in between: whoever asks after the
// exit is known asks after the kernel has counted. It counts before it sends the signal
// (__oom_kill_process in mm/oom_kill.c).
//
// # What the kernel counts
//
// The count is that of the memory cgroup of the process that was killed, whosever memory
// was used up: the cgroup's, that of one above it, or the machine's. With cgroup v1 it is
// oom_kill in memory.oom_control (since Linux 4.13), and no cgroup above counts the kill.
// With v2 it is oom_kill in memory.events.local (Linux 5.2), and in memory.events together
// with that of all cgroups in it; so a kill counts in memory.events up to the top.
//
// # Whose kill it was
//
// The sandbox process of a pod, the gofers of all its containers and the processes in
// which gVisor runs applications are in one cgroup. Who of them was killed is seen by who
// has ended:
//
//   - The sandbox: all containers that ran end with it, and each was hit. runsc ends the
//     sandbox as well when one of its helper processes is killed.
//   - A gofer, which the kernel takes first if its container has a higher oom_score_adj
//     than the others, or a process that runs an application: one container ends, the
//     sandbox goes on. That kill is explained then, and blamed on no other container.
//
// A container's baseline is the count when it starts, and what was explained by others
// since. A kill that no process of a container explains stays for the next process that
// ends by a SIGKILL for which nobody asked the shim.
//
// # Where the kernel does not tell
//
// systemd removes a scope as soon as nothing runs in it, and the count goes with it. So it
// is read as soon as the sandbox has ended, for all its containers, however much later the
// end of one is heard of. With v2 the slice of the pod has counted the kill too, if it is
// the pod's alone. If systemd was faster and there is no such slice, nothing is told.
// Nothing is told either of a sandbox that is in the shim's own cgroup (ignore-cgroups),
// where others are killed as well.
package oom
