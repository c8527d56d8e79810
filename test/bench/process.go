package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// allProcesses returns the pids of this machine.
func allProcesses() []int {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	var list []int
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil {
			list = append(list, pid)
		}
	}
	return list
}

// statusField returns a field of a process's status, or "" if the process is gone.
func statusField(pid int, name string) string {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(status)) {
		if value, ok := strings.CutPrefix(line, name+":"); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// parentOf returns the parent of a process, or 0 if the process is gone.
func parentOf(pid int) int {
	parent, _ := strconv.Atoi(statusField(pid, "PPid"))
	return parent
}

// tree returns a process and its descendants, without those that are to be skipped and
// theirs.
func tree(root int, skip func(pid int) bool) []int {
	children := map[int][]int{}
	for _, pid := range allProcesses() {
		parent := parentOf(pid)
		children[parent] = append(children[parent], pid)
	}
	list := []int{root}
	for i := 0; i < len(list); i++ {
		for _, pid := range children[list[i]] {
			if !skip(pid) {
				list = append(list, pid)
			}
		}
	}
	return list
}

// programOf returns the name by which a process was called.
func programOf(pid int) string {
	cmdline, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil {
		return ""
	}
	name, _, _ := strings.Cut(string(cmdline), "\x00")
	return filepath.Base(name)
}

// pss returns the proportional set size of processes, in KiB.
func pss(pids ...int) (float64, error) {
	var sum float64
	for _, pid := range pids {
		rollup, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
		if err != nil {
			return 0, err
		}
		found := false
		for line := range strings.Lines(string(rollup)) {
			if fields := strings.Fields(line); len(fields) > 1 && fields[0] == "Pss:" {
				kib, err := strconv.ParseFloat(fields[1], 64)
				if err != nil {
					return 0, err
				}
				sum, found = sum+kib, true
			}
		}
		if !found {
			return 0, fmt.Errorf("process %d has no PSS", pid)
		}
	}
	return sum, nil
}

// cpu returns the CPU time that a process has used, by its own clock: that counts
// nanoseconds, and threads that have ended.
func cpu(pid int) (time.Duration, error) {
	const sched = 2 // of the clocks of a process, the precise one
	var ts unix.Timespec
	if err := unix.ClockGettime(int32(^pid<<3|sched), &ts); err != nil {
		return 0, fmt.Errorf("read the clock of process %d: %w", pid, err)
	}
	return time.Duration(ts.Nano()), nil
}

// cgroupCPU returns the CPU time that a container's cgroup has used: what runs in it and
// what has ended, without the shim.
func (d *daemon) cgroupCPU(id string) (time.Duration, error) {
	if v1, _ := filepath.Glob(fmt.Sprintf("/sys/fs/cgroup/*/%s/%s/cpuacct.usage", d.ns, id)); len(v1) > 0 {
		var ns int64
		err := scanFile(v1[0], "%d", &ns)
		return time.Duration(ns), err
	}
	var us int64
	err := scanFile(fmt.Sprintf("/sys/fs/cgroup/%s/%s/cpu.stat", d.ns, id), "usage_usec %d", &us)
	return time.Duration(us) * time.Microsecond, err
}

func scanFile(path, format string, value *int64) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if _, err := fmt.Sscanf(string(text), format, value); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// reapOrphans reaps the processes that became children of this one when their own
// parent ended. Commands that this process started are waited for where they are
// started, so none may be running now but containerd, which is no zombie.
func reapOrphans() {
	self := os.Getpid()
	for _, pid := range allProcesses() {
		if parentOf(pid) == self && strings.HasPrefix(statusField(pid, "State"), "Z") {
			_, _ = unix.Wait4(pid, nil, unix.WNOHANG, nil)
		}
	}
}

// process refers to a process whose end is waited for.
type process struct{ fd int }

func openProcess(pid int) (process, error) {
	fd, err := unix.PidfdOpen(pid, 0)
	return process{fd}, err
}

func (p process) close() error { return unix.Close(p.fd) }

// awaitEnd waits until the process has ended, and lets go of it.
func (p process) awaitEnd(ctx context.Context) error {
	defer func() { _ = p.close() }()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline) && ctx.Err() == nil; {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(p.fd), Events: unix.POLLIN}}, 100)
		if n > 0 {
			return nil
		}
		if err != nil && !errors.Is(err, unix.EINTR) {
			return err
		}
	}
	return errors.Join(ctx.Err(), errors.New("a process does not end"))
}
