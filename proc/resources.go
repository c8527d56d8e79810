package proc

import (
	"bytes"
	"encoding/json"
	"fmt"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"containerd-shim-runsc/utils/cgroup"
)

// MergeResources returns the old resources, nil for none, with what the update names
// in place of what they had.
func MergeResources(old, update *specs.LinuxResources) (*specs.LinuxResources, error) {
	all := map[string]any{}
	for _, r := range []*specs.LinuxResources{old, update} {
		if r == nil {
			continue
		}
		// What is not set is not in the JSON.
		b, err := json.Marshal(r)
		if err != nil {
			return nil, fmt.Errorf("encode resources: %w", err)
		}
		fields := map[string]any{}
		d := json.NewDecoder(bytes.NewReader(b))
		d.UseNumber()
		if err := d.Decode(&fields); err != nil {
			return nil, fmt.Errorf("merge resources: %w", err)
		}
		lay(all, fields)
	}
	b, err := json.Marshal(all)
	if err != nil {
		return nil, fmt.Errorf("encode resources: %w", err)
	}
	merged := &specs.LinuxResources{}
	if err := json.Unmarshal(b, merged); err != nil {
		return nil, fmt.Errorf("merge resources: %w", err)
	}
	return merged, nil
}

// lay lays fields over others. A list replaces the other as a whole.
func lay(under, over map[string]any) {
	for key, value := range over {
		below, isBoth := under[key].(map[string]any)
		if fields, ok := value.(map[string]any); ok && isBoth {
			lay(below, fields)
		} else {
			under[key] = value
		}
	}
}

// SumResources returns what containers with these resources may use together. A
// container without a limit, nil included, makes the sum unlimited.
func SumResources(all ...*specs.LinuxResources) *specs.LinuxResources {
	sum := &specs.LinuxResources{Memory: &specs.LinuxMemory{}, CPU: &specs.LinuxCPU{}}
	sum.Memory.Limit = sumLimits(all, func(l cgroup.Limits) int64 { return l.Memory })
	sum.CPU.Shares = sumShares(all)
	// Quotas are per period, so they are added in one period's terms.
	period := uint64(cgroup.DefaultPeriod)
	sum.CPU.Quota = sumLimits(all, func(l cgroup.Limits) int64 { return l.Quota })
	if *sum.CPU.Quota > 0 {
		sum.CPU.Period = &period
	}
	return sum
}

// unlimited is how cgroups spell that there is no limit.
const unlimited = -1

func sumLimits(all []*specs.LinuxResources, limit func(cgroup.Limits) int64) *int64 {
	sum := int64(0)
	for _, r := range all {
		l := int64(0)
		if r != nil {
			l = limit(cgroup.LimitsOf(r))
		}
		if l == 0 {
			none := int64(unlimited)
			return &none
		}
		sum = cgroup.Sum(sum, l)
	}
	return &sum
}

// sumShares adds the CPU shares of those that have any, up to the most that there can be.
func sumShares(all []*specs.LinuxResources) *uint64 {
	var sum *uint64
	for _, r := range all {
		if r == nil || r.CPU == nil || r.CPU.Shares == nil {
			continue
		}
		if sum == nil {
			sum = new(uint64)
		}
		*sum = min(*sum+min(*r.CPU.Shares, cgroup.MaxShares), cgroup.MaxShares)
	}
	return sum
}
