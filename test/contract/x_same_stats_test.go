package contract

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	cgroup1 "github.com/containerd/cgroups/v3/cgroup1/stats"
	cgroup2 "github.com/containerd/cgroups/v3/cgroup2/stats"
	"github.com/containerd/typeurl/v2"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"containerd-shim-runsc/test/harness"
)

// statsOf lists the statistics that are not zero: no two values are equal. It leaves out
// what depends on what the host has cached already (see page, and TestT7).
func statsOf(k *harness.Task) string {
	resp, err := k.Stats()
	if err != nil {
		return kindOf(err)
	}
	m, err := typeurl.UnmarshalAny(resp.Stats)
	if err != nil {
		return err.Error()
	}
	msg, ok := m.(proto.Message)
	if !ok {
		return fmt.Sprintf("%T is no message", m)
	}
	var list []string
	fields(msg.ProtoReflect(), "", &list)
	slices.Sort(list)
	return resp.Stats.TypeUrl + ": " + strings.Join(list, ", ")
}

// page matches the counts of the host's pages with files in them, and of page faults: any
// of them may be zero, if another process had the page in memory before.
var page = regexp.MustCompile(`^memory\.(total_)?(cache|(active_|inactive_|mapped_)?file|file_mapped|pg_?(maj_?)?fault)$`)

// fields lists the fields of a message that are set, and the names among them.
func fields(m protoreflect.Message, prefix string, list *[]string) {
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		name := prefix + string(f.Name())
		switch {
		case page.MatchString(name):
		case f.IsList() && f.Kind() == protoreflect.MessageKind:
			for i := range v.List().Len() {
				fields(v.List().Get(i).Message(), fmt.Sprintf("%s[%d].", name, i), list)
			}
		case f.IsList():
			*list = append(*list, fmt.Sprintf("%s (%d)", name, v.List().Len()))
		case f.Kind() == protoreflect.MessageKind:
			fields(v.Message(), name+".", list)
		case f.Kind() == protoreflect.StringKind:
			*list = append(*list, name+" "+v.String())
		default:
			*list = append(*list, name)
		}
		return true
	})
}

// checkCPU checks that the containers share the CPU time of their cgroup: what the
// sandbox itself counts is less.
func (w *world) checkCPU(t *testing.T, asked way) {
	t.Helper()
	for _, k := range w.tasks {
		k.IO.Out.Until(t, "worked")
	}
	before := hostCPU(t, w.e)
	var sum time.Duration
	for id, k := range w.tasks {
		resp, err := k.Stats()
		if err != nil {
			t.Fatalf("%s: stats of %s: %v", asked, id, err)
		}
		m, err := typeurl.UnmarshalAny(resp.Stats)
		if err != nil {
			t.Fatal(err)
		}
		switch m := m.(type) {
		case *cgroup1.Metrics:
			sum += time.Duration(m.GetCPU().GetUsage().GetTotal())
		case *cgroup2.Metrics:
			sum += time.Duration(m.GetCPU().GetUsageUsec()) * time.Microsecond
		}
	}
	// They are asked one after the other, and each changes a little what is asked.
	if after := hostCPU(t, w.e); sum < before*8/10 || sum > after*12/10 {
		t.Errorf("%s: the containers have used %s, their cgroup %s and then %s", asked, sum, before, after)
	}
}

// hostCPU is the CPU time of the pod's cgroup.
func hostCPU(t *testing.T, e *harness.Env) time.Duration {
	t.Helper()
	dir := filepath.Join(e.CgroupPrefix(), rootID)
	if !unified(t) {
		b, err := os.ReadFile(filepath.Join("/sys/fs/cgroup/cpuacct", dir, "cpuacct.usage"))
		if err != nil {
			t.Fatal(err)
		}
		n, err := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		return time.Duration(n)
	}
	b, err := os.ReadFile(filepath.Join("/sys/fs/cgroup", dir, "cpu.stat"))
	if err != nil {
		t.Fatal(err)
	}
	var n int64
	if _, err := fmt.Sscanf(string(b), "usage_usec %d", &n); err != nil {
		t.Fatal(err)
	}
	return time.Duration(n) * time.Microsecond
}
