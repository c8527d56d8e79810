package node

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// The pods' networks. Every node has a network namespace of its own, so they may be the
// same for all.
const (
	podNet4 = "10.88.0.0/16"
	podNet6 = "fd00:88::/64"
)

// cniCache is where the library that runs the plugins keeps their answers; it cannot be
// told otherwise.
const cniCache = "/var/lib/cni/results"

// writeNetwork configures the pods' network: a bridge, addresses of both kinds, and the
// ports of the node that lead to pods. There is no way out of the node.
func (n *Node) writeNetwork() error {
	config := fmt.Sprintf(`{
  "cniVersion": "1.0.0",
  "name": %q,
  "plugins": [
    {
      "type": "bridge", "bridge": "cni0", "isGateway": true, "hairpinMode": true,
      "ipam": {
        "type": "host-local", "dataDir": %q,
        "ranges": [[{"subnet": %q}], [{"subnet": %q}]],
        "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}]
      }
    },
    {"type": "portmap", "capabilities": {"portMappings": true}, "snat": true}
  ]
}
`, n.name, n.path("ipam"), podNet4, podNet6)
	if err := os.MkdirAll(n.path("net.d"), 0o700); err != nil {
		return err
	}
	return os.WriteFile(n.path("net.d", "10-pods.conflist"), []byte(config), 0o600)
}

// networkRemains returns what the pods' networks have left: addresses taken, answers
// kept, and devices.
func (n *Node) networkRemains() []string {
	var list []string
	taken, _ := filepath.Glob(n.path("ipam", n.name, "*"))
	for _, path := range taken {
		if name := filepath.Base(path); name != "lock" && !strings.HasPrefix(name, "last_reserved_ip") {
			list = append(list, "address "+path)
		}
	}
	for _, path := range n.answers() {
		list = append(list, "network's file "+path)
	}
	_ = n.namespaces.do(func() error {
		devices, err := os.ReadFile("/proc/thread-self/net/dev")
		for line := range strings.Lines(string(devices)) {
			if name, _, ok := strings.Cut(strings.TrimSpace(line), ":"); ok && strings.HasPrefix(name, "veth") {
				list = append(list, "network device "+name)
			}
		}
		return err
	})
	return list
}

// answers returns the files in which plugins' answers for the node's pods are kept. They
// are named by the network and the pod; the loopback device's network is the same for all.
func (n *Node) answers() []string {
	list, _ := filepath.Glob(filepath.Join(cniCache, n.name+"-*"))
	for _, id := range n.ids.list() {
		more, _ := filepath.Glob(filepath.Join(cniCache, "cni-loopback-"+id+"-*"))
		list = append(list, more...)
	}
	return list
}

// sweepNetwork removes what is left of the pods' networks outside of the node's
// directory and namespace.
func (n *Node) sweepNetwork() {
	for _, path := range n.answers() {
		_ = os.Remove(path)
	}
}
