// Package scopes has the tests of sandboxes whose cgroups systemd makes: a scope in a
// slice, asked for by a cgroup path in the form slice:prefix:name, as the kubelet and
// containerd write it where systemd is the driver of cgroups. It has tests only.
//
// They need systemd as process 1, its D-Bus, and cgroup v2; `make test-vm` runs them
// where these are. Otherwise they are as those of the contract.
package scopes
