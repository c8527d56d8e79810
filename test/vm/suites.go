package main

import (
	"slices"
	"strings"
)

// The machines are named by who makes their cgroups.
const (
	cgroupfs = "cgroupfs"
	systemd  = "systemd"
)

// machine is one of them, with its process 1.
type machine struct {
	name, init string
}

func machines() []machine {
	return []machine{{cgroupfs, "/vm/boot"}, {systemd, "/lib/systemd/systemd"}}
}

// suite is a Go package with tests, of which the machines run some.
type suite struct {
	// name is its name in reports and on the command line.
	name string
	// pkg is the package, from the root of the repository.
	pkg string
	// on are the machines that run it.
	on []string
	// tools are the programs that it takes from SHIM_TEST_BIN, besides the shim.
	tools []string
	// args are further arguments of the test binary, env what is in its environment. They
	// have no blanks in them.
	args, env []string
	// tests are the tests that are run, and must pass.
	tests []choice
}

// choice is tests that run here for the same reason.
type choice struct {
	why   string
	names []string
}

// suites returns the table of what is run.
func suites() []suite {
	return []suite{
		{
			name: "contract", pkg: "./test/contract", on: []string{cgroupfs},
			tools: []string{"runsc", "busybox-static"},
			tests: []choice{
				{
					"limits have other files and rules in cgroup v2, where processes are in leaves only",
					[]string{
						"TestT9_UpdateReachesTheCgroup", "TestT9_UpdateOfAPodIsASum",
						"TestT9_PodCgroup", "TestT9_PodOfNobody", "TestT9_SharedParent", "TestT1_FailedPodCgroup",
					},
				},
				{
					"statistics are other messages, from other files",
					[]string{
						"TestT7_Stats", "TestT7_MemoryOfAPod", "TestT7_MemoryIsDivided", "TestT7_MemoryLimit",
						"TestT7_CPUOfAPod", "TestT7_WhatIsTheSandboxes",
					},
				},
				{
					"the kernel counts what it killed elsewhere, and in the cgroups above as well",
					[]string{"TestP16_OOM", "TestE2_OOM", "TestE2_OOMAbove", "TestE2_OOMOfThePod", "TestE2_OOMOfOneContainer", "TestE2_NoOOM"},
				},
				{
					"runsc removes cgroups of v2 otherwise, and waits for those in them",
					[]string{
						"TestR6_PodCgroup", "TestR6_NothingAfterTheLastDelete", "TestT5_RootFirst",
						"TestT1_FailedCreateInAPod", "TestR2_DeleteAfterTheShimsDeath", "TestR2_DeleteOfAPod",
					},
				},
				{
					"an older kernel says otherwise that a process is gone",
					[]string{"TestR2_HalfCreated", "TestR4_SandboxKilled", "TestR4_GoferKilled"},
				},
				{
					// TestS5_UserNamespaces needs a tmpfs that maps ids, which this kernel's does not.
					"they need capabilities and features of the kernel that a container may lack",
					[]string{"TestS2_ReadonlyMounts", "TestS3_HostNetwork", "TestVolumes_InMemory", "TestPortForward_Reaches"},
				},
			},
		},
		{
			name: "e2e", pkg: "./test/e2e", on: []string{cgroupfs},
			tools: []string{
				"runsc", "busybox-static", "containerd", "ctr",
				"containerd-1.7/containerd", "containerd-1.7/ctr", "containerd-1.6/containerd", "containerd-1.6/ctr",
			},
			tests: []choice{
				{
					"each containerd decodes the metrics of cgroup v2, and moves shims between cgroups, its own way",
					[]string{"TestGenerations"},
				},
				{
					"limits, OOM and statistics of cgroup v2 as a client of containerd sees them",
					[]string{"TestOOM", "TestOOMOfAPod", "TestUpdate", "TestMetrics"},
				},
				{
					"the life of containers and pods below one cgroup that nobody has made",
					[]string{"TestRun", "TestPod", "TestFailedCreate", "TestContainerdRestart"},
				},
			},
		},
		{
			name: "pods", pkg: "./test/pods", on: []string{cgroupfs},
			tools: podTools(), args: []string{"-test.short"}, env: []string{"PODS_CHURN=6s"},
			tests: []choice{
				{
					"the pod's cgroup is the kubelet's, and what is in it is not",
					[]string{"TestPodCgroup", "TestContainerLimits", "TestNoCgroup"},
				},
				{
					"OOM and statistics of cgroup v2 as a kubelet sees them",
					[]string{
						"TestOOM", "TestOOMOfContainer", "TestOOMOfExec", "TestOOMOfSandbox",
						"TestContainerStats", "TestPodStats", "TestPodMetrics",
					},
				},
				{
					// TestUserNamespace needs a tmpfs that maps ids, which this kernel's does not.
					"networks and namespaces are the kernel's",
					[]string{"TestForward", "TestNetworkBetweenPods", "TestHostNetwork", "TestSharedMemory"},
				},
				{
					"a pod's life, with all that a kubelet does",
					[]string{"TestEmptyDir", "TestExec", "TestInit", "TestRestart"},
				},
				{
					"many at once, where removing a cgroup waits for those in it",
					[]string{"TestMany", "TestChurn"},
				},
			},
		},
		{
			name: "critest", pkg: "./test/critest", on: []string{cgroupfs},
			tools: append(podTools(), "critest", "ginkgo"),
			env: []string{
				"CRI_RUN=defaults",
				// Those that read and write cgroups, and those that need the kernel's networks.
				"CRI_FOCUS=OOMKilled|update|stats|metrics|portforward|port.forward|readonly.path|masked.path",
			},
			tests: []choice{
				{"Kubernetes' own suite reads what the shim says of cgroup v2", []string{"TestSuite"}},
			},
		},
		{
			name: "slices", pkg: "./test/pods", on: []string{systemd},
			tools: podTools(), args: []string{"-test.short"},
			tests: []choice{
				{
					"the pod's cgroup is a slice, and the sandbox in a scope in it",
					[]string{"TestPodCgroup", "TestContainerLimits", "TestOOM", "TestOOMOfSandbox", "TestPodStats", "TestRestart"},
				},
			},
		},
		{
			name: "scopes", pkg: "./test/vm/scopes", on: []string{systemd},
			tools: []string{"runsc", "busybox-static"},
			tests: []choice{
				{
					"only systemd makes scopes",
					[]string{"TestScope", "TestOOM", "TestKilled", "TestDeleteAction", "TestFailedCreate", "TestPod", "TestPodOOM"},
				},
			},
		},
	}
}

// podTools are the tools of a node that runs pods (test/node).
func podTools() []string {
	return []string{
		"runsc", "busybox", "containerd", "runc", "containerd-shim-runc-v2",
		"cni/bridge", "cni/host-local", "cni/loopback", "cni/portmap",
	}
}

// names returns those of the suites.
func names(list []suite) []string {
	var names []string
	for _, s := range list {
		names = append(names, s.name)
	}
	return names
}

// names returns those of the chosen tests.
func (s suite) names() []string {
	var names []string
	for _, c := range s.tests {
		names = append(names, c.names...)
	}
	return names
}

// command returns how the suite is run: what env(1) takes. The pattern is that of other tests than the
// chosen ones, or "".
func (s suite) command(pattern, flags string) []string {
	if pattern == "" {
		pattern = "^(" + strings.Join(s.names(), "|") + ")$"
	}
	words := append(slices.Clone(s.env), "./suite.test", "-test.v", "-test.timeout=10m", "-test.run="+pattern)
	return slices.Concat(words, s.args, strings.Fields(flags))
}
