package jsonfile

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/containerd/errdefs"

	"containerd-shim-runsc/utils/atomicfile"
)

// Read reads the value in the file into v. No file is NotFound; one that holds no
// such value, has more than limit bytes, or is no regular file is InvalidArgument.
func Read(path string, limit int64, v any) error {
	b, err := atomicfile.Read(path, limit)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(b, v); err != nil {
		return fmt.Errorf("%s is malformed: %w: %w", path, err, errdefs.ErrInvalidArgument)
	}
	return nil
}

// Write replaces the file by one that holds v and that Read reads with this limit. One
// that would have more bytes is InvalidArgument, and the file stays as it is.
func Write(path string, limit int64, v any) error {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	// Escaped, each <, > and & takes six bytes, and what could be read cannot be written.
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return fmt.Errorf("encode %s: %w", path, err)
	}
	if n := int64(b.Len()); n > limit {
		return fmt.Errorf("write %s: it would have %d bytes, and may have %d: %w", path, n, limit, errdefs.ErrInvalidArgument)
	}
	if err := atomicfile.Write(path, b.Bytes()); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}
