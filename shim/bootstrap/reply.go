package bootstrap

import (
	"encoding/json"
	"fmt"

	bootapi "github.com/containerd/containerd/api/runtime/bootstrap/v1"
	"github.com/containerd/errdefs"
	"google.golang.org/protobuf/proto"
)

// ReplyForm is a form of start's answer.
type ReplyForm int

const (
	// Plain is the bare address, which means version 2: containerd 1.6.
	Plain ReplyForm = iota
	// JSON is an object with version, address and protocol: containerd 1.7 to 2.2.
	JSON
	// Proto is a protobuf BootstrapResult: containerd 2.3 and later.
	Proto
)

// protocol is what the shim speaks at its socket.
const protocol = "ttrpc"

// String names the form, for the log.
func (r ReplyForm) String() string {
	switch r {
	case Plain:
		return "plain"
	case JSON:
		return "json"
	case Proto:
		return "proto"
	default:
		return fmt.Sprintf("ReplyForm(%d)", int(r))
	}
}

// Encode returns the bytes that start has to print, with nothing added, when
// the shim serves version 2 or 3 of the task API at address (see Address).
// Whatever the form cannot say is InvalidArgument.
func (r ReplyForm) Encode(version int, address string) ([]byte, error) {
	if version != taskV2 && version != taskV3 || r == Plain && version != taskV2 {
		return nil, fmt.Errorf("encode reply: task API version %d cannot be announced in the form %s: %w", version, r, errdefs.ErrInvalidArgument)
	}
	if address == "" {
		return nil, fmt.Errorf("encode reply: no address: %w", errdefs.ErrInvalidArgument)
	}
	var (
		out []byte
		err error
	)
	switch r {
	case Plain:
		out = []byte(address)
	case JSON:
		out, err = json.Marshal(struct {
			Version  int    `json:"version"`
			Address  string `json:"address"`
			Protocol string `json:"protocol"`
		}{version, address, protocol})
	case Proto:
		out, err = proto.Marshal(&bootapi.BootstrapResult{Version: int32(version), Address: address, Protocol: protocol})
	default:
		return nil, fmt.Errorf("encode reply: unknown form %s: %w", r, errdefs.ErrInvalidArgument)
	}
	if err != nil {
		return nil, fmt.Errorf("encode reply in the form %s: %w: %w", r, err, errdefs.ErrInvalidArgument)
	}
	return out, nil
}
