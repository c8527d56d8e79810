package journal

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/containerd/errdefs"

	"containerd-shim-runsc/utils/atomicfile"
)

// Append makes v the last value in the file, which only its owner can read. The file is
// made if there is none. It has one writer at a time.
func Append(path string, v any) error {
	line, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode %s: %w", path, err)
	}
	// A line that was cut short, on a full disk, is ended by the one that follows.
	line = append(append([]byte{'\n'}, line...), '\n')
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if errors.Is(err, fs.ErrNotExist) {
		// A file that is there has a value.
		return atomicfile.Write(path, line)
	}
	if err != nil {
		return err
	}
	_, err = f.Write(line)
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("append to %s: %w", path, err)
	}
	return nil
}

// Last reads the last value in the file into v. No file is NotFound; one that holds no
// value, or has more than limit bytes, is InvalidArgument.
func Last[T any](path string, limit int64, v *T) error {
	b, err := atomicfile.Read(path, limit)
	if err != nil {
		return err
	}
	// What follows the last line's end was cut short.
	lines := bytes.Split(b, []byte{'\n'})
	for i := len(lines) - 2; i >= 0; i-- {
		var value T
		if len(lines[i]) > 0 && json.Unmarshal(lines[i], &value) == nil {
			*v = value
			return nil
		}
	}
	return fmt.Errorf("%s has no whole line of its kind: %w", path, errdefs.ErrInvalidArgument)
}
