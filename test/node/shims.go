package node

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// shimName is the program of the shim under test.
const shimName = "containerd-shim-runsc-v1"

// ShimOf returns the process id of the shim that was started for a pod, or for a container
// without one.
func (n *Node) ShimOf(id string) (int, error) {
	var found []int
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range dirs {
		line, _ := os.ReadFile(filepath.Join(dir, "cmdline"))
		program, args, _ := strings.Cut(string(line), "\x00")
		if filepath.Base(program) == shimName && strings.Contains(args, "\x00"+id+"\x00") && strings.Contains(args, n.dir) {
			pid, _ := strconv.Atoi(filepath.Base(dir))
			found = append(found, pid)
		}
	}
	if len(found) != 1 {
		return 0, fmt.Errorf("%s has the shims %v, want one", id, found)
	}
	return found[0], nil
}

// ShimSize is what a shim holds at a moment.
type ShimSize struct {
	// Descriptors counts those that are open, by what they are: "socket", "pipe",
	// "pidfd", "fifo", "file", or the path of a device.
	Descriptors map[string]int
	// Threads and Children count the process's threads and the processes that it made or
	// took over.
	Threads, Children int
	// Memory is what is its own, RssAnon, in bytes.
	Memory int64
}

// Files counts all descriptors.
func (s ShimSize) Files() int {
	all := 0
	for _, n := range s.Descriptors {
		all += n
	}
	return all
}

// ShimSizeOf tells what a shim holds at this moment.
func ShimSizeOf(pid int) (ShimSize, error) {
	proc := fmt.Sprintf("/proc/%d", pid)
	size := ShimSize{Descriptors: map[string]int{}}
	entries, err := os.ReadDir(filepath.Join(proc, "fd"))
	if err != nil {
		return size, err
	}
	for _, e := range entries {
		if kind, err := kindOf(filepath.Join(proc, "fd", e.Name())); err == nil {
			size.Descriptors[kind]++
		}
	}
	status, err := os.ReadFile(filepath.Join(proc, "status"))
	if err != nil {
		return size, err
	}
	for line := range strings.Lines(string(status)) {
		name, value, _ := strings.Cut(line, ":")
		number, _ := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
		switch name {
		case "Threads":
			size.Threads = int(number)
		case "RssAnon":
			size.Memory = number << 10
		}
	}
	threads, _ := filepath.Glob(filepath.Join(proc, "task", "*", "children"))
	for _, path := range threads {
		text, _ := os.ReadFile(path)
		size.Children += len(strings.Fields(string(text)))
	}
	return size, nil
}

// kindOf says what a descriptor is, whose link in /proc is given.
func kindOf(link string) (string, error) {
	to, err := os.Readlink(link)
	if err != nil {
		return "", err
	}
	to = strings.TrimPrefix(to, "anon_inode:")
	if kind, _, ok := strings.Cut(to, ":["); ok || !strings.HasPrefix(to, "/") {
		return strings.Trim(kind, "[]"), nil
	}
	info, err := os.Stat(link)
	switch {
	case err != nil:
		return "", err
	case info.Mode()&os.ModeNamedPipe != 0:
		return "fifo", nil
	case info.Mode().IsRegular():
		return "file", nil
	case info.IsDir():
		return "directory", nil
	}
	return to, nil
}

// Goroutines makes a shim write the stacks of its goroutines to its log, and returns one
// text for each of them.
func (n *Node) Goroutines(ctx context.Context, pid int, log string) (stacks []string, err error) {
	const head = "stacks of all goroutines:"
	dumps := func() []string {
		text, _ := os.ReadFile(log)
		var list []string
		for line := range strings.Lines(string(text)) {
			if strings.Contains(line, head) && strings.HasSuffix(line, "\n") {
				list = append(list, line)
			}
		}
		return list
	}
	before := len(dumps())
	if err := unix.Kill(pid, unix.SIGUSR1); err != nil {
		return nil, err
	}
	err = n.Until(ctx, "the shim has logged its goroutines", func(context.Context) (bool, string) {
		list := dumps()
		if len(list) <= before {
			return false, fmt.Sprintf("%s has %d dumps", log, len(list))
		}
		_, text, _ := strings.Cut(list[len(list)-1], head)
		// The log writes them on one line.
		stacks = strings.Split(strings.ReplaceAll(text, `\n`, "\n"), "\ngoroutine ")[1:]
		return len(stacks) > 0, "no stack is in it"
	})
	return stacks, err
}
