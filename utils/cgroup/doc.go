// Package cgroup finds the cgroups of a process, on hosts with cgroup v1 and v2.
package cgroup
