package image

import (
	"archive/tar"
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"path"
	"runtime"
	"slices"
	"strings"
	"time"
)

// File is one file, directory or symbolic link of an image's root filesystem.
type File struct {
	// Name is the path in the image; a leading slash makes no difference.
	// Parent directories that are not listed are made with mode 0755.
	Name string
	// Mode holds the type (regular, fs.ModeDir or fs.ModeSymlink), the
	// permission bits, fs.ModeSetuid, fs.ModeSetgid and fs.ModeSticky.
	Mode fs.FileMode
	// UID and GID own the file.
	UID, GID int
	// Body is a regular file's content.
	Body []byte
	// Link is a symbolic link's target. A regular file with one is a hard link to
	// the file of that name, which must be listed as well.
	Link string
}

func (f File) hardLink() bool { return f.Mode.IsRegular() && f.Link != "" }

// The parts of the OCI image specification that an image of one layer needs.
// Their fields are written in the order in which they are declared here.
type (
	descriptor struct {
		MediaType   string            `json:"mediaType"`
		Digest      string            `json:"digest"`
		Size        int               `json:"size"`
		Platform    *platform         `json:"platform,omitempty"`
		Annotations map[string]string `json:"annotations,omitempty"`
	}
	platform struct {
		Architecture string `json:"architecture"`
		OS           string `json:"os"`
	}
	index struct {
		SchemaVersion int          `json:"schemaVersion"`
		MediaType     string       `json:"mediaType"`
		Manifests     []descriptor `json:"manifests"`
	}
	manifest struct {
		SchemaVersion int          `json:"schemaVersion"`
		MediaType     string       `json:"mediaType"`
		Config        descriptor   `json:"config"`
		Layers        []descriptor `json:"layers"`
	}
	config struct {
		platform
		Config process `json:"config"`
		RootFS rootFS  `json:"rootfs"`
	}
	process struct {
		User       string   `json:"User,omitempty"`
		Env        []string `json:"Env"`
		Entrypoint []string `json:"Entrypoint,omitempty"`
		Cmd        []string `json:"Cmd"`
		WorkingDir string   `json:"WorkingDir,omitempty"`
	}
	rootFS struct {
		Type    string   `json:"type"`
		DiffIDs []string `json:"diff_ids"`
	}
	layout struct {
		Version string `json:"imageLayoutVersion"`
	}
)

const (
	typeIndex    = "application/vnd.oci.image.index.v1+json"
	typeManifest = "application/vnd.oci.image.manifest.v1+json"
	typeConfig   = "application/vnd.oci.image.config.v1+json"
	typeLayer    = "application/vnd.oci.image.layer.v1.tar"

	// containerd takes the image's full name from here. The annotation of the
	// specification itself, ref.name, is meant for a tag alone.
	annotationName = "io.containerd.image.name"
	annotationRef  = "org.opencontainers.image.ref.name"
)

// Config says how a container of an image runs unless it is told otherwise.
type Config struct {
	// User is a name or a number, with or without a group: "user", "user:group".
	User string
	// Entrypoint and Cmd are what runs, one after the other.
	Entrypoint, Cmd []string
	// Env is added to the usual PATH.
	Env        []string
	WorkingDir string
}

// Blob is a part of an image.
type Blob struct {
	MediaType string
	Digest    string
	Content   []byte
}

// Image is an image of one layer, as a registry keeps it.
type Image struct {
	Manifest, Config, Layer Blob
}

// Build makes an image for this machine's architecture.
func Build(files []File, c Config) (*Image, error) {
	layer, err := tarLayer(files)
	if err != nil {
		return nil, err
	}

	// The layer is not compressed, so its digest is its diff id as well.
	layerDesc := describe(typeLayer, layer)
	configBlob, err := json.Marshal(config{
		platform: self(),
		Config: process{
			User: c.User,
			Env: append([]string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
				c.Env...),
			Entrypoint: c.Entrypoint,
			Cmd:        c.Cmd,
			WorkingDir: c.WorkingDir,
		},
		RootFS: rootFS{Type: "layers", DiffIDs: []string{layerDesc.Digest}},
	})
	if err != nil {
		return nil, fmt.Errorf("encode config: %w", err)
	}
	configDesc := describe(typeConfig, configBlob)

	manifestBlob, err := json.Marshal(manifest{
		SchemaVersion: 2,
		MediaType:     typeManifest,
		Config:        configDesc,
		Layers:        []descriptor{layerDesc},
	})
	if err != nil {
		return nil, fmt.Errorf("encode manifest: %w", err)
	}
	manifestDesc := describe(typeManifest, manifestBlob)
	return &Image{
		Manifest: Blob{typeManifest, manifestDesc.Digest, manifestBlob},
		Config:   Blob{typeConfig, configDesc.Digest, configBlob},
		Layer:    Blob{typeLayer, layerDesc.Digest, layer},
	}, nil
}

func self() platform { return platform{Architecture: runtime.GOARCH, OS: "linux"} }

