package cgroup

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Unlimited is a limit that there is not.
const Unlimited = math.MaxUint64

// CPU is a use of CPU time, in nanoseconds. It only grows.
type CPU struct {
	Total, User, Kernel uint64
	// Periods are those in which there was something to run, of which some were
	// cut short for ThrottledTime because the quota was used up.
	Periods, ThrottledPeriods, ThrottledTime uint64
}

// Memory is a use of memory, in bytes. What is not known is 0, but for limits.
type Memory struct {
	Usage, Max uint64
	// Limit is MemoryLimit. Failures is how often the cgroup's own was hit.
	Limit, Failures uint64
	// Anonymous, Shared, File and Kernel are what Usage is made of. Shared is memory that
	// processes share, and files in memory. Of the kernel's, v2's metrics have the stacks
	// alone, and so has this.
	Anonymous, Shared, File, Kernel uint64
	// MappedFile, ActiveFile and InactiveFile are parts of File, the last of which the
	// kernel takes back first.
	MappedFile, ActiveFile, InactiveFile uint64
	// Swap is beside Usage. SwapLimit is for it alone with v2, for both with v1.
	Swap, SwapLimit uint64
	// PageFaults and MajorPageFaults are counted, not bytes.
	PageFaults, MajorPageFaults uint64
}

// ticks is in how many parts the kernel counts a second of CPU time for programs
// (USER_HZ), and micro how many nanoseconds are in a microsecond, in which v2 counts.
const (
	ticks = 100
	micro = 1000
)

// CPU returns the CPU time that the cgroup has used.
func (m Membership) CPU() (CPU, error) {
	dir, unified := m.Dir("cpuacct")
	if unified {
		stat, err := values(filepath.Join(dir, "cpu.stat"))
		return CPU{
			Total: stat["usage_usec"] * micro, User: stat["user_usec"] * micro, Kernel: stat["system_usec"] * micro,
			Periods: stat["nr_periods"], ThrottledPeriods: stat["nr_throttled"], ThrottledTime: stat["throttled_usec"] * micro,
		}, err
	}
	total, err := number(filepath.Join(dir, "cpuacct.usage"))
	if err != nil {
		return CPU{}, err
	}
	use := CPU{Total: total}
	if stat, err := values(filepath.Join(dir, "cpuacct.stat")); err == nil {
		use.User, use.Kernel = stat["user"]*(1e9/ticks), stat["system"]*(1e9/ticks)
	}
	if stat, err := values(m.File("cpu", "cpu.stat", "")); err == nil {
		use.Periods, use.ThrottledPeriods, use.ThrottledTime = stat["nr_periods"], stat["nr_throttled"], stat["throttled_time"]
	}
	return use, nil
}

// Memory returns the memory that the cgroup uses, those in it included.
func (m Membership) Memory() (Memory, error) {
	dir, unified := m.Dir("memory")
	if unified {
		return m.memoryUnified(dir)
	}
	usage, err := number(filepath.Join(dir, "memory.usage_in_bytes"))
	if err != nil {
		return Memory{}, err
	}
	stat, err := values(filepath.Join(dir, "memory.stat"))
	if err != nil {
		return Memory{}, err
	}
	anonymous, cache, shared := stat["total_rss"], stat["total_cache"], stat["total_shmem"]
	return Memory{
		Usage:    usage,
		Max:      known(filepath.Join(dir, "memory.max_usage_in_bytes")),
		Limit:    limitV1(stat["hierarchical_memory_limit"]),
		Failures: m.MemoryFailures(),
		// v1 counts what is shared as cache, and the kernel's beside both.
		Anonymous: anonymous, Shared: shared, File: Less(cache, shared), Kernel: Less(usage, anonymous+cache),
		MappedFile: stat["total_mapped_file"], ActiveFile: stat["total_active_file"], InactiveFile: stat["total_inactive_file"],
		Swap: stat["total_swap"], SwapLimit: limitV1(stat["hierarchical_memsw_limit"]),
		PageFaults: stat["total_pgfault"], MajorPageFaults: stat["total_pgmajfault"],
	}, nil
}

