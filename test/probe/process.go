package main

import (
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// files says which file descriptors there are, and what the first three are.
func (r report) files() {
	var open []int
	for fd := range 1024 {
		if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err == nil {
			open = append(open, fd)
			r.set(fmt.Sprintf("fd %d flags", fd), flags, nil)
		}
	}
	r.set("fds", open, nil)
	for fd := range 3 {
		name := fmt.Sprintf("fd %d ", fd)
		mode, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
		r.set(name+"mode", fmt.Sprintf("%#o", mode), err)
		// A number in it is that of a file or terminal of the host's.
		link, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd))
		r.set(name+"name", strings.Trim(link, "[]0123456789"), err)
		var st unix.Stat_t
		err = unix.Fstat(fd, &st)
		r.set(name+"owner", fmt.Sprint(st.Uid, ":", st.Gid), err)
		r.set(name+"type and permissions", fmt.Sprintf("%#o", st.Mode), err)
		r.set(name+"links", st.Nlink, err)
		_, err = unix.IoctlGetTermios(fd, unix.TCGETS)
		r.set(name+"terminal", true, err)
		if err == nil {
			// Of a terminal of the host's, as each has its own.
			r.set(name+"major", unix.Major(st.Rdev), nil)
			size, err := unix.IoctlGetWinsize(fd, unix.TIOCGWINSZ)
			r.set(name+"size", size, err)
		}
	}
}

// session says how the process, its group, its session and its terminal relate.
func (r report) session() {
	pid := unix.Getpid()
	r.set("pid is above 1", pid > 1, nil)
	r.set("has a parent here", unix.Getppid() != 0, nil)
	pgid, err := unix.Getpgid(0)
	r.set("leads its group", pgid == pid, err)
	sid, err := unix.Getsid(0)
	r.set("leads its session", sid == pid, err)
	tty, err := unix.Open("/dev/tty", unix.O_RDWR|unix.O_CLOEXEC, 0)
	r.set("controlling terminal", tty >= 0, err)
	fg, err := unix.IoctlGetInt(0, unix.TIOCGPGRP)
	r.set("its group is in the foreground", fg == pgid, err)
	tsid, err := unix.IoctlGetInt(0, unix.TIOCGSID)
	r.set("its session has the terminal", tsid == sid, err)
	if size, err := unix.IoctlGetWinsize(0, unix.TIOCGWINSZ); err == nil {
		r.set("size now", *size, nil)
	}
	b, err := os.ReadFile("/proc/self/stat")
	_, rest, _ := strings.Cut(string(b), ") ")
	if f := strings.Fields(rest); len(f) > 5 {
		r.set("stat has a terminal", f[4] != "0", err)
	}
}

// attributes says what else a process has and takes over from the one that
// started it.
func (r report) attributes() {
	mask := unix.Umask(0)
	r.set("umask", fmt.Sprintf("%#o", mask), nil)
	nice, err := unix.Getpriority(unix.PRIO_PROCESS, 0)
	r.set("priority", nice, err)
	score, err := os.ReadFile("/proc/self/oom_score_adj")
	r.set("oom_score_adj", string(score), err)
	var cpus unix.CPUSet
	err = unix.SchedGetaffinity(0, &cpus)
	r.set("cpus", cpus.Count(), err)
	policy, _, errno := unix.Syscall(unix.SYS_SCHED_GETSCHEDULER, 0, 0, 0)
	r.set("scheduler", policy, failed(errno))
	persona, _, errno := unix.Syscall(unix.SYS_PERSONALITY, 0xffffffff, 0, 0)
	r.set("personality", persona, failed(errno))
	var blocked unix.Sigset_t
	err = unix.PthreadSigmask(unix.SIG_BLOCK, nil, &blocked)
	r.set("blocked signals", blocked.Val[0], err)
	for name, option := range map[string]int{
		"dumpable": unix.PR_GET_DUMPABLE, "keepcaps": unix.PR_GET_KEEPCAPS, "securebits": unix.PR_GET_SECUREBITS,
		"no new privileges": unix.PR_GET_NO_NEW_PRIVS,
	} {
		v, err := unix.PrctlRetInt(option, 0, 0, 0, 0)
		r.set(name, v, err)
	}
}

// failed makes an error of a system call's, or nil if there is none.
func failed(errno unix.Errno) error {
	if errno == 0 {
		return nil
	}
	return errno
}

// limits says the resource limits. That of open files is missing: Go's runtime has
// raised it.
func (r report) limits() {
	for name, resource := range map[string]int{
		"AS": unix.RLIMIT_AS, "CORE": unix.RLIMIT_CORE, "CPU": unix.RLIMIT_CPU, "DATA": unix.RLIMIT_DATA,
		"FSIZE": unix.RLIMIT_FSIZE, "LOCKS": unix.RLIMIT_LOCKS, "MEMLOCK": unix.RLIMIT_MEMLOCK,
		"MSGQUEUE": unix.RLIMIT_MSGQUEUE, "NICE": unix.RLIMIT_NICE, "NPROC": unix.RLIMIT_NPROC,
		"RSS": unix.RLIMIT_RSS, "RTPRIO": unix.RLIMIT_RTPRIO, "RTTIME": unix.RLIMIT_RTTIME,
		"SIGPENDING": unix.RLIMIT_SIGPENDING, "STACK": unix.RLIMIT_STACK,
	} {
		var l unix.Rlimit
		err := unix.Getrlimit(resource, &l)
		r.set("limit "+name, fmt.Sprint(l.Cur, " ", l.Max), err)
	}
}
