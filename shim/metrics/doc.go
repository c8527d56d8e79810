// Package metrics writes a container's use of resources as the message that
// containerd's clients expect on this host: that of cgroup v1 or of cgroup v2.
package metrics
