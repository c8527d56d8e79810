package harness

import (
	"encoding/json"
	"fmt"
	"strings"

	bootapi "github.com/containerd/containerd/api/runtime/bootstrap/v1"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
)

// Generation is how a containerd talks to the shim before there is a connection.
type Generation struct {
	Name string
	// env are the variables that it sets besides TTRPC_ADDRESS.
	env func(e *Env) []string
	// stdin is what start is given.
	stdin func(e *Env, id string, options *anypb.Any) ([]byte, error)
	// Parse reads start's answer: the address, and the version of the task API
	// that it must be asked with.
	Parse func(out []byte) (address string, version int, err error)
}

// Generations are the containerds that the shim serves.
func Generations() []*Generation {
	return []*Generation{Containerd16(), Containerd17(), Containerd24()}
}

// Containerd16 is containerd 1.6: the answer is the bare address.
func Containerd16() *Generation {
	return &Generation{
		Name:  "1.6",
		env:   func(*Env) []string { return nil },
		stdin: optionsAlone,
		Parse: func(out []byte) (string, int, error) {
			return checkAddress(string(out), 2)
		},
	}
}

// Containerd17 is containerd 1.7; 2.0 to 2.2 do the same. It reads JSON and knows
// the second task API.
func Containerd17() *Generation {
	return &Generation{
		Name:  "1.7",
		env:   laterEnv,
		stdin: optionsAlone,
		Parse: func(out []byte) (string, int, error) {
			var reply struct {
				Version  int    `json:"version"`
				Address  string `json:"address"`
				Protocol string `json:"protocol"`
			}
			if err := json.Unmarshal(out, &reply); err != nil {
				return "", 0, fmt.Errorf("reply %q: %w", out, err)
			}
			if reply.Version > 2 || reply.Protocol != "ttrpc" {
				return "", 0, fmt.Errorf("reply %q: want ttrpc, version 2 at most", out)
			}
			return checkAddress(reply.Address, reply.Version)
		},
	}
}

// Containerd24 is containerd 2.3 and 2.4, which have a protocol of their own.
func Containerd24() *Generation {
	return &Generation{
		Name: "2.4",
		env:  laterEnv,
		stdin: func(e *Env, id string, options *anypb.Any) ([]byte, error) {
			return proto.Marshal(&bootapi.BootstrapParams{
				InstanceID:             id,
				Namespace:              e.Namespace,
				LogLevel:               bootapi.LogLevel_LOG_LEVEL_DEBUG,
				ContainerdVersion:      "2.4.2",
				ContainerdGrpcAddress:  e.Address(),
				ContainerdTtrpcAddress: e.Address() + ".ttrpc",
				ContainerdBinary:       "/bin/false",
				Extensions:             []*bootapi.Extension{{Value: options}},
			})
		},
		Parse: func(out []byte) (string, int, error) {
			var reply bootapi.BootstrapResult
			if err := proto.Unmarshal(out, &reply); err != nil {
				return "", 0, fmt.Errorf("reply %q: %w", out, err)
			}
			if reply.Version < 2 || reply.Version > 3 || reply.Protocol != "ttrpc" {
				return "", 0, fmt.Errorf("reply %q: want ttrpc, version 2 or 3", out)
			}
			return checkAddress(reply.Address, int(reply.Version))
		},
	}
}

func optionsAlone(_ *Env, _ string, options *anypb.Any) ([]byte, error) {
	return proto.Marshal(options)
}

func laterEnv(e *Env) []string {
	return []string{"GRPC_ADDRESS=" + e.Address(), "NAMESPACE=" + e.Namespace, "MAX_SHIM_VERSION=2"}
}

func checkAddress(address string, version int) (string, int, error) {
	if !strings.HasPrefix(address, "unix:///") || strings.TrimSpace(address) != address {
		return "", 0, fmt.Errorf("address %q is not unix:// and a path", address)
	}
	return address, version, nil
}
