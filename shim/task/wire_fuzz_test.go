package task

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"

	taskapi "github.com/containerd/containerd/api/runtime/task/v2"
	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"containerd-shim-runsc/proc"
	"containerd-shim-runsc/utils/cgroup"
)

// FuzzToWire checks that whatever an error says, it can be sent, is short, and is of the
// same kind on the other side.
func FuzzToWire(f *testing.F) {
	kinds := []error{
		errdefs.ErrNotFound, errdefs.ErrInvalidArgument, errdefs.ErrFailedPrecondition, errdefs.ErrAlreadyExists,
		errdefs.ErrUnavailable, errdefs.ErrNotImplemented, errdefs.ErrInternal, errdefs.ErrPermissionDenied, errdefs.ErrAborted,
	}
	f.Add("not found", uint16(1), uint(0), false)
	f.Add("two\nlines\xff", uint16(1), uint(1), true)
	f.Add("\n", uint16(maxText), uint(2), false)
	f.Add("\xff ", uint16(maxText/2), uint(3), true)
	f.Add("é", uint16(maxText), uint(4), true)
	f.Add("", uint16(1), uint(5), true)
	f.Fuzz(func(t *testing.T, piece string, times uint16, which uint, joined bool) {
		text := strings.Repeat(piece, min(int(times), 2*maxText/max(len(piece), 1)+1))
		kind := kinds[which%uint(len(kinds))]
		err := fmt.Errorf("%s: %w", text, kind)
		if joined {
			err = errors.Join(errors.New(text), err, errdefs.ErrUnknown)
		}
		sent := toWire(err)
		st, ok := status.FromError(sent)
		if !ok {
			t.Fatalf("%v has no code", sent)
		}
		if said := st.Message(); len(said) > maxText+len("...") || !utf8.ValidString(said) || strings.Contains(said, "\n") {
			t.Errorf("%d bytes: %.100q", len(said), said)
		}
		if _, err := proto.Marshal(st.Proto()); err != nil {
			t.Error(err)
		}
		if got := errgrpc.ToNative(sent); !errors.Is(got, kind) {
			t.Errorf("%v became %.100v", kind, got)
		}
	})
}

// FuzzExecProcess checks that whatever a caller sends for an exec is refused for what is wrong
// with it, or is an exec that can be asked for, and that nothing is written beside the bundle.
func FuzzExecProcess(f *testing.F) {
	const typeURL = "types.containerd.io/opencontainers/runtime-spec/1/Process"
	f.Add("e", typeURL, []byte(`{"args":["true"],"cwd":"/"}`), "/run/in", "file:///x", true)
	f.Add("../e", typeURL, []byte(`{"args":["true"]}`), "", "", false)
	f.Add("e", "", []byte(`{"args":[]}`), "", "", false)
	f.Add("e", typeURL, []byte(`{"args":["x"],"user":{"uid":-1}}`), "", "", false)
	f.Add("e", typeURL, []byte(`null`), "", "", false)
	f.Add("", typeURL, []byte("\x0a\x01x"), "", "", false)
	f.Fuzz(func(t *testing.T, execID, typeURL string, value []byte, stdin, stdout string, terminal bool) {
		s := newService(t)
		s.run("c", "")
		c, err := s.container("c")
		if err != nil {
			t.Fatal(err)
		}
		a := &anypb.Any{TypeUrl: typeURL, Value: value}
		_, err = s.execRPC(t.Context(), &taskapi.ExecProcessRequest{
			ID: "c", ExecID: execID, Spec: a, Stdin: stdin, Stdout: stdout, Terminal: terminal,
		})
		if err != nil {
			if !errdefs.IsInvalidArgument(err) && !errdefs.IsAlreadyExists(err) {
				t.Errorf("%q: %v", execID, err)
			}
		} else {
			p, err := toProcess(a)
			if err != nil || len(p.Args) == 0 {
				t.Errorf("taken is %+v, %v", p, err)
			}
			st, err := s.stateRPC(t.Context(), &taskapi.StateRequest{ID: "c", ExecID: execID})
			if err != nil || st.ExecID != execID || st.Stdin != stdin || st.Terminal != terminal || st.ExitStatus != proc.UnknownStatus {
				t.Errorf("%+v, %v", st, err)
			}
		}
		around, err := os.ReadDir(filepath.Dir(c.Bundle()))
		if err != nil || len(around) != 1 {
			t.Errorf("beside the bundle are %v, %v", around, err)
		}
	})
}

