package control

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/containerd/errdefs"
)

// FuzzState checks that a state file either says who runs the sandbox or is refused.
func FuzzState(f *testing.F) {
	f.Add([]byte(`{"id":"c","sandbox":{"uid":65534,"gid":5,"controlSocketPath":"/run/s.sock"}}`))
	f.Add([]byte(`{"sandbox":{"uid":-1,"gid":9223372036854775807}}`))
	for _, text := range []string{"", "{}", `{"sandbox":null}`, `{"sandbox":{"uid":1}}`, `{"sandbox":{"uid":"x","gid":0}}`, "\x00"} {
		f.Add([]byte(text))
	}
	path := filepath.Join(f.TempDir(), "c.state")
	f.Fuzz(func(t *testing.T, b []byte) {
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		st, err := ReadState(path)
		if err != nil {
			if st != (State{}) || !errdefs.IsInvalidArgument(err) {
				t.Errorf("%+v, %v", st, err)
			}
			return
		}
		text, err := json.Marshal(map[string]any{"sandbox": map[string]any{
			"uid": st.UID, "gid": st.GID, "controlSocketPath": st.Socket,
		}})
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		if again, err := ReadState(path); err != nil || again != st {
			t.Errorf("%+v became %+v, %v", st, again, err)
		}
	})
}
