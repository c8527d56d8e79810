package atomicfile

import (
	"errors"
	"os"
	"path/filepath"
)

// Write replaces the file, which only its owner can read.
func Write(path string, content []byte) error {
	// CreateTemp sets the mode, and gives each writer a file of its own.
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}
