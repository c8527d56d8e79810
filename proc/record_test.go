package proc

import (
	"strings"
	"testing"
	"time"
)

// TestP17_ARecordOfLongStreams: a record is written for each state, and can be read however
// long the streams' names are.
func TestP17_ARecordOfLongStreams(t *testing.T) {
	dir := t.TempDir()
	r := newRecorder(dir, "web", "")
	want := Record{
		ID: "web", Stdio: Stdio{Stdout: "binary:///logger?k=" + strings.Repeat("v", maxRecord/3)}, PID: 7,
		State: Stopped.String(), Exit: Exit{Status: 5, At: time.Unix(1000, 0)},
	}
	for _, state := range []State{Created, Running, Stopped} {
		rec := want
		rec.State = state.String()
		if err := r.save(rec); err != nil {
			t.Fatal(err)
		}
	}
	rec, err := LoadRecord(dir)
	if err != nil || rec.State != want.State || rec.Exit.Status != want.Exit.Status || rec.Stdio != want.Stdio {
		t.Errorf("the record is %.100v, %v", rec, err)
	}
}