func (m Membership) memoryUnified(dir string) (Memory, error) {
	usage, err := number(filepath.Join(dir, "memory.current"))
	if err != nil {
		return Memory{}, err
	}
	stat, err := values(filepath.Join(dir, "memory.stat"))
	if err != nil {
		return Memory{}, err
	}
	use := Memory{
		Usage: usage,
		Max:   known(filepath.Join(dir, "memory.peak")),
		// "file" counts what is shared too.
		Anonymous: stat["anon"], Shared: stat["shmem"], File: Less(stat["file"], stat["shmem"]), Kernel: stat["kernel_stack"],
		MappedFile: stat["file_mapped"], ActiveFile: stat["active_file"], InactiveFile: stat["inactive_file"],
		Swap:       known(filepath.Join(dir, "memory.swap.current")),
		PageFaults: stat["pgfault"], MajorPageFaults: stat["pgmajfault"],
	}
	use.Failures = m.MemoryFailures()
	use.Limit, use.SwapLimit = m.MemoryLimit(), m.lowest("memory.swap.max")
	return use, nil
}

// MemoryFailures returns how often the limit of memory was hit.
func (m Membership) MemoryFailures() uint64 {
	dir, unified := m.Dir("memory")
	if !unified {
		return known(filepath.Join(dir, "memory.failcnt"))
	}
	events, _ := values(filepath.Join(dir, "memory.events"))
	return events["max"]
}

// MemoryUse returns the usage and its limit alone, which takes less time.
func (m Membership) MemoryUse() (Memory, error) {
	usage, err := number(m.File("memory", "memory.usage_in_bytes", "memory.current"))
	if err != nil {
		return Memory{}, err
	}
	return Memory{Usage: usage, Limit: m.MemoryLimit()}, nil
}

// MemoryLimit returns how much memory the cgroup may use: the lowest of its own limit and
// of those above it.
func (m Membership) MemoryLimit() uint64 {
	if _, unified := m.Dir("memory"); unified {
		return m.lowest("memory.max")
	}
	return limitV1(m.lowest("memory.limit_in_bytes"))
}

// lowest returns the lowest limit of the cgroup and of those above it. The topmost has
// none.
func (m Membership) lowest(name string) uint64 {
	limit := uint64(Unlimited)
	path := filepath.Clean("/" + m.Path())
	for dir, _ := m.Dir("memory"); path != "/"; dir, path = filepath.Dir(dir), filepath.Dir(path) {
		if n, err := number(filepath.Join(dir, name)); err == nil {
			limit = min(limit, n)
		}
	}
	return limit
}

// PIDLimit returns how many processes and threads the cgroup may have.
func (m Membership) PIDLimit() (uint64, error) {
	return number(m.File("pids", "pids.max", "pids.max"))
}

// limitV1 returns a limit that v1 shows, as it is meant.
func limitV1(n uint64) uint64 {
	if n == 0 || n >= unlimitedV1 {
		return Unlimited
	}
	return n
}

// Less returns a less b, and 0 for a negative difference: numbers that are read one after
// the other need not fit.
func Less(a, b uint64) uint64 { return a - min(a, b) }

// known is number for a file that need not be there.
func known(file string) uint64 {
	n, err := number(file)
	if err != nil {
		return 0
	}
	return n
}

// number returns the one number in a file.
func number(file string) (uint64, error) {
	b, err := slurp(file)
	if err != nil {
		return 0, err
	}
	text := strings.TrimSpace(string(b))
	if text == "max" {
		return Unlimited, nil
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", file, err)
	}
	return n, nil
}

// values returns the numbers in a file of keys and numbers.
func values(file string) (map[string]uint64, error) {
	b, err := slurp(file)
	if err != nil {
		return nil, err
	}
	all := map[string]uint64{}
	for line := range strings.Lines(string(b)) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		if n, err := strconv.ParseUint(value, 10, 64); err == nil {
			all[key] = n
		}
	}
	return all, nil
}

// slurp reads one of the kernel's files, which is read often and with others, in half the
// time of os.ReadFile: it neither asks what kind of file it is nor prepares to wait for it.
func slurp(file string) ([]byte, error) {
	fd, err := unix.Open(file, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: file, Err: err}
	}
	defer func() { _ = unix.Close(fd) }()
	var text []byte
	for buf := make([]byte, 4096); ; {
		n, err := unix.Read(fd, buf)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return nil, &os.PathError{Op: "read", Path: file, Err: err}
		}
		if n == 0 {
			return text, nil
		}
		text = append(text, buf[:n]...)
	}
}
