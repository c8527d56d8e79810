package adapt

import (
	"fmt"

	"github.com/containerd/errdefs"
	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// runsc's flag for the network and its values.
const (
	flagNetwork = "network"
	networkHost = "host"
	networkNone = "none"
)

// useHostNetwork gives a container in the host's network the host's network stack, as
// gVisor's own cannot be in the namespace that the host works in. The configuration has
// the last word: with network = "sandbox" in it, nothing in a sandbox gets to the host's.
func useHostNetwork(a *adaptation) error {
	ns, named := namespace(a.spec, specs.NetworkNamespace)
	if named && !a.isHosts(ns.Path, "net") {
		return nil
	}
	switch configured := a.network(); configured {
	case networkHost:
	case "":
		a.Flags = append(a.Flags, "--"+flagNetwork+"="+networkHost)
	case networkNone:
		a.note("the host's network is not used: runsc is configured with network=none")
	default:
		if named && a.Place.Root {
			// runsc would take the addresses away from the host's interfaces.
			return fmt.Errorf("the host's network needs gVisor's network=host, and runsc is configured with network=%s: %w",
				configured, errdefs.ErrFailedPrecondition)
		}
		a.note("the host's network is not used, and there is none: runsc is configured with network=%s", configured)
	}
	return nil
}

// network returns the value of runsc's flag for the network, "" where it is not set.
func (a *adaptation) network() string {
	for _, f := range a.Flags {
		if f == "--"+flagNetwork+"="+networkHost {
			return networkHost
		}
	}
	return a.Flag(flagNetwork)
}
