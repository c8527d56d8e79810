package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
)

// moduleDirs returns what of the kernel's modules the machine gets: overlayfs, and what
// networks of containers take. The kernel loads them by itself when they are needed.
func moduleDirs() []string {
	return []string{
		"fs/overlayfs", "crypto", "lib",
		"drivers/net/tun.ko", "drivers/net/veth.ko", "drivers/net/dummy.ko",
		"net/802", "net/bridge", "net/llc", "net/ipv4", "net/ipv6", "net/netfilter", "net/sched",
	}
}

// kernelImage returns the kernel that qemu boots.
func (s settings) kernelImage() (string, error) {
	return only(filepath.Join(s.work, "kernel/boot/vmlinuz-*"))
}

// modules adds the kernel's modules, with the index by which they are found.
func (im image) modules(ctx context.Context) error {
	from, err := only(filepath.Join(im.work, "kernel/lib/modules/*"))
	if err != nil {
		return err
	}
	version := filepath.Base(from)
	to := filepath.Join("usr/lib/modules", version)
	files, err := filepath.Glob(filepath.Join(from, "modules.*"))
	if err != nil {
		return err
	}
	for _, dir := range moduleDirs() {
		err := filepath.WalkDir(filepath.Join(from, "kernel", dir), func(path string, d fs.DirEntry, err error) error {
			if err == nil && !d.IsDir() {
				files = append(files, path)
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	for _, file := range files {
		name, err := filepath.Rel(from, file)
		if err != nil {
			return err
		}
		if err := im.add(filepath.Join(to, name), file); err != nil {
			return err
		}
	}
	// It looks in lib/modules, which is a link in Debian's files only.
	if err := im.link("usr/lib", "lib"); err != nil {
		return err
	}
	defer func() { _ = os.Remove(im.path("lib")) }()
	busybox := filepath.Join(im.bin, "busybox-static")
	if out, err := exec.CommandContext(ctx, busybox, "depmod", "-b", im.dir, version).CombinedOutput(); err != nil {
		return fmt.Errorf("index the kernel's modules: %w\n%s", err, out)
	}
	return nil
}

// only returns the one file that a pattern matches.
func only(pattern string) (string, error) {
	found, err := filepath.Glob(pattern)
	if err != nil {
		return "", err
	}
	if len(found) != 1 {
		return "", fmt.Errorf("%d files are %s, want one: %w", len(found), pattern, errors.ErrUnsupported)
	}
	return found[0], nil
}
