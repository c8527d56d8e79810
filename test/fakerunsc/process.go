package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// process is a process that the sandbox started.
type process struct {
	pid int // in the sandbox
	// done is closed when it has ended; status is valid from then on.
	done   chan struct{}
	status unix.WaitStatus
}

// exitCode is what runsc makes of a wait status.
func exitCode(ws unix.WaitStatus) int {
	if ws.Signaled() {
		return 128 + int(ws.Signal())
	}
	return ws.ExitStatus()
}

func (p *process) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// children are the processes that the reaper tells about. Starting one and
// entering it here is one step for the reaper.
var children = struct {
	sync.Mutex
	byPID map[int]*process
}{byPID: map[int]*process{}}

// reap reaps everything: as the first process of its namespace the sandbox
// inherits what its processes leave behind.
func reap() {
	for {
		var ws unix.WaitStatus
		pid, err := unix.Wait4(-1, &ws, 0, nil)
		if err == unix.ECHILD {
			// None yet; the next one says so itself.
			<-born
			continue
		}
		if err != nil {
			continue
		}
		children.Lock()
		p := children.byPID[pid]
		delete(children.byPID, pid)
		children.Unlock()
		if p == nil {
			continue
		}
		p.status = ws
		close(p.done)
	}
}

// born wakes the reaper when it has nobody to wait for.
var born = make(chan struct{}, 1)

// run starts a process in a container. It owns the files.
func (s *sandbox) run(k *inside, spec *specs.Process, std []*os.File) (*process, error) {
	defer closeAll(std)
	path, err := lookPath(k.rootfs, spec)
	if err != nil {
		return nil, err
	}
	attr := &unix.SysProcAttr{Chroot: k.rootfs, Setsid: true}
	if spec.Terminal {
		attr.Setctty, attr.Ctty = true, 0
	}
	if spec.User.UID != 0 || spec.User.GID != 0 {
		attr.Credential = &syscall.Credential{Uid: spec.User.UID, Gid: spec.User.GID}
	}
	cwd := spec.Cwd
	if cwd == "" {
		cwd = "/"
	}
	children.Lock()
	defer children.Unlock()
	child, err := os.StartProcess(path, spec.Args, &os.ProcAttr{
		Dir:   cwd,
		Env:   append([]string{s.marker(k.id)}, spec.Env...),
		Files: std,
		Sys:   attr,
	})
	if err != nil {
		return nil, fmt.Errorf("starting %q: %w", spec.Args[0], err)
	}
	p := &process{pid: child.Pid, done: make(chan struct{})}
	children.byPID[p.pid] = p
	_ = child.Release() // the reaper waits for it
	select {
	case born <- struct{}{}:
	default:
	}
	return p, nil
}

// lookPath returns the path in the rootfs of the program that a process runs. The
// errors are runsc's.
func lookPath(rootfs string, p *specs.Process) (string, error) {
	name := p.Args[0]
	if strings.Contains(name, "/") {
		if !exists(filepath.Join(rootfs, name)) {
			return "", fmt.Errorf("failed to load %s: no such file or directory", name)
		}
		return name, nil
	}
	for _, e := range p.Env {
		list, ok := strings.CutPrefix(e, "PATH=")
		if !ok {
			continue
		}
		for _, dir := range filepath.SplitList(list) {
			if path := filepath.Join(dir, name); exists(filepath.Join(rootfs, path)) {
				return path, nil
			}
		}
	}
	return "", fmt.Errorf("error finding executable %q in PATH %q: no such file or directory", name, p.Env)
}

// innerPID returns the pid in its own namespace of the process whose /proc entry
// dir is, or 0 if it has ended.
func innerPID(dir string) int {
	status, err := os.ReadFile(filepath.Join(dir, "status"))
	if err != nil || strings.Contains(string(status), "\nState:\tZ") {
		return 0
	}
	for line := range strings.Lines(string(status)) {
		if list, ok := strings.CutPrefix(line, "NSpid:"); ok {
			fields := strings.Fields(list)
			pid, _ := strconv.Atoi(fields[len(fields)-1])
			return pid
		}
	}
	return 0
}
