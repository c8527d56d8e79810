package image

import (
	"debug/elf"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// Busybox returns the files of an image around the busybox binary of this
// machine at busyboxPath: the binary, a link for each of its applets, and the
// few files and directories that programs expect. The binary may be linked
// statically or not; its libraries are taken along.
func Busybox(busyboxPath string) ([]File, error) {
	binary, err := os.ReadFile(busyboxPath)
	if err != nil {
		return nil, fmt.Errorf("read busybox: %w", err)
	}
	applets, err := exec.Command(busyboxPath, "--list").Output()
	if err != nil {
		return nil, fmt.Errorf("list the applets of %s: %w", busyboxPath, err)
	}
	libraries, err := Libraries(busyboxPath)
	if err != nil {
		return nil, err
	}

	files := []File{
		{Name: "bin/busybox", Mode: 0o755, Body: binary},
		{Name: "dev", Mode: fs.ModeDir | 0o755},
		{Name: "etc/group", Mode: 0o644, Body: []byte("root:x:0:\nnogroup:x:65534:\n")},
		{Name: "etc/passwd", Mode: 0o644, Body: []byte(
			"root:x:0:0:root:/root:/bin/sh\n" +
				"nobody:x:65534:65534:nobody:/:/bin/false\n")},
		{Name: "proc", Mode: fs.ModeDir | 0o755},
		{Name: "root", Mode: fs.ModeDir | 0o700},
		{Name: "sys", Mode: fs.ModeDir | 0o755},
		{Name: "tmp", Mode: fs.ModeDir | fs.ModeSticky | 0o777},
	}
	for applet := range strings.FieldsSeq(string(applets)) {
		if applet != "busybox" {
			files = append(files, File{Name: "bin/" + applet, Mode: fs.ModeSymlink | 0o777, Link: "busybox"})
		}
	}
	return append(files, libraries...), nil
}

// Libraries returns the dynamic loader and the shared libraries that the binary
// at the given path needs, at the places where its loader looks for them. It
// returns nothing for a static binary, or for a file that is not ELF.
func Libraries(binaryPath string) ([]File, error) {
	loader, needed, err := dependencies(binaryPath)
	if err != nil || loader == "" {
		return nil, err
	}
	file, err := ReadFile(loader)
	if err != nil {
		return nil, err
	}
	files := []File{file}

	// The loader comes with the C library, so both lie in one directory on
	// distributions with and without a directory per architecture.
	realLoader, err := filepath.EvalSymlinks(loader)
	if err != nil {
		return nil, fmt.Errorf("find the directory of %s: %w", loader, err)
	}
	directory := filepath.Dir(realLoader)
	seen := map[string]bool{filepath.Base(loader): true}
	for len(needed) > 0 {
		name := needed[0]
		needed = needed[1:]
		if seen[name] {
			continue
		}
		seen[name] = true

		library := filepath.Join(directory, name)
		file, err := ReadFile(library)
		if err != nil {
			return nil, fmt.Errorf("%s needs %s: %w", binaryPath, name, err)
		}
		files = append(files, file)
		_, more, err := dependencies(library)
		if err != nil {
			return nil, err
		}
		needed = slices.Concat(needed, more)
	}
	return files, nil
}

// ReadFile returns a program or library of this machine, for the same place in an
// image.
func ReadFile(name string) (File, error) {
	body, err := os.ReadFile(name)
	if err != nil {
		return File{}, fmt.Errorf("read a file for an image: %w", err)
	}
	return File{Name: name, Mode: 0o755, Body: body}, nil
}

// dependencies returns the loader that the file at the given path asks for, if
// any, and the names of the libraries that it is linked to.
func dependencies(name string) (loader string, needed []string, err error) {
	file, err := elf.Open(name)
	var notELF *elf.FormatError
	if errors.As(err, &notELF) {
		return "", nil, nil
	}
	if err != nil {
		return "", nil, fmt.Errorf("open binary: %w", err)
	}
	defer func() { err = errors.Join(err, file.Close()) }()

	for _, segment := range file.Progs {
		if segment.Type != elf.PT_INTERP {
			continue
		}
		text := make([]byte, segment.Filesz)
		if _, err := segment.ReadAt(text, 0); err != nil {
			return "", nil, fmt.Errorf("read the loader's name in %s: %w", name, err)
		}
		loader = strings.TrimRight(string(text), "\x00")
	}
	needed, err = file.ImportedLibraries()
	if err != nil {
		return "", nil, fmt.Errorf("read the libraries of %s: %w", name, err)
	}
	return loader, needed, nil
}
