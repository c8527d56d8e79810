// Package metrics writes a container's use of resources as the message that
// containerd's clients expect on this host: that of cgroup v1 or of cgroup v2.
//
// # Where the numbers come from
//
// All containers of a pod are in one sandbox, which is processes of one cgroup of the host.
// The sandbox knows its containers, the host knows the sandbox. A number is the
// container's own where the sandbox knows that. What only the host knows is divided where
// there is an honest way, so that all containers together, the root included, have what
// the host counts. What cannot be divided is the root's, and so the pod's: in Kubernetes
// nobody sees the root's but in the numbers of the pod, which containerd takes from the
// pod's cgroup and network namespace.
//
//   - Memory: the sandbox counts what each container uses if the container has cgroups
//     mounted, as those of CRI have; otherwise it divides what all use by their number
//     (boot.containerManager.Event). The root has the rest of what the host counts: what
//     the sandbox and its gofers need, and cached files. The memory of applications cannot
//     be taken back from them, so that their working set is all of it; the host's inactive
//     files are the root's, as are page faults, swap, the kernel's memory and how often the
//     limit was hit. The highest use is the host's for the root, and the highest that was
//     asked for of another. runsc before 2023 tells of each what all of them use.
//   - Limit: the container's own as long as it uses no more than that, which nothing
//     enforces; otherwise the lowest of the sandbox's cgroup and those above it, which
//     holds for all together.
//   - CPU time: of what the host counts anew, each container has the share that it has in
//     what was done meanwhile by the sandbox's account, and the root what the sandbox used
//     while no container did anything. So it is never less than before. The user's and the
//     kernel's part are as those of the sandbox: most of the kernel's work for a container
//     is done by gVisor's own.
//   - Throttling: the sandbox's, as it stops each of its containers.
//   - Processes and threads: those in the container. Their limit is the sandbox's, on the
//     host, where gVisor has some for itself.
//   - Kills for lack of memory: those that hit the container, see package oom.
//   - Network: the sandbox's interfaces, for the root.
//
// Where the sandbox has no cgroup of its own (ignore-cgroups), the sandbox's own account is
// all there is. Of a container that has ended nothing is told, unless it was killed for
// lack of memory.
package metrics
