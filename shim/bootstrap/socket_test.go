package bootstrap

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/containerd/errdefs"
)

// socketIn returns a path for a socket, short enough wherever tests run.
func socketIn(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "s")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return filepath.Join(dir, "s", "socket")
}

// listen makes a socket for path and listens, unless somebody does.
func listen(ctx context.Context, path string) (ln *os.File, joined bool, err error) {
	if ln, err = NewSocket(path); err != nil {
		return nil, false, err
	}
	if joined, err = Listen(ctx, ln); joined || err != nil {
		ln.Close()
		return nil, joined, err
	}
	return ln, false, nil
}

// dead leaves a socket at path as a killed shim does.
func dead(t *testing.T, path string) {
	t.Helper()
	ln, joined, err := listen(t.Context(), path)
	if err != nil || joined {
		t.Fatalf("joined %v, error %v", joined, err)
	}
	ln.Close()
}

func TestR1_ListenOnce(t *testing.T) {
	path := socketIn(t)
	ln, joined, err := listen(t.Context(), path)
	if err != nil || joined {
		t.Fatalf("joined %v, error %v", joined, err)
	}
	for what, want := range map[string]os.FileMode{
		path:               os.ModeSocket | 0o600,
		filepath.Dir(path): os.ModeDir | 0o700,
	} {
		info, err := os.Lstat(what)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode() != want {
			t.Errorf("mode of %s is %s, want %s", what, info.Mode(), want)
		}
	}
	if again, joined, err := listen(t.Context(), path); err != nil || !joined || again != nil {
		t.Errorf("second: %v, joined %v, error %v", again, joined, err)
	}

	// The file works as a listener, also after it was passed on.
	l, err := net.FileListener(ln)
	if err != nil {
		t.Fatal(err)
	}
	ln.Close()
	defer l.Close()
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()

	left, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(left) != 1 {
		t.Errorf("directory holds %v, error %v; want the socket alone", left, err)
	}
	if err := Remove(t.Context(), path); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(path); !os.IsNotExist(err) {
		t.Errorf("socket is still there: %v", err)
	}
	if err := Remove(t.Context(), path); err != nil {
		t.Errorf("second remove: %v", err)
	}
}

