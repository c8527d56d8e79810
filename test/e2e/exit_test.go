package e2e

import (
	"fmt"
	"testing"

	"golang.org/x/sys/unix"
)

func TestExitCodes(t *testing.T) {
	t.Parallel()
	for _, code := range []uint32{0, 1, 42, 255} {
		t.Run(fmt.Sprintf("init %d", code), func(t *testing.T) {
			k := run(t, idOf(t), script(fmt.Sprintf("exit %d", code)))
			k.ends(code)
		})
	}
	k := run(t, idOf(t, "host"), forever())
	for _, code := range []uint32{0, 1, 42, 255} {
		t.Run(fmt.Sprintf("exec %d", code), func(t *testing.T) {
			k.in(t).exec(fmt.Sprintf("e%d", code), "sh", "-c", fmt.Sprintf("exit %d", code)).ends(code)
		})
	}
}

func TestDeathBySignal(t *testing.T) {
	t.Parallel()
	host := run(t, idOf(t, "host"), forever())
	for _, sig := range []unix.Signal{unix.SIGTERM, unix.SIGKILL, unix.SIGSEGV} {
		want := 128 + uint32(sig)
		t.Run("init "+unix.SignalName(sig), func(t *testing.T) {
			k := run(t, idOf(t), forever())
			k.kill(sig)
			k.ends(want)
		})
		t.Run("exec "+unix.SignalName(sig), func(t *testing.T) {
			j := host.in(t).exec(unix.SignalName(sig), "sleep", "1000000")
			j.kill(sig)
			j.ends(want)
		})
		t.Run("own hand "+unix.SignalName(sig), func(t *testing.T) {
			host.in(t).exec("own"+unix.SignalName(sig), "sh", "-c", fmt.Sprintf("kill -%d $$", sig)).ends(want)
		})
	}
}

// TestExitAtOnce: neither status nor output of a process is lost because it was
// short, a hundred times as an init and a hundred times as an exec.
func TestExitAtOnce(t *testing.T) {
	t.Parallel()
	const times = 100
	command := func(i int) []string {
		return []string{"sh", "-c", fmt.Sprintf("echo run %d; exit %d", i, i)}
	}
	said := func(t *testing.T, j *job, i int) {
		t.Helper()
		j.ends(uint32(i))
		if got, want := j.io.out.String(), fmt.Sprintf("run %d\n", i); got != want {
			t.Errorf("process %d wrote %q, want %q", i, got, want)
		}
	}
	t.Run("init", func(t *testing.T) {
		t.Parallel()
		for i := range times {
			id := idOf(t, fmt.Sprint(i))
			c := create(t, id, args(command(i)...))
			said(t, &start(t, c, newStreams(t)).job, i)
			removeContainer(bounded(t), t, c)
		}
	})
	t.Run("exec", func(t *testing.T) {
		t.Parallel()
		k := run(t, idOf(t), forever())
		for i := range times {
			said(t, k.exec(fmt.Sprint("e", i), command(i)...), i)
		}
	})
}
