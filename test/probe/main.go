// Command probe runs in a container and prints, as one line of JSON, what it was
// given there: identity, capabilities, environment, files, terminal, limits. Tests
// start it in two ways and compare what it says. Everything it says is the same in
// any two processes that were started alike: a number that differs by nature, as a
// pid does, is put in terms of what it relates to.
//
// With the argument "input" it reads its stdin to the end first. With "line" it
// prints a line, reads one, and then says what it was given, so that something can
// be done to it in between. With "file" and a path it prints to that file.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// report is what the probe says.
type report map[string]string

func main() {
	// The signal mask and some attributes are those of a thread, and of the
	// process only in its first one.
	runtime.LockOSThread()
	r := report{}
	// Before anything is opened here.
	r.files()
	out := io.Writer(os.Stdout)
	args := append(os.Args[1:], "", "")
	switch args[0] {
	case "input":
		b, err := io.ReadAll(os.Stdin)
		r.set("input", string(b), err)
	case "line":
		fmt.Println("ready")
		line, err := bufio.NewReader(os.Stdin).ReadString('\n')
		r.set("line", line, err)
	case "file":
		f, err := os.Create(args[1])
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		out = f
	}
	r.identity()
	r.status()
	r.start()
	r.place()
	r.attributes()
	r.session()
	r.limits()
	if err := json.NewEncoder(out).Encode(r); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// set says a value, or why there is none.
func (r report) set(key string, value any, err error) {
	if err != nil {
		value = "error: " + err.Error()
	}
	r[key] = fmt.Sprint(value)
}

func (r report) identity() {
	r.set("uids", fmt.Sprint(unix.Getresuid()), nil)
	r.set("gids", fmt.Sprint(unix.Getresgid()), nil)
	groups, err := unix.Getgroups()
	r.set("groups", groups, err)
}

// status says what /proc says about the process and no system call does.
func (r report) status() {
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		r.set("status file", nil, err)
	}
	wanted := []string{
		"Uid", "Gid", "Groups", "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs",
		"Seccomp", "SigQ", "ShdPnd", "SigBlk", "TracerPid", "Mems_allowed",
	}
	for line := range strings.Lines(string(b)) {
		key, value, _ := strings.Cut(line, ":")
		if slices.Contains(wanted, key) {
			r[key] = strings.TrimSpace(value)
		}
	}
}

// start says what the process was started with.
func (r report) start() {
	b, err := json.Marshal(os.Args)
	r.set("args", string(b), err)
	env := os.Environ()
	// The sandbox keeps them in a map, so they have no order.
	slices.Sort(env)
	b, err = json.Marshal(env)
	r.set("env", string(b), err)
	cwd, err := os.Readlink("/proc/self/cwd")
	r.set("cwd", cwd, err)
	exe, err := os.Readlink("/proc/self/exe")
	r.set("exe", exe, err)
	comm, err := os.ReadFile("/proc/self/comm")
	r.set("comm", string(comm), err)
}

// place says in what the process is.
func (r report) place() {
	name, err := os.Hostname()
	r.set("hostname", name, err)
	cgroup, err := os.ReadFile("/proc/self/cgroup")
	r.set("cgroup", string(cgroup), err)
	for _, ns := range []string{"net", "mnt", "pid", "user", "ipc", "uts", "cgroup"} {
		mine, err := os.Readlink("/proc/self/ns/" + ns)
		if err != nil {
			r.set("ns "+ns, nil, err)
			continue
		}
		init, err := os.Readlink("/proc/1/ns/" + ns)
		r.set("ns "+ns+" is init's", mine == init, err)
	}
	var root []string
	entries, err := os.ReadDir("/")
	for _, e := range entries {
		root = append(root, e.Name())
	}
	r.set("root", root, err)
	mounts, err := os.ReadFile("/proc/self/mounts")
	r.set("mounts", string(mounts), err)
}
