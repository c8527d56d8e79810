package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/containerd/v2/core/mount"
)

// bare is a container that is run by the command of an engine, without containerd and
// shim. Its spec and its snapshot are those of a container record of containerd's.
type bare struct {
	*container
	bundle string
	root   string   // the engine's
	output *os.File // stdout, or nil
	force  bool     // how the shim of the engine deletes
}

// newBare makes the bundle of a bare container and mounts its rootfs.
func (s *measurement) newBare(ctx context.Context, of subject, w wish) (*bare, error) {
	c, err := s.newContainer(ctx, of, w)
	if err != nil {
		return nil, err
	}
	b := &bare{
		container: c, bundle: s.path("b", c.id), root: s.path("r", "bare-"+of.engine), force: of.engine == ourEngine,
	}
	rootfs := filepath.Join(b.bundle, "rootfs")
	if err := os.MkdirAll(rootfs, 0o711); err != nil {
		return nil, err
	}
	spec, err := json.Marshal(c.spec)
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(b.bundle, "config.json"), spec, 0o600); err != nil {
		return nil, err
	}
	mounts, err := c.mounts(ctx)
	if err != nil {
		return nil, err
	}
	return b, mount.All(mounts, rootfs)
}

// command runs a command of the engine with the flags and streams of the shim and
// returns how long it took.
func (b *bare) command(ctx context.Context, args ...string) (time.Duration, error) {
	log := filepath.Join(b.bundle, "log.json")
	cmd := exec.CommandContext(ctx, b.s.tool(b.engine),
		append([]string{"--root", b.root, "--log", log, "--log-format", "json"}, args...)...)
	// The sandbox inherits the streams, so they must be no pipe that is waited for.
	if b.output != nil {
		cmd.Stdout = b.output
	}
	took, err := b.timed(args[0], cmd.Run)
	if err != nil {
		said, _ := os.ReadFile(log)
		return 0, fmt.Errorf("bare %s: %w: %s", b.engine, err, said)
	}
	return took, nil
}

func (b *bare) create(ctx context.Context) (time.Duration, error) {
	pidFile := filepath.Join(b.bundle, "pid")
	took, err := b.command(ctx, "create", "--bundle", b.bundle, "--pid-file", pidFile, b.id)
	if err != nil {
		return 0, err
	}
	text, err := os.ReadFile(pidFile)
	if err != nil {
		return 0, err
	}
	b.pid, err = strconv.Atoi(strings.TrimSpace(string(text)))
	return took, err
}

func (b *bare) start(ctx context.Context) (time.Duration, error) {
	return b.command(ctx, "start", b.id)
}

// end implements living. It tells no times.
func (b *bare) end(ctx context.Context) (_, _ time.Duration, err error) {
	p, err := openProcess(b.pid)
	if err != nil {
		return 0, 0, err
	}
	if _, err := b.command(ctx, "kill", b.id, "KILL"); err != nil {
		return 0, 0, errors.Join(err, p.close())
	}
	if b.inSandbox() {
		_, err := b.command(ctx, "wait", b.id)
		return 0, 0, errors.Join(err, p.close())
	}
	err = p.awaitEnd(ctx)
	reapOrphans()
	return 0, 0, err
}

func (b *bare) delete(ctx context.Context) (time.Duration, error) {
	args := []string{"delete", b.id}
	if b.force {
		args = []string{"delete", "--force", b.id}
	}
	return b.command(ctx, args...)
}

// discard removes the bundle and what containerd has of the container.
func (b *bare) discard(ctx context.Context) error {
	reapOrphans()
	return errors.Join(mount.UnmountAll(filepath.Join(b.bundle, "rootfs"), 0), os.RemoveAll(b.bundle),
		b.container.discard(ctx))
}

// remove ends and removes the container, when nothing is measured any more.
func (b *bare) remove(ctx context.Context) error {
	_, _, err := b.end(ctx)
	_, err2 := b.delete(ctx)
	return errors.Join(err, err2, b.discard(ctx))
}
