package contract

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"containerd-shim-runsc/test/harness"
)

// What the shim and its runsc make is root's alone: nobody else can read, write or connect
// to it, or put something in its place.
func TestModes_OfAllThatTheShimMakes(t *testing.T) {
	both(t, func(t *testing.T, e *harness.Env) {
		log := filepath.Join(e.Dir, "l")
		e.Config = fmt.Sprintf("log_path = %q\nlog_level = \"debug\"\n", log+"/sub/%ID%.log")
		tasks := pod(e, "pod", harness.Container{ID: "c1", Terminal: true}, harness.Container{ID: "c2"})
		for _, k := range tasks {
			k.ExecRunning(harness.ExecOptions{ID: "e1", Terminal: k.ID == "c1"})
		}
		seen := map[string]bool{}
		for _, root := range []string{filepath.Join(e.Dir, "b"), e.SocketDir(), e.Root(), log} {
			err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
				if err != nil {
					return err
				}
				if theirs(root, path, e) {
					if d.IsDir() && d.Name() == "rootfs" {
						return fs.SkipDir
					}
					return nil
				}
				seen[d.Name()] = true
				others := fs.FileMode(0o077)
				if ofRunsc(path, d, e) {
					others = 0o022
				}
				return checkOwn(t, path, others)
			})
			if err != nil {
				t.Error(err)
			}
		}
		for _, name := range []string{"address", "shim.json", "init.jsonl", "pod.log", "sub", "s"} {
			if !seen[name] {
				t.Errorf("there was no %s to look at: %v", name, seen)
			}
		}
		if n := len(glob(t, filepath.Join(e.SocketDir(), "*"))); n != 1 {
			t.Errorf("there are %d sockets of shims", n)
		}
	})
}

// A command gives the streams that it gets to the sandbox's user. The host's /dev/null
// stays root's.
func TestModes_OfTheHostsNull(t *testing.T) {
	onRunsc(t, func(t *testing.T, e *harness.Env) {
		if !e.Old() { // which knows no other user of a sandbox than nobody
			e.Flags = "directfs = \"false\"\n"
		}
		root := e.Running(harness.Container{ID: "pod", Sandbox: true, NoIO: true})
		e.Running(harness.Container{ID: "c1", Pod: "pod", NoIO: true})
		root.ExecRunning(harness.ExecOptions{ID: "e1", NoIO: true})
		fi, err := os.Stat(os.DevNull)
		if err != nil {
			t.Fatal(err)
		}
		if st := fi.Sys().(*syscall.Stat_t); st.Uid != 0 || st.Gid != 0 || fi.Mode().Perm() != 0o666 {
			t.Errorf("%s is %d's and %d's, mode %s, want root's", os.DevNull, st.Uid, st.Gid, fi.Mode())
			if err := os.Chown(os.DevNull, 0, 0); err != nil {
				t.Error(err)
			}
		}
	})
}

// theirs tells of what is in a test's folders that containerd or the test itself has made.
func theirs(root, path string, e *harness.Env) bool {
	if root != filepath.Join(e.Dir, "b") {
		return false
	}
	depth := strings.Count(strings.TrimPrefix(path, root), "/")
	const inBundle = 3 // the namespace, the bundle, and what is in it
	return depth < inBundle || slices.Contains([]string{"rootfs", "log"}, filepath.Base(path))
}

// ofRunsc tells of a file that runsc makes as it likes, in a folder into which nobody comes.
func ofRunsc(path string, d fs.DirEntry, e *harness.Env) bool {
	return d.Name() == "sandbox.pid" || filepath.Dir(path) == e.RunscRoot() && !d.IsDir()
}

func checkOwn(t *testing.T, path string, others fs.FileMode) error {
	t.Helper()
	fi, err := os.Lstat(path)
	if err != nil {
		return err
	}
	if fi.Mode()&fs.ModeSymlink != 0 {
		t.Errorf("%s is a link", path)
		return nil
	}
	if fi.Mode().Perm()&others != 0 {
		t.Errorf("%s has mode %s", path, fi.Mode())
	}
	if st := fi.Sys().(*syscall.Stat_t); st.Uid != 0 || st.Gid != 0 {
		t.Errorf("%s is of user %d, group %d", path, st.Uid, st.Gid)
	}
	return nil
}

func glob(t *testing.T, pattern string) []string {
	t.Helper()
	found, err := filepath.Glob(pattern)
	if err != nil {
		t.Fatal(err)
	}
	return found
}
