package journal

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"github.com/containerd/errdefs"

	"containerd-shim-runsc/utils/atomicfile"
)

// Append makes v the last value in the file, which only its owner can read and Last reads
// with this limit. The file is made if there is none; one that would have more bytes is
// replaced by one with v alone. What is no regular file is InvalidArgument, as is a value
// that has more. It has one writer at a time.
func Append(path string, limit int64, v any) error {
	// A line that was cut short, on a full disk, is ended by the one that follows.
	line := bytes.NewBufferString("\n")
	e := json.NewEncoder(line)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return fmt.Errorf("encode %s: %w", path, err)
	}
	n := int64(line.Len())
	if n > limit {
		return fmt.Errorf("append to %s: it would have %d bytes, and may have %d: %w", path, n, limit, errdefs.ErrInvalidArgument)
	}
	f, err := atomicfile.Open(path, os.O_WRONLY|os.O_APPEND)
	if errdefs.IsNotFound(err) {
		// A file that is there has a value.
		return atomicfile.Write(path, line.Bytes())
	}
	if err != nil {
		return fmt.Errorf("append: %w", err)
	}
	fi, err := f.Stat()
	if err == nil && fi.Size()+n > limit {
		_ = f.Close()
		return atomicfile.Write(path, line.Bytes())
	}
	if err == nil {
		_, err = f.Write(line.Bytes())
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("append to %s: %w", path, err)
	}
	return nil
}

// Last reads the last value in the file into v. No file is NotFound; one that holds no
// value, has more than limit bytes, or is no regular file is InvalidArgument.
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
