package contract

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"containerd-shim-runsc/proc"
	"containerd-shim-runsc/test/fakerunsc/script"
	"containerd-shim-runsc/test/harness"
	"containerd-shim-runsc/utils/journal"
)

// record reads a process's record as it is on disk now.
func record(k *harness.Task, exec string) (rec proc.Record, err error) {
	name := "init.jsonl"
	if exec != "" {
		name = "exec-" + exec + ".jsonl"
	}
	return rec, journal.Last(filepath.Join(k.Bundle, name), 1<<20, &rec)
}

// recorded is record for one that must be there.
func recorded(t *testing.T, k *harness.Task, exec string) proc.Record {
	t.Helper()
	rec, err := record(k, exec)
	if err != nil {
		t.Fatalf("record of %s %s: %v", k.ID, exec, err)
	}
	return rec
}

func TestP17_RecordOfInit(t *testing.T) {
	both(t, func(t *testing.T, e *harness.Env) {
		k := e.Created(harness.Container{ID: "web", Args: harness.Shell("read x; exit 12")})
		rec := recorded(t, k, "")
		if rec.ID != "web" || rec.ExecID != "" || rec.PID != k.HostPID() || rec.State != "created" ||
			rec.Stdio.Stdin != k.IO.Stdin || rec.Stdio.Stdout != k.IO.Stdout || rec.Stdio.Stderr != k.IO.Stderr || rec.Stdio.Terminal {
			t.Errorf("after create the record is %+v", rec)
		}
		k.Start()
		if rec := recorded(t, k, ""); rec.State != "running" || rec.StartedAt.IsZero() {
			t.Errorf("after start the record is %+v", rec)
		}
		k.IO.Write("\n")
		exit := k.WaitFor(12)
		if rec := recorded(t, k, ""); rec.State != "stopped" || rec.Exit.Status != 12 || !rec.Exit.At.Equal(exit.ExitedAt.AsTime()) {
			t.Errorf("wait said %v, the record is %+v", exit, rec)
		}
	})
}

func TestP17_RecordOfExec(t *testing.T) {
	both(t, func(t *testing.T, e *harness.Env) {
		k := e.Running(harness.Container{ID: "web"})
		p := k.ExecRunning(harness.ExecOptions{ID: "e1", Terminal: true, Args: harness.Shell("read x; exit 13")})
		rec := recorded(t, k, "e1")
		if rec.ID != "web" || rec.ExecID != "e1" || rec.PID != p.HostPID() || rec.State != "running" || rec.StartedAt.IsZero() ||
			rec.Stdio.Stdout != p.IO.Stdout || !rec.Stdio.Terminal {
			t.Errorf("after start the record is %+v", rec)
		}
		p.IO.Write("\n")
		exit := p.WaitFor(13)
		if rec := recorded(t, k, "e1"); rec.State != "stopped" || rec.Exit.Status != 13 || !rec.Exit.At.Equal(exit.ExitedAt.AsTime()) {
			t.Errorf("wait said %v, the record is %+v", exit, rec)
		}
		bad := k.Exec(harness.ExecOptions{ID: "e2", Args: missing()})
		if _, err := bad.Calls.Start(); err == nil {
			t.Error("a missing program was started")
		}
		if rec := recorded(t, k, "e2"); rec.State != "stopped" || rec.Exit.Status != 128 {
			t.Errorf("after a failed start the record is %+v", rec)
		}
	})
}

func TestP17_BeforeTheEvent(t *testing.T) {
	both(t, func(t *testing.T, e *harness.Env) {
		k := e.Running(harness.Container{ID: "web"})
		for i := range 10 {
			id := fmt.Sprint("e", i)
			k.ExecRunning(harness.ExecOptions{ID: id, Args: harness.Shell("exit 5")})
			e.Events.Await("exit web/" + id)
			if rec := recorded(t, k, id); rec.State != "stopped" || rec.Exit.Status != 5 {
				t.Errorf("the exit was published and the record is %+v", rec)
			}
		}
	})
}

func TestP17_WrittenAtOnce(t *testing.T) {
	scripted(t, func(t *testing.T, e *harness.Env) {
		k := e.Running(harness.Container{ID: "web", Args: harness.Shell("read x; exit 3")})
		// Whatever moment a reader chooses, it finds a whole record or none.
		stop := make(chan struct{})
		var wg sync.WaitGroup
		for _, exec := range []string{"", "same"} {
			wg.Go(func() {
				for {
					select {
					case <-stop:
						return
					default:
					}
					if rec, err := record(k, exec); err != nil && !errors.Is(err, os.ErrNotExist) || err == nil && rec.ID != "web" {
						t.Errorf("the record of %q is %+v, %v", exec, rec, err)
						return
					}
				}
			})
		}
		for range 30 {
			p := k.ExecRunning(harness.ExecOptions{ID: "same", Args: harness.Shell("exit 5")})
			p.WaitFor(5)
			p.Delete()
		}
		k.IO.Write("\n")
		k.WaitFor(3)
		close(stop)
		wg.Wait()
	})
}

func TestP17_SurvivesTheShim(t *testing.T) {
	both(t, func(t *testing.T, e *harness.Env) {
		tasks := pod(e, "pod", harness.Container{ID: "c1", Args: harness.Shell("exit 17")})
		exit := tasks[1].WaitFor(17)
		pid := tasks[1].HostPID()
		tasks[1].Shim.Kill()
		resp, _, err := e.DeleteAction("c1")
		if err != nil {
			t.Fatal(err)
		}
		if resp.ExitStatus != 17 || int(resp.Pid) != pid || !resp.ExitedAt.AsTime().Equal(exit.ExitedAt.AsTime()) {
			t.Errorf("wait said %v of %d, delete after the shim's death says %v", exit, pid, resp)
		}
		if resp, _, err := e.DeleteAction("pod"); err != nil || resp.ExitStatus != 137 {
			t.Errorf("delete of what ran: %v, %v; want status 137", resp, err)
		}
	})
}

func TestP17_ShimKilledAtTheExit(t *testing.T) {
	scripted(t, func(t *testing.T, e *harness.Env) {
		// The event is refused, so nobody was told but the disk.
		k := e.Running(harness.Container{ID: "web", Args: harness.Shell("read x; exit 18")})
		e.Events.Await("start web")
		e.Events.Refuse()
		k.IO.Write("\n")
		e.Events.AwaitRefused(1)
		k.Shim.Kill()
		if resp, _, err := e.DeleteAction("web"); err != nil || resp.ExitStatus != 18 {
			t.Errorf("delete after the shim's death: %v, %v; want status 18", resp, err)
		}
	})
}

func TestP17_NoRecordOfAFailedCreate(t *testing.T) {
	scripted(t, func(t *testing.T, e *harness.Env) {
		k := e.Prepare(harness.Container{ID: "web"})
		e.Script.Set(script.Fault{Verb: "create", At: script.After, Do: script.Fail, Message: "no"})
		if _, err := k.TryCreate(); err == nil {
			t.Fatal("create succeeded")
		}
		if rec, err := record(k, ""); err == nil {
			t.Errorf("a failed create left the record %+v", rec)
		}
	})
}
