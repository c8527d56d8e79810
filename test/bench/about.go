package main

import (
	"context"
	"fmt"
	"os/exec"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// about says what was measured, where and when.
type about struct {
	Date        time.Time `json:"date"`
	Shim        string    `json:"shim_version"`
	Runsc       string    `json:"runsc_version"`
	RuncShim    string    `json:"runc_shim_version"`
	Runc        string    `json:"runc_version"`
	Containerd  string    `json:"containerd_version"`
	Kernel      string    `json:"kernel"`
	Arch        string    `json:"arch"`
	Cores       int       `json:"cores"`
	Rounds      int       `json:"rounds"`
	IdleSeconds float64   `json:"idle_seconds"`
}

// String is a line for people.
func (a about) String() string {
	return fmt.Sprintf("%s: shim %s with runsc %s, runc's shim %s with runc %s; containerd %s, Linux %s, %d cores, %d rounds",
		a.Date.Format(time.RFC3339), a.Shim, a.Runsc, a.RuncShim, a.Runc, a.Containerd, a.Kernel, a.Cores, a.Rounds)
}

// describe asks the tools for their versions.
func describe(ctx context.Context, cfg settings) (about, error) {
	a := about{
		Date: time.Now().UTC().Truncate(time.Second), Arch: runtime.GOARCH, Cores: runtime.NumCPU(),
		Rounds: cfg.rounds, IdleSeconds: cfg.idle.Seconds(),
	}
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return a, err
	}
	a.Kernel = unix.ByteSliceToString(name.Release[:])
	for _, v := range []struct {
		to         *string
		tool, flag string
		before     string // what stands before the version
	}{
		{&a.Shim, ourShim, "-v", "Version:"},
		{&a.RuncShim, runcShim, "-v", "Version:"},
		{&a.Runsc, ourEngine, "--version", "version"},
		{&a.Runc, runcEngine, "--version", "version"},
		{&a.Containerd, "containerd", "--version", "containerd/v2"},
	} {
		out, err := exec.CommandContext(ctx, cfg.tool(v.tool), v.flag).Output()
		if err != nil {
			return a, fmt.Errorf("%s %s: %w", v.tool, v.flag, err)
		}
		*v.to = "unknown"
		_, rest, _ := strings.Cut(string(out), v.before)
		if fields := strings.Fields(rest); len(fields) > 0 {
			*v.to = fields[0]
		}
	}
	return a, nil
}
