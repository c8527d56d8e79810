package contract

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"containerd-shim-runsc/test/harness"
)

// Every test checks at its end that nothing is left. These check it in the middle,
// while the shim lives on.

func TestR6_NothingAfterTheLastDelete(t *testing.T) {
	both(t, func(t *testing.T, e *harness.Env) {
		tasks := pod(e, "pod", harness.Container{ID: "c1", Terminal: true}, harness.Container{ID: "c2", PlainRootfs: true})
		for _, k := range tasks {
			k.ExecRunning(harness.ExecOptions{ID: "e1", Terminal: k.ID == "c1"})
		}
		for i := len(tasks) - 1; i >= 0; i-- {
			tasks[i].Signal(unix.SIGKILL)
			tasks[i].WaitFor(137)
			tasks[i].Delete()
		}
		e.CheckClean(tasks[0].Shim)
		_ = tasks[0].Shim.Shutdown()
		harness.WaitProcess(t, tasks[0].Shim.PID)
		e.CheckClean(nil)
	})
}

func TestR6_NoDescriptorsOfExecs(t *testing.T) {
	both(t, func(t *testing.T, e *harness.Env) {
		k := e.Running(harness.Container{ID: "web"})
		round := func(n, i int) {
			for j := range n {
				p := k.ExecRunning(harness.ExecOptions{ID: fmt.Sprintf("e%d-%d", i, j), Terminal: j%2 == 1, Args: harness.Shell("exit 0")})
				p.WaitFor(0)
				p.Delete()
			}
			bad := k.Exec(harness.ExecOptions{ID: fmt.Sprint("bad", i), Args: missing()})
			if _, err := bad.Calls.Start(); err == nil {
				t.Error("a missing program was started")
			}
			bad.Delete()
		}
		round(2, 0)
		before := descriptors(t, k.Shim)
		round(10, 1)
		harness.Eventually(t, fmt.Sprintf("the shim has no more than the %d descriptors of before", before), func() bool {
			return descriptors(t, k.Shim) <= before
		})
	})
}

func TestR6_NoDescriptorsOfTasks(t *testing.T) {
	both(t, func(t *testing.T, e *harness.Env) {
		root := pod(e, "pod")[0]
		round := func(n, i int) {
			for j := range n {
				k := e.Running(harness.Container{ID: fmt.Sprintf("c%d-%d", i, j), Pod: "pod", Terminal: j%2 == 1, Args: harness.Shell("exit 0")})
				k.WaitFor(0)
				k.Delete()
			}
		}
		round(2, 0)
		before := descriptors(t, root.Shim)
		round(6, 1)
		harness.Eventually(t, fmt.Sprintf("the shim has no more than the %d descriptors of before", before), func() bool {
			return descriptors(t, root.Shim) <= before
		})
	})
}

// A start or a delete looks at all containers of the sandbox, and makes the lock of one
// that is deleted in that moment anew.
func TestR6_NoLocksOfDeletedContainers(t *testing.T) {
	onRunsc(t, func(t *testing.T, e *harness.Env) {
		root := pod(e, "pod")[0]
		before := locks(t, e)
		const rounds, atOnce = 6, 6
		for i := range rounds {
			var tasks []*harness.Task
			for j := range atOnce {
				tasks = append(tasks, e.PrepareIn(root.Shim, harness.Container{ID: fmt.Sprintf("c%d-%d", i, j), Pod: "pod", Args: harness.Shell("exit 0")}))
			}
			var wg sync.WaitGroup
			for _, k := range tasks {
				wg.Go(func() {
					if _, err := k.TryCreate(); err != nil {
						t.Error(err)
						return
					}
					if _, err := k.Calls.Start(); err != nil {
						t.Error(err)
						return
					}
					if _, err := k.Calls.Wait(t.Context()); err != nil {
						t.Error(err)
					}
					if _, err := k.Calls.Delete(); err != nil {
						t.Error(err)
						return
					}
					k.Forget()
				})
			}
			wg.Wait()
		}
		if after := locks(t, e); !slices.Equal(after, before) {
			t.Errorf("the locks are %q, were %q", after, before)
		}
	})
}

// locks returns runsc's locks.
func locks(t *testing.T, e *harness.Env) []string {
	t.Helper()
	return glob(t, filepath.Join(e.RunscRoot(), "*.lock"))
}

func TestR6_NoProcessesOfDeletedExecs(t *testing.T) {
	both(t, func(t *testing.T, e *harness.Env) {
		k := e.Running(harness.Container{ID: "web"})
		for i := range 5 {
			p := k.ExecRunning(harness.ExecOptions{ID: fmt.Sprint("e", i)})
			p.Signal(unix.SIGKILL)
			p.WaitFor(137)
			p.Delete()
		}
		harness.Eventually(t, "no command of runsc is left", func() bool { return len(e.Commands("exec", "web")) == 0 })
	})
}

func descriptors(t *testing.T, s *harness.Shim) int {
	t.Helper()
	fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", s.PID))
	if err != nil {
		t.Fatal(err)
	}
	return len(fds)
}

// No other descriptor is left of a shim's socket than one that its children do not inherit:
// they would keep the socket of a dead shim alive.
func TestR6_TheSocketIsTheShimsAlone(t *testing.T) {
	scripted(t, func(t *testing.T, e *harness.Env) {
		k := e.Running(harness.Container{ID: "web"})
		open := 0
		for _, path := range glob(t, fmt.Sprintf("/proc/%d/fd/*", k.Shim.PID)) {
			if !listens(t, k.Shim, path) {
				continue
			}
			open++
			info, err := os.ReadFile(strings.Replace(path, "/fd/", "/fdinfo/", 1))
			if err != nil {
				t.Fatal(err)
			}
			var flags int
			if _, err := fmt.Sscanf(string(info[strings.Index(string(info), "flags:"):]), "flags: %o", &flags); err != nil {
				t.Fatal(err)
			}
			if flags&unix.O_CLOEXEC == 0 {
				t.Errorf("%s is inherited: %s", path, info)
			}
		}
		if open != 1 {
			t.Errorf("%s is open %d times in the shim, want once", k.Shim.Address, open)
		}
	})
}

// listens reports whether a descriptor of the shim, by its path in /proc, is the socket that
// it serves. The descriptor itself says so: /proc/net/unix, read page by page, misses a socket
// when one before it goes meanwhile.
func listens(t *testing.T, s *harness.Shim, path string) bool {
	t.Helper()
	if to, _ := os.Readlink(path); !strings.HasPrefix(to, "socket:") {
		return false
	}
	fd, err := strconv.Atoi(filepath.Base(path))
	if err != nil {
		t.Fatal(err)
	}
	process, err := unix.PidfdOpen(s.PID, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(process)
	mine, err := unix.PidfdGetfd(process, fd, 0)
	if errors.Is(err, unix.EBADF) {
		return false // a connection that has ended since
	}
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(mine)
	accepts, err := unix.GetsockoptInt(mine, unix.SOL_SOCKET, unix.SO_ACCEPTCONN)
	if errors.Is(err, unix.ENOTSOCK) {
		return false
	}
	if err != nil {
		t.Fatal(err)
	}
	name, err := unix.Getsockname(mine)
	if err != nil {
		t.Fatal(err)
	}
	address, ok := name.(*unix.SockaddrUnix)
	return accepts == 1 && ok && "unix://"+address.Name == s.Address
}