// Whoever removes the socket in the end has it before it is there, and may do so whatever
// became of it.
func TestR2_TheSocketIsSomebodysFromTheBeginning(t *testing.T) {
	path := socketIn(t)
	for _, bound := range []bool{false, true} {
		ln, err := NewSocket(path)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := os.Lstat(path); ln.Name() != path || !os.IsNotExist(err) {
			t.Errorf("%s is there already: %v", ln.Name(), err)
		}
		if bound {
			if joined, err := Listen(t.Context(), ln); joined || err != nil {
				t.Fatalf("joined %v, error %v", joined, err)
			}
		}
		if served, err := Served(t.Context(), path); err != nil || served != bound {
			t.Errorf("served %v, error %v", served, err)
		}
		// Though somebody else has it open.
		if err := Abandon(t.Context(), ln); err != nil {
			t.Error(err)
		}
		if _, err := os.Lstat(path); !os.IsNotExist(err) {
			t.Errorf("bound %t, and then abandoned: %v", bound, err)
		}
		ln.Close()
	}
	// Another's stays.
	mine, err := NewSocket(path)
	if err != nil {
		t.Fatal(err)
	}
	defer mine.Close()
	ln, _, err := listen(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	if err := Abandon(t.Context(), mine); err != nil {
		t.Error(err)
	}
	if served, err := Served(t.Context(), path); !served || err != nil {
		t.Errorf("served %v, error %v", served, err)
	}
}

func TestR1_ABusyShimIsAlive(t *testing.T) {
	path := socketIn(t)
	ln, _, err := listen(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	// Fill the queue of a shim that accepts nothing.
	for {
		state, conn := fill(t, path)
		if conn == nil {
			if state != living {
				t.Fatalf("a listener with a full queue counts as %d", state)
			}
			break
		}
		t.Cleanup(func() { conn.Close() })
	}
	if _, joined, err := listen(t.Context(), path); err != nil || !joined {
		t.Errorf("joined %v, error %v", joined, err)
	}
}

// fill takes one more place in the queue at path, and if there is none says
// what look finds.
func fill(t *testing.T, path string) (state, net.Conn) {
	t.Helper()
	conn, err := net.Dial("unix", path)
	if err == nil {
		return absent, conn
	}
	s, err := look(path)
	if err != nil {
		t.Fatal(err)
	}
	return s, nil
}

func TestR1_StaleSocketIsReplaced(t *testing.T) {
	path := socketIn(t)
	dead(t, path)
	ln, joined, err := listen(t.Context(), path)
	if err != nil || joined {
		t.Fatalf("joined %v, error %v", joined, err)
	}
	defer ln.Close()
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
}

func TestR2_RemoveStale(t *testing.T) {
	path := socketIn(t)
	if removed, err := RemoveStale(t.Context(), path); removed || err != nil {
		t.Errorf("no directory: removed %v, error %v", removed, err)
	}
	dead(t, path)
	if removed, err := RemoveStale(t.Context(), path); !removed || err != nil {
		t.Errorf("dead: removed %v, error %v", removed, err)
	}
	if removed, err := RemoveStale(t.Context(), path); removed || err != nil {
		t.Errorf("absent: removed %v, error %v", removed, err)
	}
	ln, _, err := listen(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	if removed, err := RemoveStale(t.Context(), path); removed || err != nil {
		t.Errorf("living: removed %v, error %v", removed, err)
	}
	if _, err := os.Lstat(path); err != nil {
		t.Errorf("a living shim lost its socket: %v", err)
	}
}

func TestR1_RefusedSockets(t *testing.T) {
	short := socketIn(t)
	dir := filepath.Dir(filepath.Dir(short))
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	open := filepath.Join(dir, "open")
	if err := os.Mkdir(open, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(open, 0o777); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name, path string
		kind       func(error) bool
	}{
		{"long", "/" + strings.Repeat("x", maxSocketPath), errdefs.IsInvalidArgument},
		{"relative", "socket", errdefs.IsInvalidArgument},
		{"file", file, errdefs.IsFailedPrecondition},
		{"below a file", filepath.Join(file, "s", "socket"), errdefs.IsInternal},
		{"directory of everybody", filepath.Join(open, "socket"), errdefs.IsPermissionDenied},
	} {
		if ln, joined, err := listen(t.Context(), tc.path); !tc.kind(err) || ln != nil || joined {
			t.Errorf("%s: joined %v, error %v", tc.name, joined, err)
		}
	}
	for _, path := range []string{file, filepath.Join(open, "socket"), "socket"} {
		if err := Remove(t.Context(), path); err == nil {
			t.Errorf("remove of %s succeeds", path)
		}
	}
	if b, err := os.ReadFile(file); err != nil || string(b) != "precious" {
		t.Errorf("file is %q, error %v", b, err)
	}
}

func TestR1_ASocketOfAnotherUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give a socket away")
	}
	path := socketIn(t)
	dead(t, path)
	if err := os.Chown(path, 65534, -1); err != nil {
		t.Fatal(err)
	}
	if _, _, err := listen(t.Context(), path); !errdefs.IsPermissionDenied(err) {
		t.Errorf("socket: error is %v, want PermissionDenied", err)
	}
	if err := os.Chown(filepath.Dir(path), 65534, -1); err != nil {
		t.Fatal(err)
	}
	if _, _, err := listen(t.Context(), path); !errdefs.IsPermissionDenied(err) {
		t.Errorf("directory: error is %v, want PermissionDenied", err)
	}
}

func TestR1_ALockThatIsNotLetGoIsNotWaitedFor(t *testing.T) {
	path := socketIn(t)
	if err := makeDir(filepath.Dir(path)); err != nil {
		t.Fatal(err)
	}
	unlock, err := lockDir(t.Context(), filepath.Dir(path))
	if err != nil {
		t.Fatal(err)
	}
	defer unlock()
	for what, call := range map[string]func(context.Context) error{
		"listen": func(ctx context.Context) error {
			_, _, err := listen(ctx, path)
			return err
		},
		"remove": func(ctx context.Context) error { return Remove(ctx, path) },
		"remove stale": func(ctx context.Context) error {
			_, err := RemoveStale(ctx, path)
			return err
		},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		err := call(ctx)
		cancel()
		if !errdefs.IsUnavailable(err) || !strings.Contains(err.Error(), fmt.Sprint("process ", os.Getpid())) {
			t.Errorf("%s: %v, want Unavailable that says who has the lock", what, err)
		}
	}
}

func TestR1_StartsAtTheSameMoment(t *testing.T) {
	for round := range 20 {
		path := socketIn(t)
		if round%2 == 1 {
			dead(t, path)
		}
		const starts = 16
		var (
			group sync.WaitGroup
			begin = make(chan struct{})
			won   = make(chan *os.File, starts)
		)
		for range starts {
			group.Go(func() {
				<-begin
				ln, joined, err := listen(t.Context(), path)
				if err != nil || joined == (ln != nil) {
					t.Errorf("listener %v, joined %v, error %v", ln, joined, err)
				}
				if ln != nil {
					won <- ln
				}
			})
		}
		close(begin)
		group.Wait()
		close(won)
		winners := 0
		for ln := range won {
			winners++
			ln.Close()
		}
		if winners != 1 {
			t.Fatalf("%d of %d starts have the listener", winners, starts)
		}
	}
}
