package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"math/bits"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Limits are what the processes of a cgroup may use together. 0 is no limit, and for
// Shares none that is known.
type Limits struct {
	// Memory is in bytes.
	Memory int64
	// Quota is CPU time in microseconds for each DefaultPeriod.
	Quota int64
	// Shares is the weight against other cgroups, as v1 counts it: 2 to 262144.
	Shares uint64
}

// DefaultPeriod is the period in which quotas are counted here, in microseconds: the
// kernel's default (cpu.cfs_period_us).
const DefaultPeriod = 100_000

// MaxShares is the most that the kernel takes for shares, and for what is above.
const MaxShares = 262144

// LimitsOf returns the limits among the resources of a spec.
func LimitsOf(res *specs.LinuxResources) Limits {
	var l Limits
	if m := res.Memory; m != nil && m.Limit != nil {
		l.Memory = max(*m.Limit, 0)
	}
	c := res.CPU
	if c == nil {
		return l
	}
	if c.Quota != nil && *c.Quota > 0 {
		period := uint64(0)
		if c.Period != nil {
			period = *c.Period
		}
		l.Quota = Quota(*c.Quota, period)
	}
	if c.Shares != nil {
		l.Shares = min(*c.Shares, MaxShares)
	}
	return l
}

// Resources returns the limits as a spec has them.
func (l Limits) Resources() *specs.LinuxResources {
	res := &specs.LinuxResources{CPU: &specs.LinuxCPU{}, Memory: &specs.LinuxMemory{}}
	if l.Quota > 0 {
		period := uint64(DefaultPeriod)
		res.CPU.Quota, res.CPU.Period = &l.Quota, &period
	}
	if l.Shares > 0 {
		res.CPU.Shares = &l.Shares
	}
	if l.Memory > 0 {
		res.Memory.Limit = &l.Memory
	}
	return res
}

// Quota returns a quota of some period, 0 for the default, as one of the DefaultPeriod. What
// is too much for a number is the largest, and of less than nothing it returns 0.
func Quota(quota int64, period uint64) int64 {
	if period == 0 || quota <= 0 {
		return max(quota, 0)
	}
	high, low := bits.Mul64(uint64(quota), DefaultPeriod)
	if high >= period {
		return math.MaxInt64
	}
	q, _ := bits.Div64(high, low, period)
	return int64(min(q, math.MaxInt64))
}

// Sum returns a and b together, or the number that is next to it where that is too much:
// who sets limits may set any.
func Sum(a, b int64) int64 {
	switch {
	case b > 0 && a > math.MaxInt64-b:
		return math.MaxInt64
	case b < 0 && a < math.MinInt64-b:
		return math.MinInt64
	}
	return a + b
}

// Limits returns the limits of the cgroup itself, not those of the ones above it. What
// the host has no controller for is no limit.
func (m Membership) Limits() (Limits, error) {
	memory, err := m.memoryLimit()
	if err != nil {
		return Limits{}, err
	}
	quota, err := m.cpuQuota()
	if err != nil {
		return Limits{}, err
	}
	return Limits{Memory: memory, Quota: quota}, nil
}

// unlimitedV1 is the least value that v1's memory.limit_in_bytes shows where there is no
// limit: the largest number of bytes in whole pages (PAGE_COUNTER_MAX), whatever the
// size of a page up to 64 KiB is.
const unlimitedV1 = math.MaxInt64 &^ 0xffff

func (m Membership) memoryLimit() (int64, error) {
	text, err := read(m.File("memory", "memory.limit_in_bytes", "memory.max"))
	if err != nil || text == "" || text == "max" {
		return 0, err
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n >= unlimitedV1 {
		return 0, err
	}
	return n, nil
}

func (m Membership) cpuQuota() (int64, error) {
	file := m.File("cpu", "cpu.cfs_quota_us", "cpu.max")
	text, err := read(file)
	if err != nil || text == "" {
		return 0, err
	}
	quota, period, both := strings.Cut(text, " ")
	if !both {
		if period, err = read(filepath.Join(filepath.Dir(file), "cpu.cfs_period_us")); err != nil {
			return 0, err
		}
	}
	if quota == "max" {
		return 0, nil
	}
	q, err := strconv.ParseInt(quota, 10, 64)
	if err != nil || q <= 0 {
		return 0, err
	}
	p, err := strconv.ParseInt(period, 10, 64)
	if err != nil || p <= 0 {
		return 0, err
	}
	return Quota(q, uint64(p)), nil
}

// SetLimits changes the limits of the cgroup: 0 takes a limit away, but leaves Shares. It
// is for cgroups that are not systemd's, which would set them back.
func (m Membership) SetLimits(l Limits) error {
	values := limitValues{memory: "-1", quota: "-1"}
	if !m.hasV1("memory") {
		values = limitValues{memory: "max", quota: "max"}
	}
	if l.Memory > 0 {
		values.memory = strconv.FormatInt(l.Memory, 10)
	}
	if l.Quota > 0 {
		values.quota = strconv.FormatInt(l.Quota, 10)
	}
	if l.Shares > 0 {
		values.shares = strconv.FormatUint(l.Shares, 10)
		values.weight = strconv.FormatUint(weight(l.Shares), 10)
	}
	if m.hasV1("memory") {
		return m.setV1(values)
	}
	return m.setUnified(values)
}

// limitValues are limits as they are written; "" is not.
type limitValues struct{ memory, quota, shares, weight string }

func (m Membership) setV1(v limitValues) error {
	// That of memory comes first, as it is the one that may be refused.
	err := m.write("memory", "memory.limit_in_bytes", v.memory)
	if errors.Is(err, unix.EINVAL) {
		// It may not be above the limit of memory and swap together.
		err = errors.Join(
			m.write("memory", "memory.memsw.limit_in_bytes", "-1"),
			m.write("memory", "memory.limit_in_bytes", v.memory))
	}
	if err != nil {
		return err
	}
	return errors.Join(
		m.write("cpu", "cpu.cfs_period_us", strconv.Itoa(DefaultPeriod)),
		m.write("cpu", "cpu.cfs_quota_us", v.quota),
		m.write("cpu", "cpu.shares", v.shares))
}

func (m Membership) setUnified(v limitValues) error {
	if err := m.write("memory", "memory.max", v.memory); err != nil {
		return err
	}
	return errors.Join(
		m.write("cpu", "cpu.max", v.quota+" "+strconv.Itoa(DefaultPeriod)),
		m.write("cpu", "cpu.weight", v.weight))
}

// weight turns v1's shares, 2 to 262144, into v2's weight, 1 to 10000, as the kubelet
// does it (getCPUWeight in pkg/kubelet/cm) and runsc.
func weight(shares uint64) uint64 {
	shares = min(max(shares, 2), MaxShares)
	return 1 + (shares-2)*9999/262142
}

// write writes a value into a controller's file, unless it is "".
func (m Membership) write(controller, file, value string) error {
	if value == "" {
		return nil
	}
	f, err := os.OpenFile(m.File(controller, file, file), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(value)
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("set %s: %w", value, err)
	}
	return nil
}

// read returns the first line of a file, or "" if there is no such file.
func read(file string) (string, error) {
	b, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	line, _, _ := strings.Cut(string(b), "\n")
	return line, nil
}
