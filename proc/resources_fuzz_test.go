package proc

import (
	"encoding/json"
	"reflect"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"containerd-shim-runsc/utils/cgroup"
)

// FuzzMergeResources checks that an update counts where it says something, and what was there
// before where it does not: T9.
func FuzzMergeResources(f *testing.F) {
	f.Add([]byte(`{"memory":{"limit":1,"swap":2},"cpu":{"shares":3}}`), []byte(`{"memory":{"limit":5}}`))
	f.Add([]byte(`{"devices":[{"allow":true,"type":"c","major":1,"access":"rwm"}]}`), []byte(`{"devices":[{"allow":false,"access":"rwm"}]}`))
	f.Add([]byte(`{"unified":{"a":"1"},"hugepageLimits":[{"pageSize":"2MB","limit":1}]}`), []byte(`{"unified":{"b":"2"},"hugepageLimits":[{"limit":0}]}`))
	f.Add([]byte(`{"blockIO":{"weight":1,"weightDevice":[{"major":1,"weight":9}]}}`), []byte(`{"blockIO":{"weightDevice":[{"minor":2}]}}`))
	f.Add([]byte(`{"pids":{"limit":5}}`), []byte(`{"pids":{}}`))
	f.Fuzz(func(t *testing.T, b, b2 []byte) {
		var old, update, copied specs.LinuxResources
		if json.Unmarshal(b, &old) != nil || json.Unmarshal(b2, &update) != nil || json.Unmarshal(b, &copied) != nil {
			return
		}
		merged, err := MergeResources(&old, &update)
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(old, copied) {
			t.Errorf("the old ones became %+v", old)
		}
		if len(update.Devices) > 0 && !reflect.DeepEqual(merged.Devices, update.Devices) {
			t.Errorf("the devices are %+v", merged.Devices)
		}
		if len(update.HugepageLimits) > 0 && !reflect.DeepEqual(merged.HugepageLimits, update.HugepageLimits) {
			t.Errorf("the huge pages are %+v", merged.HugepageLimits)
		}
		is, was, said := cgroup.LimitsOf(merged), cgroup.LimitsOf(&old), cgroup.LimitsOf(&update)
		switch names := update.Memory != nil && update.Memory.Limit != nil; {
		case names && is.Memory != said.Memory, !names && is.Memory != was.Memory:
			t.Errorf("%+v and %+v are %+v", was, said, is)
		}
		// What was merged already changes nothing.
		again, err := MergeResources(merged, &update)
		if err != nil || cgroup.LimitsOf(again) != is {
			t.Errorf("%+v became %+v, %v", is, again, err)
		}
		if none, err := MergeResources(nil, nil); err != nil || !reflect.DeepEqual(none, &specs.LinuxResources{}) {
			t.Errorf("%+v, %v", none, err)
		}
	})
}

// FuzzSumResources checks that containers may use no less together than each of them: T9.
func FuzzSumResources(f *testing.F) {
	f.Add([]byte(`{"memory":{"limit":1024},"cpu":{"quota":5,"period":10,"shares":2}}`), []byte(`{"memory":{"limit":1},"cpu":{"quota":5,"shares":4}}`))
	f.Add([]byte(`{"memory":{"limit":9223372036854775807}}`), []byte(`{"memory":{"limit":9223372036854775807}}`))
	f.Add([]byte(`{"cpu":{"quota":9223372036854775807,"period":1}}`), []byte(`{"cpu":{"quota":1,"period":1}}`))
	f.Add([]byte(`{"cpu":{"shares":18446744073709551615}}`), []byte(`{"cpu":{"shares":2}}`))
	f.Add([]byte(`{"memory":{"limit":-7}}`), []byte(`{}`))
	f.Fuzz(func(t *testing.T, b, b2 []byte) {
		var one, other specs.LinuxResources
		if json.Unmarshal(b, &one) != nil || json.Unmarshal(b2, &other) != nil {
			return
		}
		for _, all := range [][]*specs.LinuxResources{{}, {&one}, {&one, &other}, {&one, nil}, {&one, &other, &one, &other}} {
			sum := SumResources(all...)
			is := cgroup.LimitsOf(sum)
			if m := *sum.Memory.Limit; len(all) > 0 && m < 1 && m != unlimited {
				t.Errorf("the limit of memory is %d", m)
			}
			if q := *sum.CPU.Quota; len(all) > 0 && q < 1 && q != unlimited {
				t.Errorf("the quota is %d", q)
			}
			for _, r := range all {
				if r == nil {
					continue
				}
				l := cgroup.LimitsOf(r)
				if is.Memory > 0 && is.Memory < l.Memory || is.Quota > 0 && is.Quota < l.Quota || is.Shares < l.Shares {
					t.Errorf("together %+v, and one has %+v", is, l)
				}
				if is.Memory > 0 && l.Memory == 0 || is.Quota > 0 && l.Quota == 0 {
					t.Errorf("together %+v, and one has no limit: %+v", is, l)
				}
			}
		}
	})
}
