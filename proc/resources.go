package proc

import (
	"encoding/json"
	"fmt"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"containerd-shim-runsc/utils/cgroup"
)

// MergeResources returns the old resources, nil for none, with what the update names
// in place of what they had.
func MergeResources(old, update *specs.LinuxResources) (*specs.LinuxResources, error) {
	merged := &specs.LinuxResources{}
	for _, r := range []*specs.LinuxResources{old, update} {
		if r == nil {
			continue
		}
		// What is not set is not in the JSON, and JSON that lacks a field leaves
		// what is there.
		b, err := json.Marshal(r)
		if err != nil {
			return nil, fmt.Errorf("encode resources: %w", err)
		}
		if err := json.Unmarshal(b, merged); err != nil {
			return nil, fmt.Errorf("merge resources: %w", err)
		}
	}
	return merged, nil
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
		sum += l
	}
	return &sum
}

// sumShares adds the CPU shares of those that have any.
func sumShares(all []*specs.LinuxResources) *uint64 {
	var sum *uint64
	for _, r := range all {
		if r == nil || r.CPU == nil || r.CPU.Shares == nil {
			continue
		}
		if sum == nil {
			sum = new(uint64)
		}
		*sum += *r.CPU.Shares
	}
	return sum
}
