package jsonfile

import (
	"encoding/json"
	"fmt"

	"github.com/containerd/errdefs"

	"containerd-shim-runsc/utils/atomicfile"
)

// Read reads the value in the file into v. No file is NotFound; one that holds no
// such value, or has more than limit bytes, is InvalidArgument.
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

// Write replaces the file by one that holds v.
func Write(path string, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode %s: %w", path, err)
	}
	if err := atomicfile.Write(path, b); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}