// Write writes an image for this machine's architecture to w, as an OCI image
// layout in a tar archive. The name is a full reference, such as
// "docker.io/library/busybox:local". A container of it runs sh unless told
// otherwise.
func Write(w io.Writer, name string, files []File) error {
	img, err := Build(files, Config{Cmd: []string{"sh"}})
	if err != nil {
		return fmt.Errorf("image %s: %w", name, err)
	}
	manifestDesc := describe(typeManifest, img.Manifest.Content)
	own := self()
	manifestDesc.Platform = &own
	manifestDesc.Annotations = map[string]string{annotationName: name, annotationRef: name}

	indexBlob, err := json.Marshal(index{
		SchemaVersion: 2,
		MediaType:     typeIndex,
		Manifests:     []descriptor{manifestDesc},
	})
	if err != nil {
		return fmt.Errorf("image %s: encode index: %w", name, err)
	}
	layoutBlob, err := json.Marshal(layout{Version: "1.0.0"})
	if err != nil {
		return fmt.Errorf("image %s: encode layout: %w", name, err)
	}

	files = []File{
		{Name: "oci-layout", Mode: 0o644, Body: layoutBlob},
		{Name: "index.json", Mode: 0o644, Body: indexBlob},
	}
	for _, blob := range []Blob{img.Manifest, img.Config, img.Layer} {
		files = append(files, File{Name: blobPath(blob.Digest), Mode: 0o644, Body: blob.Content})
	}
	if err := writeTar(w, files); err != nil {
		return fmt.Errorf("image %s: %w", name, err)
	}
	return nil
}

func describe(mediaType string, blob []byte) descriptor {
	sum := sha256.Sum256(blob)
	return descriptor{
		MediaType: mediaType,
		Digest:    "sha256:" + hex.EncodeToString(sum[:]),
		Size:      len(blob),
	}
}

func blobPath(digest string) string {
	return "blobs/" + strings.Replace(digest, ":", "/", 1)
}

func tarLayer(files []File) ([]byte, error) {
	all, err := complete(files)
	if err != nil {
		return nil, err
	}
	var layer bytes.Buffer
	if err := writeTar(&layer, all); err != nil {
		return nil, err
	}
	return layer.Bytes(), nil
}

// complete returns the files under clean names, with the directories that they
// need, in an order that does not depend on the caller's and in which a
// directory precedes what is in it, and everything precedes hard links.
func complete(files []File) ([]File, error) {
	byName := make(map[string]File, len(files))
	for _, f := range files {
		name := strings.TrimPrefix(path.Clean("/"+f.Name), "/")
		if name == "" {
			return nil, fmt.Errorf("file %q has no name of its own", f.Name)
		}
		if _, ok := byName[name]; ok {
			return nil, fmt.Errorf("file %q is listed twice", name)
		}
		f.Name = name
		byName[name] = f
	}
	for _, f := range files {
		name := strings.TrimPrefix(path.Clean("/"+f.Name), "/")
		for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
			parent, ok := byName[dir]
			if !ok {
				byName[dir] = File{Name: dir, Mode: fs.ModeDir | 0o755}
			} else if !parent.Mode.IsDir() {
				return nil, fmt.Errorf("file %q lies in %q, which is no directory", name, dir)
			}
		}
	}

	all := make([]File, 0, len(byName))
	for _, f := range byName {
		all = append(all, f)
	}
	slices.SortFunc(all, func(a, b File) int {
		if a.hardLink() != b.hardLink() {
			if a.hardLink() {
				return 1
			}
			return -1
		}
		return cmp.Compare(a.Name, b.Name)
	})
	return all, nil
}

func writeTar(w io.Writer, files []File) error {
	tw := tar.NewWriter(w)
	for _, f := range files {
		h, err := header(f)
		if err != nil {
			return err
		}
		if err := tw.WriteHeader(h); err != nil {
			return fmt.Errorf("write header of %q: %w", f.Name, err)
		}
		if h.Typeflag != tar.TypeReg {
			continue
		}
		if _, err := tw.Write(f.Body); err != nil {
			return fmt.Errorf("write %q: %w", f.Name, err)
		}
	}
	if err := tw.Close(); err != nil {
		return fmt.Errorf("end archive: %w", err)
	}
	return nil
}

func header(f File) (*tar.Header, error) {
	h := &tar.Header{
		Name: f.Name,
		Mode: int64(f.Mode.Perm()),
		Uid:  f.UID,
		Gid:  f.GID,
		// One fixed time: the archive must not depend on when it was made.
		ModTime: time.Unix(0, 0),
	}
	// The bits as tar and the kernel know them; fs.FileMode has its own.
	for bit, value := range map[fs.FileMode]int64{
		fs.ModeSetuid: 0o4000,
		fs.ModeSetgid: 0o2000,
		fs.ModeSticky: 0o1000,
	} {
		if f.Mode&bit != 0 {
			h.Mode |= value
		}
	}
	switch f.Mode.Type() {
	case 0:
		if f.hardLink() {
			h.Typeflag = tar.TypeLink
			h.Linkname = f.Link
			break
		}
		h.Typeflag = tar.TypeReg
		h.Size = int64(len(f.Body))
	case fs.ModeDir:
		h.Typeflag = tar.TypeDir
		h.Name += "/"
	case fs.ModeSymlink:
		h.Typeflag = tar.TypeSymlink
		h.Linkname = f.Link
	default:
		return nil, fmt.Errorf("file %q: type %v is not supported", f.Name, f.Mode.Type())
	}
	return h, nil
}
