package jsonfile

import (
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/containerd/errdefs"
)

// FuzzRead checks that a file that is there holds a value or is refused, and that a value
// comes back as it was written or was not written at all.
func FuzzRead(f *testing.F) {
	f.Add([]byte(`{"A":"<&>","M":{"x":1}}`))
	f.Add([]byte(`{"A":"`))
	f.Add([]byte(`{"a":"","m":null}`))
	f.Add([]byte("{\"A\":\"\xff\u2028\"}"))
	f.Add([]byte(`[]`))
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, b []byte) {
		const limit = 64
		path := filepath.Join(dir, "f")
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		type value struct {
			A string
			M map[string]int
		}
		var v, again value
		if err := Read(path, limit, &v); err != nil {
			if !errdefs.IsInvalidArgument(err) {
				t.Error(err)
			}
			return
		}
		if len(b) > limit {
			t.Errorf("%d bytes were read", len(b))
		}
		if err := Write(path, limit, v); err != nil {
			if left, rerr := os.ReadFile(path); !errdefs.IsInvalidArgument(err) || rerr != nil || string(left) != string(b) {
				t.Errorf("%v, and left is %q, %v", err, left, rerr)
			}
			return
		}
		if err := Read(path, limit, &again); err != nil || !reflect.DeepEqual(v, again) {
			t.Errorf("%+v became %+v, %v", v, again, err)
		}
	})
}
