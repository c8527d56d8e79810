package node

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"path/filepath"

	"github.com/distribution/reference"
	"github.com/google/go-containerregistry/pkg/registry"

	"containerd-shim-runsc/test/image"
)

// Registry is a registry of images in memory, on the node's loopback device.
type Registry struct {
	server *http.Server
	client *http.Client
	base   string
}

// startRegistry starts the node's registry, fills it, and makes containerd ask it for
// the images of every registry.
func (n *Node) startRegistry(ctx context.Context) error {
	listener, err := n.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	quiet := registry.Logger(log.New(io.Discard, "", 0))
	n.registry = &Registry{
		server: &http.Server{Handler: registry.New(quiet)},
		client: &http.Client{Transport: &http.Transport{DialContext: n.Dial}},
		base:   "http://" + listener.Addr().String(),
	}
	go func(s *http.Server, l net.Listener) { _ = s.Serve(l) }(n.registry.server, listener)

	images, err := n.ownImages(ctx)
	if err != nil {
		return err
	}
	for _, img := range append(images, n.opts.Images...) {
		if err := n.registry.Push(ctx, img); err != nil {
			return err
		}
	}
	hosts := n.path("certs.d", "_default", "hosts.toml")
	if err := os.MkdirAll(filepath.Dir(hosts), 0o700); err != nil {
		return err
	}
	return os.WriteFile(hosts, []byte(fmt.Sprintf("[host.%q]\n  capabilities = ['pull', 'resolve']\n", n.registry.base)), 0o600)
}

// Registry is the node's registry.
func (n *Node) Registry() *Registry { return n.registry }

// Push puts an image into the registry.
func (r *Registry) Push(ctx context.Context, img Image) error {
	named, err := reference.ParseNormalizedNamed(img.Name)
	if err != nil {
		return fmt.Errorf("image %s: %w", img.Name, err)
	}
	tagged, ok := reference.TagNameOnly(named).(reference.Tagged)
	if !ok {
		return fmt.Errorf("image %s: a registry's image has a tag", img.Name)
	}
	parts, err := image.Build(img.Files, img.Config)
	if err != nil {
		return fmt.Errorf("image %s: %w", img.Name, err)
	}
	repository := r.base + "/v2/" + reference.Path(named)
	for _, blob := range []image.Blob{parts.Config, parts.Layer} {
		if err := r.send(ctx, http.MethodPost, repository+"/blobs/uploads/?digest="+blob.Digest, blob); err != nil {
			return fmt.Errorf("image %s: %w", img.Name, err)
		}
	}
	if err := r.send(ctx, http.MethodPut, repository+"/manifests/"+tagged.Tag(), parts.Manifest); err != nil {
		return fmt.Errorf("image %s: %w", img.Name, err)
	}
	return nil
}

func (r *Registry) send(ctx context.Context, method, url string, blob image.Blob) (err error) {
	request, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(blob.Content))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", blob.MediaType)
	reply, err := r.client.Do(request)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, reply.Body.Close()) }()
	if reply.StatusCode != http.StatusCreated {
		return fmt.Errorf("the registry answers %s to %s %s", reply.Status, method, url)
	}
	return nil
}

func (r *Registry) close() error {
	r.client.CloseIdleConnections()
	return r.server.Close()
}
