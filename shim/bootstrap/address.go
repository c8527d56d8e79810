package bootstrap

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/containerd/errdefs"

	"containerd-shim-runsc/utils/atomicfile"
)

const (
	// unixScheme is the prefix by which containerd knows a path in an address.
	unixScheme = "unix://"

	// maxSocketPath is the length in bytes of the longest path that a socket can
	// be bound to. The kernel's field has 108, the last for a NUL.
	maxSocketPath = 107

	// defaultSocketDir is where containerd's own shims have their sockets.
	defaultSocketDir = "/run/containerd/s"

	// maxAddress bounds the address file, in bytes.
	maxAddress = 4096

	// addressName is the name of the address file in a bundle, given by containerd.
	addressName = "address"
)

// SocketPath returns the path of the socket of the shim that serves group, the
// id of a pod's sandbox or of a single container. It is always the same for the
// same containerd, namespace and group. The directory is the one that containerd
// names; else s beside containerd's own socket; else, where that would be too
// long for a socket, /run/containerd/s. A directory that containerd names is
// never left, so the path may be too long: Listen says so.
func SocketPath(p Params, group string) string {
	address := PathOf(p.Address)
	// NUL is in no path and no id, so different triples never look alike.
	sum := sha256.Sum256([]byte(address + "\x00" + p.Namespace + "\x00" + group))
	name := hex.EncodeToString(sum[:])
	if p.SocketDir != "" {
		return filepath.Join(p.SocketDir, name)
	}
	if filepath.IsAbs(address) {
		if path := filepath.Join(filepath.Dir(address), "s", name); len(path) <= maxSocketPath {
			return path
		}
	}
	return filepath.Join(defaultSocketDir, name)
}

// Address returns the address of the socket at path, in containerd's form.
func Address(path string) string {
	return unixScheme + path
}

// PathOf returns the path of the socket at address, which may be a bare path.
func PathOf(address string) string {
	return strings.TrimPrefix(address, unixScheme)
}

// WriteAddress puts the shim's address into the bundle, in one step. Its error
// is Internal.
func WriteAddress(bundle, address string) error {
	path := filepath.Join(bundle, addressName)
	// No line break: containerd 1.6 takes the file for the address as it is.
	if err := atomicfile.Write(path, []byte(address)); err != nil {
		return fmt.Errorf("write address file %s: %w: %w", path, err, errdefs.ErrInternal)
	}
	return nil
}

// ReadAddress returns what WriteAddress put into the bundle. No file is NotFound, what
// is no file or holds no absolute path of a socket InvalidArgument, other failures
// Internal.
func ReadAddress(bundle string) (string, error) {
	path := filepath.Join(bundle, addressName)
	data, err := atomicfile.Read(path, maxAddress)
	switch {
	case errdefs.IsNotFound(err), errdefs.IsInvalidArgument(err):
		return "", fmt.Errorf("address file: %w", err)
	case err != nil:
		return "", fmt.Errorf("read address file: %w: %w", err, errdefs.ErrInternal)
	}
	address := strings.TrimSpace(string(data))
	if address == "" {
		return "", fmt.Errorf("address file %s is empty: %w", path, errdefs.ErrInvalidArgument)
	}
	if err := checkPath(PathOf(address)); err != nil {
		return "", fmt.Errorf("address file %s: %w", path, err)
	}
	return address, nil
}
