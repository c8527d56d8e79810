package control

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	specs "github.com/opencontainers/runtime-spec/specs-go"
)

const netRawBit = 1 << 13 // capabilities(7)

// FuzzNewProcess checks that whatever an exec is to run, the sandbox gets what was asked for
// and nothing that it may not have, or nothing.
func FuzzNewProcess(f *testing.F) {
	f.Add([]byte(`{"args":["true"],"cwd":"/","user":{"uid":1,"additionalGids":[2]},"env":["A=b"]}`), true)
	f.Add([]byte(`{"args":["x"],"cwd":"/","capabilities":{"bounding":["CAP_NET_RAW","CAP_CHOWN"]}}`), false)
	f.Add([]byte(`{"args":["x"],"cwd":"/","capabilities":{"ambient":["CAP_FLY","cap_chown",""]}}`), true)
	f.Add([]byte(`{"args":[],"cwd":"/"}`), true)
	f.Add([]byte(`{"args":["\u0000",""],"cwd":"/../\ud800"}`), false)
	f.Fuzz(func(t *testing.T, b []byte, netRaw bool) {
		var p specs.Process
		if json.Unmarshal(b, &p) != nil {
			return
		}
		own := Capabilities{BoundingCaps: 1}
		got, err := NewProcess("c", &p, own, netRaw)
		if err != nil {
			if !errdefs.IsInvalidArgument(err) || got.Argv != nil || got.Capabilities != (Capabilities{}) {
				t.Errorf("%+v, %v", got, err)
			}
			return
		}
		if got.ContainerID != "c" || len(got.Argv) == 0 || !strings.HasPrefix(got.WorkingDirectory, "/") || len(got.GuestFDs) != 3 {
			t.Errorf("%+v", got)
		}
		if p.Capabilities == nil && got.Capabilities != own {
			t.Errorf("the capabilities are %+v", got.Capabilities)
		}
		all := got.Capabilities.PermittedCaps | got.Capabilities.InheritableCaps | got.Capabilities.EffectiveCaps |
			got.Capabilities.BoundingCaps | got.Capabilities.AmbientCaps
		if !netRaw && all&netRawBit != 0 {
			t.Errorf("CAP_NET_RAW is in %+v", got.Capabilities)
		}
		call, err := json.Marshal(request{Method: MethodExec, Arg: got})
		if err != nil {
			t.Fatal(err)
		}
		var sent struct{ Arg Process }
		if err := json.Unmarshal(call, &sent); err != nil || len(sent.Arg.Argv) != len(got.Argv) || sent.Arg.Capabilities != got.Capabilities {
			t.Errorf("%+v is sent as %s, %v", got, call, err)
		}
	})
}

// FuzzCapabilities checks that of names, each is a bit of a set or refused.
func FuzzCapabilities(f *testing.F) {
	f.Add("CAP_CHOWN,CAP_NET_RAW", "CAP_SYS_ADMIN", false)
	f.Add("CAP_CHOWN,CAP_CHOWN", "", true)
	f.Add("CAP_", "CAP_63", true)
	f.Fuzz(func(t *testing.T, bounding, ambient string, netRaw bool) {
		names := strings.Split(bounding, ",")
		got, err := NewCapabilities(&specs.LinuxCapabilities{Bounding: names, Ambient: []string{ambient}}, netRaw)
		if err != nil {
			if !errdefs.IsInvalidArgument(err) || got != (Capabilities{}) {
				t.Errorf("%+v, %v", got, err)
			}
			return
		}
		distinct := map[string]bool{}
		for _, name := range names {
			distinct[name] = netRaw || name != "CAP_NET_RAW"
		}
		want := 0
		for _, counts := range distinct {
			if counts {
				want++
			}
		}
		have := 0
		for bits := got.BoundingCaps; bits != 0; bits &= bits - 1 {
			have++
		}
		if have != want || got.PermittedCaps|got.EffectiveCaps|got.InheritableCaps != 0 {
			t.Errorf("%q are %+v", names, got)
		}
	})
}
