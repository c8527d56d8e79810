package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// panicStatus is the exit status of a Go program that panics.
const panicStatus = 2

// freeze stops every process in the sandbox.
func (s *sandbox) freeze() error {
	s.mu.Lock()
	s.frozen++
	s.mu.Unlock()
	if err := s.signalMembers("", unix.SIGSTOP); err != nil {
		return err
	}
	for _, pid := range s.started("") {
		awaitStop(pid)
	}
	return nil
}

// awaitStop waits until a child has stopped, or ended: of several threads only one takes
// the signal, and tells the others when it comes to run.
func awaitStop(pid int) {
	for {
		err := unix.Waitid(unix.P_PID, pid, nil, unix.WSTOPPED|unix.WEXITED|unix.WNOWAIT, nil)
		if !errors.Is(err, unix.EINTR) {
			return
		}
	}
}

// thaw undoes one freeze. gVisor counts them, and its kernel panics when it is thawed
// once too often (TaskSet.EndExternalStop).
func (s *sandbox) thaw() error {
	s.mu.Lock()
	s.frozen--
	frozen, kills := s.frozen, s.kills
	if frozen == 0 {
		s.kills = nil
	}
	s.mu.Unlock()
	switch {
	case frozen < 0:
		os.Exit(panicStatus)
	case frozen > 0:
		return nil
	}
	err := s.signalMembers("", unix.SIGCONT)
	for _, pid := range kills {
		_ = unix.Kill(pid, unix.SIGKILL)
	}
	return err
}

// kill sends a signal to a process. One that is frozen acts on it when it is thawed,
// which Linux does with all signals but SIGKILL, and gVisor with that one too.
func (s *sandbox) kill(pid int, sig unix.Signal) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.frozen > 0 && sig == unix.SIGKILL {
		s.kills = append(s.kills, pid)
		return nil
	}
	return unix.Kill(pid, sig)
}

func (s *sandbox) signal(k *inside, req request) error {
	sig := unix.Signal(req.Signal)
	init := s.initOf(k)
	if req.All {
		if init == nil {
			return fmt.Errorf("container %q not started", k.id)
		}
		for _, pid := range s.members(k.id) {
			if err := s.kill(pid, sig); err != nil && !errors.Is(err, unix.ESRCH) {
				return err
			}
		}
		return nil
	}
	failed := func(why string) error {
		return fmt.Errorf("signaling process in container %q PID %d: %s", k.id, req.PID, why)
	}
	pid := req.PID
	if pid == 0 && init != nil {
		if init.ended() {
			return failed("no such process")
		}
		pid = init.pid
	}
	if !slices.Contains(s.members(k.id), pid) {
		return failed(fmt.Sprintf("no such process with PID %d", req.PID))
	}
	return s.kill(pid, sig)
}

func (s *sandbox) destroy(k *inside) error {
	if err := s.killMembers(k.id); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	closeAll(k.std)
	delete(s.containers, k.id)
	return nil
}

// maxExecing is how often one that seems to become another program is waited for: it may
// have been given no environment.
const maxExecing = 100

// killMembers kills every process of the container until none is left.
func (s *sandbox) killMembers(id string) error {
	for n := 0; len(s.members(id)) > 0 || n < maxExecing && s.execing(); n++ {
		if err := s.signalMembers(id, unix.SIGKILL); err != nil {
			return err
		}
		time.Sleep(pollPause)
	}
	return nil
}

// signalMembers signals every process of a container, or with "" of all of them,
// frozen or not.
func (s *sandbox) signalMembers(id string, sig unix.Signal) error {
	for _, pid := range s.members(id) {
		if err := unix.Kill(pid, sig); err != nil && err != unix.ESRCH {
			return err
		}
	}
	return nil
}

// marker is in the environment of every process of a container, so that those
// that the caller did not start are found too. With "" it is that of all containers.
func (s *sandbox) marker(id string) string {
	mark := "FAKERUNSC_CONTAINER=" + s.root + "|" + s.id + "|"
	if id != "" {
		mark += id + "|"
	}
	return mark
}

// members returns the processes of a container, or with "" of the sandbox, as pids of
// the sandbox's namespace.
func (s *sandbox) members(id string) []int {
	mark := s.marker(id)
	pids := s.started(id)
	// This is the host's /proc, for want of a mount namespace.
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	own, _ := os.Readlink(pidNamespace("/proc/self"))
	for _, dir := range dirs {
		// Most are of others, and this tells so sooner than their environment.
		if ns, err := os.Readlink(pidNamespace(dir)); err != nil || ns != own {
			continue
		}
		env, err := os.ReadFile(filepath.Join(dir, "environ"))
		if err != nil || !strings.Contains(string(env), mark) {
			continue
		}
		if pid := innerPID(dir); pid > 0 {
			pids = append(pids, pid)
		}
	}
	slices.Sort(pids)
	return slices.Compact(pids)
}

// execing tells whether a process of the sandbox's namespace has no environment at the
// moment, because another program takes its place: it is not known whose it is.
func (s *sandbox) execing() bool {
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	own, _ := os.Readlink(pidNamespace("/proc/self"))
	return slices.ContainsFunc(dirs, func(dir string) bool {
		if ns, err := os.Readlink(pidNamespace(dir)); err != nil || ns != own {
			return false
		}
		env, err := os.ReadFile(filepath.Join(dir, "environ"))
		_, gone := os.Readlink(filepath.Join(dir, "exe")) // that of one that has ended
		return err == nil && len(env) == 0 && gone == nil
	})
}

// pidNamespace is the link to the pid namespace of the process whose /proc entry dir is.
func pidNamespace(dir string) string { return filepath.Join(dir, "ns/pid") }

// started returns those members that the caller has started. One that has just been
// started may have no environment yet.
func (s *sandbox) started(id string) []int {
	s.mu.Lock()
	defer s.mu.Unlock()
	var pids []int
	for _, k := range s.containers {
		if id != "" && id != k.id {
			continue
		}
		if k.init != nil && !k.init.ended() {
			pids = append(pids, k.init.pid)
		}
		for _, p := range k.processes {
			if !p.ended() {
				pids = append(pids, p.pid)
			}
		}
	}
	return pids
}

func closeAll(files []*os.File) {
	for _, f := range files {
		_ = f.Close()
	}
}
