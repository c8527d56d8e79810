// Package cgroup finds the cgroups of a process and makes them, reads what they use, and
// reads and sets what they may use, on hosts with cgroup v1 and v2. pod.go has what the
// containers of a pod may use together.
package cgroup
