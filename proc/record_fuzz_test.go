package proc

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/containerd/errdefs"
	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// FuzzRecord checks that a record is one that a shim can have written, or is refused: P17.
func FuzzRecord(f *testing.F) {
	f.Add([]byte("\n" + `{"ID":"c","PID":7,"State":"stopped","Exit":{"Status":137,"At":"2026-01-01T00:00:00Z"}}` + "\n"))
	f.Add([]byte("\n" + `{"ID":"c","State":"running","Exit":{"Status":255,"At":"0001-01-01T00:00:00Z"}}` + "\n\n" + `{"ID":"c","Sta`))
	f.Add([]byte("\n" + `{"PID":-1,"State":"stopped","Exit":{"Status":4294967295}}` + "\n"))
	f.Add([]byte("\n" + `{"State":"stopped","Exit":{"At":"9999-12-31T23:59:60Z"}}` + "\n"))
	f.Add([]byte("{}\n"))
	f.Add([]byte("null\n"))
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, b []byte) {
		if err := os.WriteFile(filepath.Join(dir, initRecord), b, 0o600); err != nil {
			t.Fatal(err)
		}
		rec, err := LoadRecord(dir)
		if err != nil {
			if rec != (Record{}) || !errdefs.IsInvalidArgument(err) {
				t.Errorf("%+v, %v", rec, err)
			}
			return
		}
		if rec.Exit.Status > UnknownStatus || rec.PID < 0 || int(int32(rec.PID)) != rec.PID {
			t.Errorf("%+v", rec)
		}
		if err := newRecorder(dir, rec.ID, "").save(rec); err != nil {
			t.Fatal(err)
		}
		again, err := LoadRecord(dir)
		if err != nil || !again.Exit.At.Equal(rec.Exit.At) || !again.StartedAt.Equal(rec.StartedAt) {
			t.Fatalf("%+v became %+v, %v", rec, again, err)
		}
		again.Exit.At, again.StartedAt = rec.Exit.At, rec.StartedAt
		if again != rec {
			t.Errorf("%+v became %+v", rec, again)
		}
	})
}

// FuzzExecID checks that whatever an exec's id is, its record is a file in the bundle: P1, P17.
func FuzzExecID(f *testing.F) {
	for _, id := range []string{"", "e", "../e", "a/b", ".", "..", "a\x00b", "a\nb", "*", "é"} {
		f.Add(id)
	}
	f.Fuzz(func(t *testing.T, id string) {
		c, _, _ := newTask(t, nil)
		startTask(t, c)
		names := func(dir string) map[string]bool {
			entries, err := os.ReadDir(dir)
			if err != nil {
				t.Fatal(err)
			}
			all := map[string]bool{}
			for _, e := range entries {
				all[e.Name()] = true
			}
			return all
		}
		above, before := names(filepath.Dir(c.bundle)), names(c.bundle)
		err := c.Exec(id, Stdio{}, &specs.Process{Args: []string{"x"}})
		added := 0
		if err == nil {
			added = 1
		} else if !errdefs.IsInvalidArgument(err) && !errdefs.IsAlreadyExists(err) {
			t.Errorf("%q: %v", id, err)
		}
		if after := names(c.bundle); len(after) != len(before)+added || len(names(filepath.Dir(c.bundle))) != len(above) {
			t.Errorf("%q, %v: in the bundle are %v", id, err, after)
		}
		if err == nil {
			if st, err := c.Status(id); err != nil || st.ExecID != id {
				t.Errorf("%+v, %v", st, err)
			}
		}
	})
}
