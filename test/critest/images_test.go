package critest

import (
	"context"
	"fmt"
	"io/fs"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"

	"containerd-shim-runsc/test/image"
	"containerd-shim-runsc/test/node"
)

// The registries that the suite takes its images from.
const (
	staging = "gcr.io/k8s-staging-cri-tools/"
	e2e     = "registry.k8s.io/e2e-test-images/"
)

// images makes the suite's images. They do what the suite wants of the originals, which
// cannot be had here.
func images(ctx context.Context, bin string) ([]node.Image, error) {
	guest, err := node.GuestFile(ctx)
	if err != nil {
		return nil, err
	}
	busybox, err := busyboxFiles(bin, guest)
	if err != nil {
		return nil, err
	}
	shell := image.Config{Cmd: []string{"sh"}}
	// Containers that end by themselves while they are removed are too much for containerd.
	lasting := image.Config{Cmd: []string{"sleep", "1000"}}
	as := func(user string) image.Config { return image.Config{Cmd: []string{"sh"}, User: user} }
	list := []node.Image{
		{Name: e2e + "busybox:1.29-2", Files: busybox, Config: shell},
		server(e2e+"nginx:1.14-2", "usr/sbin/nginx", ":80", busybox, guest),
		server(e2e+"httpd:2.4.39-4", "usr/local/bin/httpd", ":80", busybox, guest),
		server(staging+"hostnet-nginx-"+runtime.GOARCH+":latest", "usr/sbin/nginx", ":12003", busybox, guest),
		noNewPrivileges(e2e+"nonewprivs:1.3", guest),
		{Name: staging + "test-image-user-uid:latest", Files: busybox, Config: as("1002")},
		{Name: staging + "test-image-user-username:latest", Files: busybox, Config: as("www-data")},
		{Name: staging + "test-image-user-uid-group:latest", Files: busybox, Config: as("1003:users")},
		{Name: staging + "test-image-user-username-group:latest", Files: busybox, Config: as("www-data:www-data")},
		{Name: staging + "test-image-predefined-group:latest", Config: as("1000"), Files: with(busybox,
			text("etc/passwd", "root:x:0:0:root:/root:/bin/sh\ndefault-user:x:1000:1000:Linux User,,,:/home/default-user:/bin/sh\n"),
			text("etc/group", "root:x:0:\ndefault-user:x:1000:\ngroup-defined-in-image:x:50000:default-user\n"))},
	}
	// Images that are told apart by a file, and tags of one image.
	for name, tags := range map[string][]string{
		staging + "test-image-latest": {"latest"},
		staging + "test-image-tag":    {"test"},
		staging + "test-image-1":      {"latest"},
		staging + "test-image-2":      {"latest"},
		staging + "test-image-3":      {"latest"},
		staging + "test-image-tags":   {"1", "2", "3"},
		"registry.k8s.io/pause":       {"3.9"},
		"k8s.gcr.io/pause":            {"3.9"},
	} {
		for _, tag := range tags {
			// The same in both registries.
			content := text("name", filepath.Base(name))
			list = append(list, node.Image{Name: name + ":" + tag, Files: with(busybox, content), Config: lasting})
		}
	}
	list = append(list, node.Image{
		Name: staging + "test-image-tag:all", Files: with(busybox, text("name", "all")), Config: lasting,
	})
	return list, nil
}

// busyboxFiles returns the files of the image that most containers of the suite run.
func busyboxFiles(bin string, guest image.File) ([]image.File, error) {
	files, err := image.Busybox(filepath.Join(bin, "busybox"))
	if err != nil {
		return nil, err
	}
	// Hard links, as in the original: a test masks one of them.
	for i, f := range files {
		if f.Link == "busybox" {
			files[i] = image.File{Name: f.Name, Mode: 0o755, Link: "bin/busybox"}
		}
	}
	// What Debian's busybox does not have.
	ipcs, err := machineProgram("ipcs")
	if err != nil {
		return nil, err
	}
	for _, f := range ipcs {
		if !slices.ContainsFunc(files, func(have image.File) bool { return have.Name == f.Name }) {
			files = append(files, f)
		}
	}
	guest.Name = "bin/guest"
	return with(files, guest,
		script("bin/pgrep", `exec pidof "$1"`),
		script("bin/brctl", `exec guest "$@"`)), nil
}

// machineProgram returns a program of this machine with its libraries.
func machineProgram(name string) ([]image.File, error) {
	path, err := exec.LookPath(name)
	if err != nil {
		return nil, err
	}
	program, err := image.ReadFile(path)
	if err != nil {
		return nil, err
	}
	libraries, err := image.Libraries(path)
	if err != nil {
		return nil, fmt.Errorf("take %s along: %w", path, err)
	}
	return append(libraries, program), nil
}

// server makes the image of a web server, by the name of its program. The suite looks
// for nginx's first process by its command line.
func server(name, program, address string, busybox []image.File, guest image.File) node.Image {
	guest.Name = program
	return node.Image{Name: name, Files: with(busybox, guest), Config: image.Config{
		Entrypoint: []string{"/" + program, "serve", address, "master process"},
	}}
}

// noNewPrivileges makes an image whose program is root's if it may be.
func noNewPrivileges(name string, guest image.File) node.Image {
	guest.Mode |= fs.ModeSetuid
	return node.Image{Name: name, Files: []image.File{guest}, Config: image.Config{
		Entrypoint: []string{"/" + guest.Name, "euid"},
	}}
}

func text(name, content string) image.File {
	return image.File{Name: name, Mode: 0o644, Body: []byte(content)}
}

func script(name, command string) image.File {
	return image.File{Name: name, Mode: 0o755, Body: []byte("#!/bin/sh\n" + command + "\n")}
}

// with returns the files and more: one of the same name takes another's place.
func with(files []image.File, more ...image.File) []image.File {
	rest := slices.DeleteFunc(slices.Clone(files), func(f image.File) bool {
		return slices.ContainsFunc(more, func(m image.File) bool { return m.Name == f.Name })
	})
	return append(rest, more...)
}
