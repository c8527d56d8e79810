package node

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"containerd-shim-runsc/test/image"
)

// The images that every node has.
const (
	// BusyboxImage has busybox with all its applets.
	BusyboxImage = "docker.io/library/busybox:test"
	// GuestImage has the program of test/node/guest as /guest.
	GuestImage = "docker.io/library/guest:test"

	pauseImage = "registry.k8s.io/pause:3.10"
)

// Image is an image in a node's registry. Its name is one as in a pod's specification,
// with a tag: whatever registry it names, the node asks its own.
type Image struct {
	Name   string
	Files  []image.File
	Config image.Config
}

// ownImages makes the images that every node has.
func (n *Node) ownImages(ctx context.Context) ([]Image, error) {
	busybox, err := image.Busybox(n.Tool("busybox"))
	if err != nil {
		return nil, err
	}
	guest, err := GuestFile(ctx)
	if err != nil {
		return nil, err
	}
	return []Image{
		{BusyboxImage, busybox, image.Config{Cmd: []string{"sh"}}},
		{GuestImage, []image.File{guest}, image.Config{Entrypoint: []string{"/guest"}}},
		{pauseImage, []image.File{guest}, image.Config{Entrypoint: []string{"/guest", "pause"}}},
	}, nil
}

// GuestFile builds the program of test/node/guest and returns it as the file /guest of
// an image.
func GuestFile(ctx context.Context) (file image.File, err error) {
	dir, err := os.MkdirTemp("", "guest")
	if err != nil {
		return image.File{}, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	path := filepath.Join(dir, "guest")
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w",
		"-o", path, "containerd-shim-runsc/test/node/guest")
	// There is no libc in the images.
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return image.File{}, fmt.Errorf("build the guest: %w\n%s", err, out)
	}
	body, err := os.ReadFile(path)
	if err != nil {
		return image.File{}, err
	}
	return image.File{Name: "guest", Mode: 0o755, Body: body}, nil
}
