package task

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	taskapi "github.com/containerd/containerd/api/runtime/task/v2"
	"github.com/containerd/errdefs"

	"containerd-shim-runsc/proc"
	"containerd-shim-runsc/test/hungfs"
)

// TestT13_ABundleThatHangs: what comes before anything of the bundle is read is that its id
// is taken, and that only as long as a create may last.
func TestT13_ABundleThatHangs(t *testing.T) {
	s := newService(t)
	dir := t.TempDir()
	goOn := hungfs.On(t, dir)
	r := &taskapi.CreateTaskRequest{ID: "web", Bundle: dir}
	done := make(chan error, 1)
	go func() {
		_, err := s.createRPC(context.Background(), r)
		done <- err
	}()
	taken := func() bool {
		s.Service.mu.Lock()
		defer s.Service.mu.Unlock()
		return s.tasks["web"] != nil
	}
	for begin := time.Now(); !taken(); time.Sleep(time.Millisecond) {
		if time.Since(begin) > proc.CreateTimeout/2 {
			goOn()
			t.Fatal("the create hangs in what is not bounded")
		}
	}
	if _, err := s.createRPC(t.Context(), r); !errdefs.IsAlreadyExists(err) {
		t.Errorf("the same again: %v", err)
	}
	goOn()
	if err := <-done; err == nil {
		t.Error("created of nothing")
	}
}

// TestT13_ARuntimeThatHangs: what is written into a bundle may be on a file system that does
// not answer.
func TestT13_ARuntimeThatHangs(t *testing.T) {
	dir := bundle(t, "")
	synctest.Test(t, func(t *testing.T) {
		s := newService(t)
		goOn := make(chan struct{})
		s.cfg.NewRuntime = func(Request) (proc.Runtime, error) {
			<-goOn
			return nil, errdefs.ErrUnavailable
		}
		began := time.Now()
		_, err := s.createRPC(t.Context(), &taskapi.CreateTaskRequest{ID: "web", Bundle: dir})
		if took := time.Since(began); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "web") || took != proc.CreateTimeout {
			t.Errorf("after %s: %v", took, err)
		}
		close(goOn)
	})
}
