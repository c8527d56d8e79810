package proc

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"time"

	"github.com/containerd/errdefs"

	"containerd-shim-runsc/utils/journal"
)

// Record is what is kept of a process in its bundle, so that its end can be told
// when the shim is gone. It is written in one step, before a caller is told.
type Record struct {
	// ID is the container, ExecID the process in it, "" for init.
	ID     string
	ExecID string
	Stdio  Stdio
	// PID is the sandbox process on the host.
	PID int
	// State is the name of a State.
	State     string
	StartedAt time.Time
	// Exit is as in Status.
	Exit Exit
}

const (
	initRecord   = "init.jsonl"
	recordPrefix = "exec-"

	// maxRecord bounds the file of a record, in bytes. A process changes a handful
	// of times.
	maxRecord = 1 << 20
)

// recorder keeps the record of one process.
type recorder struct {
	container string
	path      string
}

func newRecorder(bundle, container, execID string) recorder {
	name := initRecord
	if execID != "" {
		// Exec ids hold no path separator; Container.Exec sees to it.
		name = recordPrefix + execID + ".jsonl"
	}
	return recorder{container: container, path: filepath.Join(bundle, name)}
}

func (r recorder) save(rec Record) error { return journal.Append(r.path, maxRecord, rec) }

func (r recorder) remove() {
	// What stays is removed with the bundle.
	_ = os.Remove(r.path)
}

// LoadRecord reads the record of the bundle's init. None is NotFound; one that
// cannot be read as a record is InvalidArgument.
func LoadRecord(bundle string) (Record, error) {
	var rec Record
	if err := journal.Last(filepath.Join(bundle, initRecord), maxRecord, &rec); err != nil {
		return Record{}, fmt.Errorf("record: %w", err)
	}
	if rec.PID < 0 || rec.PID > math.MaxInt32 || rec.Exit.Status > UnknownStatus {
		return Record{}, fmt.Errorf("record of %s: process %d and status %d cannot be: %w",
			bundle, rec.PID, rec.Exit.Status, errdefs.ErrInvalidArgument)
	}
	return rec, nil
}
