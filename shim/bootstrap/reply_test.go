package bootstrap

import (
	"encoding/json"
	"testing"

	bootapi "github.com/containerd/containerd/api/runtime/bootstrap/v1"
	"github.com/containerd/errdefs"
	"google.golang.org/protobuf/proto"
)

func TestR1_Reply(t *testing.T) {
	const address = "unix:///run/containerd/s/0123"
	for _, tc := range []struct {
		form    ReplyForm
		version int
		want    string // empty: a BootstrapResult
	}{
		{Plain, 2, address},
		{JSON, 2, `{"version":2,"address":"unix:///run/containerd/s/0123","protocol":"ttrpc"}`},
		{JSON, 3, `{"version":3,"address":"unix:///run/containerd/s/0123","protocol":"ttrpc"}`},
		{Proto, 2, ""},
		{Proto, 3, ""},
	} {
		out, err := tc.form.Encode(tc.version, address)
		if err != nil {
			t.Fatal(err)
		}
		var result bootapi.BootstrapResult
		if tc.want == "" {
			if err := proto.Unmarshal(out, &result); err != nil {
				t.Fatal(err)
			}
			want := &bootapi.BootstrapResult{Version: int32(tc.version), Address: address, Protocol: "ttrpc"}
			if !proto.Equal(&result, want) {
				t.Errorf("%s, version %d: %v", tc.form, tc.version, &result)
			}
			if json.Valid(out) {
				t.Errorf("%s, version %d: also JSON", tc.form, tc.version)
			}
			continue
		}
		if string(out) != tc.want {
			t.Errorf("%s, version %d: %q, want %q", tc.form, tc.version, out, tc.want)
		}
		// containerd 2.3 and later tries protobuf first.
		if proto.Unmarshal(out, &result) == nil {
			t.Errorf("%s, version %d: also a BootstrapResult", tc.form, tc.version)
		}
		// containerd 1.7 to 2.2 take for a bare address what is no JSON.
		if (tc.form == Plain) == json.Valid(out) {
			t.Errorf("%s, version %d: JSON is mistaken", tc.form, tc.version)
		}
	}
}

func TestR1_RefusedReplies(t *testing.T) {
	for _, tc := range []struct {
		form    ReplyForm
		version int
		address string
	}{
		{Plain, 3, "unix:///x"}, {JSON, 1, "unix:///x"}, {Proto, 4, "unix:///x"}, {Proto, 3, ""},
		{ReplyForm(9), 2, "unix:///x"}, {Proto, 3, "\xff"},
	} {
		if out, err := tc.form.Encode(tc.version, tc.address); !errdefs.IsInvalidArgument(err) {
			t.Errorf("%s, version %d, address %q: %q, error %v", tc.form, tc.version, tc.address, out, err)
		}
	}
}
