package cgroup

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
)

func TestOwnUsageGrows(t *testing.T) {
	m, err := Of(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	before, err := m.CPU()
	if err != nil {
		t.Fatal(err)
	}
	for after := before; after.Total == before.Total; {
		if after, err = m.CPU(); err != nil {
			t.Fatal(err)
		}
		if after.Total < before.Total {
			t.Fatalf("%+v after %+v", after, before)
		}
	}
}

func TestFileByVersion(t *testing.T) {
	v1 := Membership{v1: map[string]string{"memory": "/pod/c"}, unified: "/u"}
	v2 := Membership{unified: "/pod/c"}
	if got, want := v1.File("memory", "a", "b"), Root+"/memory/pod/c/a"; got != want {
		t.Errorf("v1: %s, want %s", got, want)
	}
	if got, want := v2.File("memory", "a", "b"), Root+"/pod/c/b"; got != want {
		t.Errorf("v2: %s, want %s", got, want)
	}
}

func TestNoProcess(t *testing.T) {
	if m, err := Of(1 << 30); err == nil {
		t.Errorf("%+v", m)
	}
}

func TestValue(t *testing.T) {
	file := filepath.Join(t.TempDir(), "memory.events")
	for text, want := range map[string]uint64{
		"low 0\noom 3\noom_kill 3\noom_group_kill 0\n": 3,
		"oom_kill_disable 0\nunder_oom 0\noom_kill 4":  4,
	} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if n, err := Value(file, "oom_kill"); n != want || err != nil {
			t.Errorf("%q: %d, %v", text, n, err)
		}
	}
	for _, text := range []string{"", "oom_kill\n", "oom_kill x\n", "oom_kill -1\n"} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if n, err := Value(file, "oom_kill"); err == nil {
			t.Errorf("%q: %d", text, n)
		}
	}
	if _, err := Value(file+"x", "oom_kill"); err == nil {
		t.Error("no file is no error")
	}
}

func TestJoin(t *testing.T) {
	if err := Join("none-of-this-name", os.Getpid()); !errdefs.IsInvalidArgument(err) {
		t.Errorf("no cgroup: %v", err)
	}
	if os.Geteuid() != 0 {
		t.Skip("only root makes cgroups")
	}
	name := fmt.Sprint("cgroup-test-", os.Getpid())
	for _, dir := range Dirs(name) {
		if filepath.Base(filepath.Dir(dir)) == "cpuset" {
			continue // a new one takes no process before it is set up
		}
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := os.Remove(dir); err != nil {
				t.Error(err)
			}
		})
	}
	cmd := exec.CommandContext(t.Context(), "cat")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if err := Join(name, cmd.Process.Pid); err != nil {
		t.Error(err)
	}
	m, err := Of(cmd.Process.Pid)
	if err != nil {
		t.Error(err)
	}
	if got, want := m.File("memory", "x", "x"), Root; !strings.HasPrefix(got, want) || !strings.Contains(got, name) {
		t.Errorf("its memory is counted in %s", got)
	}
	if err := Join(name, 1<<30); !errdefs.IsFailedPrecondition(err) {
		t.Errorf("no process: %v", err)
	}
	_ = stdin.Close()
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}
