package safe

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/containerd/errdefs"
)

func TestDo(t *testing.T) {
	err := Do("a thing", func() error {
		panic("no way on")
	})
	if !errdefs.IsInternal(err) || !strings.Contains(err.Error(), "a thing") || !strings.Contains(err.Error(), "no way on") {
		t.Errorf("a panic became %v", err)
	}
	want := errors.New("as it is")
	if err := Do("a thing", func() error { return want }); !errors.Is(err, want) {
		t.Errorf("an error became %v", err)
	}
}

func TestGo(t *testing.T) {
	synctest.Test(t, func(*testing.T) {
		Go("a thing", func() { panic("once") })
		synctest.Wait()
	})
}

func TestWithin(t *testing.T) {
	v, err := Within(t.Context(), "add", func() (int, error) { return 3, nil }, func(int) { t.Error("late") })
	if v != 3 || err != nil {
		t.Errorf("got %d, %v", v, err)
	}
	if _, err := Within(t.Context(), "add", func() (int, error) { panic("no") }, nil); !errdefs.IsInternal(err) {
		t.Errorf("a panic became %v", err)
	}
}

// TestWithin_Late: what comes too late is told and handed to the one who undoes it.
func TestWithin_Late(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		hang, undone := make(chan struct{}), 0
		_, err := Within(ctx, "stat /mnt", func() (int, error) {
			<-hang
			return 7, nil
		}, func(n int) { undone = n })
		if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "stat /mnt: given up after 10s") {
			t.Errorf("a hang became %v", err)
		}
		close(hang)
		synctest.Wait()
		if undone != 7 {
			t.Errorf("the late result was %d, not handed over", undone)
		}
	})
}
