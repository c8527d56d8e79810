package journal

import (
	"os"
	"path/filepath"
	"testing"
)

// FuzzAppend checks that whatever is in the file, as its writer may have died at any byte,
// what is appended counts.
func FuzzAppend(f *testing.F) {
	f.Add([]byte("\n{\"A\":1}\n\n{\"A\":2"), 3)
	f.Add([]byte(""), 0)
	f.Add([]byte("{\"A\":"), -1)
	f.Add([]byte("\"\n[\n{"), 1)
	path := filepath.Join(f.TempDir(), "j")
	f.Fuzz(func(t *testing.T, before []byte, n int) {
		if err := os.WriteFile(path, before, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := Append(path, 1<<20, value{n}); err != nil {
			t.Fatal(err)
		}
		var v value
		if err := Last(path, 1<<20, &v); err != nil || v.A != n {
			t.Errorf("after %q, %d became %+v, %v", before, n, v, err)
		}
	})
}
