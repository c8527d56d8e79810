// Package node makes private Kubernetes nodes for tests: a containerd with its CRI
// plugin, a pod network, a registry with the images that the pods need, the cgroups and
// folders that a kubelet would make, and clients to speak to it all as a kubelet does.
//
// # What it needs
//
// Root, iptables, and SHIM_TEST_BIN: a directory with containerd, ctr, runsc, runc, the
// shims, busybox, and the pod network's plugins below cni.
//
// # What is private
//
// All files of a node are in one directory of /tmp with a short path, as a unix
// socket's path has 108 bytes at most. containerd, and so the pods' bridge, lives in a
// network namespace that the node makes, so that the machine's own network is not
// touched, two nodes do not meet, and ports are the node's. What speaks to a loopback
// address of the node, as the clients of exec, attach and port-forward do, goes through
// [Node.Dial], [Node.Listen] and [Node.StartProcess]. Pods on the "host network" are in
// that namespace. System V IPC is the node's too, as some tests never remove what they
// make. The cgroups of the pods lie below one that has the node's name.
//
// One place is shared: the library of the pod network keeps what plugins answered in
// /var/lib/cni, under the name of the network, which is the node's.
//
// # Nothing is left
//
// [Node.Close] ends containerd, returns an error that names what is still there
// although all pods were removed ([Node.Leftovers]), and then removes that too.
package node