// FuzzToProcess checks that a process is the same when it is sent again, or is refused.
func FuzzToProcess(f *testing.F) {
	f.Add([]byte(`{"args":["true"],"cwd":"/","capabilities":{"bounding":["CAP_CHOWN"]}}`))
	f.Add([]byte(`{"args":["\ud800"],"rlimits":[{"hard":18446744073709551615}]}`))
	f.Add([]byte(`{"args":[""],"oomScoreAdj":0,"consoleSize":{"height":1}}`))
	f.Add([]byte(`{"args":null}`))
	f.Add([]byte(`[`))
	f.Fuzz(func(t *testing.T, value []byte) {
		p, err := toProcess(&anypb.Any{Value: value})
		if err != nil {
			if p != nil || !errdefs.IsInvalidArgument(err) {
				t.Errorf("%+v, %v", p, err)
			}
			return
		}
		b, err := json.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		again, err := toProcess(&anypb.Any{Value: b})
		if err != nil || !reflect.DeepEqual(p.Args, again.Args) || !reflect.DeepEqual(p.User.UID, again.User.UID) {
			t.Errorf("%+v became %+v, %v", p, again, err)
		}
	})
}

// FuzzUpdate checks that whatever resources a caller sends for a container of a pod, the
// pod's are such as can be set, or it is refused and all stays as it was: T9.
func FuzzUpdate(f *testing.F) {
	f.Add([]byte(`{"memory":{"limit":1024},"cpu":{"quota":50000,"period":100000,"shares":2}}`), []byte(`{"memory":{"limit":-1}}`))
	f.Add([]byte(`{"memory":{"limit":9223372036854775807}}`), []byte(`{"memory":{"limit":1}}`))
	f.Add([]byte(`{"cpu":{"quota":9223372036854775807,"period":1,"shares":18446744073709551615}}`), []byte(`{"cpu":{"quota":1,"period":18446744073709551615}}`))
	f.Add([]byte(`{"unified":{"memory.max":"1"}}`), []byte(`{`))
	f.Add([]byte(`null`), []byte(`[]`))
	f.Fuzz(func(t *testing.T, one, two []byte) {
		s := newService(t)
		s.run("pod", "")
		s.run("a", "pod")
		s.run("b", "pod")
		for i, value := range [][]byte{one, two, one} {
			id := []string{"a", "b", "a"}[i]
			given := len(s.runtimes[id].updates)
			_, err := s.updateRPC(t.Context(), &taskapi.UpdateTaskRequest{ID: id, Resources: &anypb.Any{Value: value}})
			if err != nil {
				if !errdefs.IsInvalidArgument(err) || len(s.runtimes[id].updates) > given {
					t.Errorf("%q: %v", value, err)
				}
				continue
			}
			for _, r := range s.runtimes[id].updates[given:] {
				checkSum(t, r)
			}
			if _, err := s.statsRPC(t.Context(), &taskapi.StatsRequest{ID: id}); err != nil {
				t.Error(err)
			}
		}
	})
}

// checkSum checks that a pod's resources are limits or none.
func checkSum(t *testing.T, r cgroup.PodResources) {
	t.Helper()
	sum := r.Sum
	if l := *sum.Memory.Limit; l < 1 && l != -1 {
		t.Errorf("the limit of memory is %d", l)
	}
	if q := *sum.CPU.Quota; q < 1 && q != -1 {
		t.Errorf("the quota is %d", q)
	}
	if sum.CPU.Shares != nil && *sum.CPU.Shares > cgroup.MaxShares {
		t.Errorf("the shares are %d", *sum.CPU.Shares)
	}
}
