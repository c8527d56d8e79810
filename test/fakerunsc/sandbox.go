package main

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// sandboxName is what runsc calls a sandbox process.
const sandboxName = "runsc-sandbox"

// lastAnswers bounds how long a sandbox that ends waits until those who wait for
// its processes have their answers.
const lastAnswers = 200 * time.Millisecond

// sandbox is the sandbox process: the root container and those that joined it.
type sandbox struct {
	root string
	id   string
	exit chan int // receives init's status

	// waiting counts the questions that are being answered.
	waiting sync.WaitGroup

	// mu guards what follows and is not held while anything waits.
	mu         sync.Mutex
	containers map[string]*inside
}

// inside is a container as its sandbox knows it.
type inside struct {
	id     string
	spec   *specs.Spec
	rootfs string
	// std are the streams that came with its creation.
	std  []*os.File
	init *process
	// processes are the execs, until somebody has waited for them.
	processes map[int]*process
}

// runSandbox is the sandbox process's life. Its streams are those of the root
// container; descriptor 3 tells the command when it is ready.
func runSandbox(args []string) int {
	flags, rest := takeFlags(args)
	boot, _ := takeFlags(rest[1:])
	s := &sandbox{root: flags["root"], id: flags["id"], exit: make(chan int, 1), containers: map[string]*inside{}}
	spec, err := readSpec(boot["bundle"])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	s.add(s.id, spec, boot["bundle"], []*os.File{os.Stdin, os.Stdout, os.Stderr})
	var ln *net.UnixListener
	if err := reach(s.root, s.id, func(addr *net.UnixAddr) (err error) {
		ln, err = net.ListenUnix("unix", addr)
		return err
	}); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	go reap()
	ready := os.NewFile(3, "ready")
	_, _ = ready.Write([]byte{1})
	_ = ready.Close()
	go s.serve(ln)
	return <-s.exit
}

func readSpec(bundle string) (*specs.Spec, error) {
	b, err := os.ReadFile(filepath.Join(bundle, "config.json"))
	if err != nil {
		return nil, err
	}
	spec := &specs.Spec{}
	return spec, json.Unmarshal(b, spec)
}

func (s *sandbox) add(id string, spec *specs.Spec, bundle string, std []*os.File) {
	rootfs := spec.Root.Path
	if !filepath.IsAbs(rootfs) {
		rootfs = filepath.Join(bundle, rootfs)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.containers[id] = &inside{id: id, spec: spec, rootfs: rootfs, std: std, processes: map[int]*process{}}
}

func (s *sandbox) serve(ln *net.UnixListener) {
	for {
		conn, err := ln.AcceptUnix()
		if err != nil {
			return
		}
		s.waiting.Add(1)
		go func() {
			defer s.waiting.Done()
			defer func() { _ = conn.Close() }()
			req, files, err := receive(conn)
			if err != nil {
				closeAll(files)
				return
			}
			rep, err := s.answer(req, files)
			if err != nil {
				rep.Error = err.Error()
			}
			_ = json.NewEncoder(conn).Encode(rep)
		}()
	}
}

// answer does what a command asks for. It owns the files.
func (s *sandbox) answer(req request, files []*os.File) (reply, error) {
	if req.Op == opCreate {
		s.add(req.Container, req.Spec, req.Bundle, files)
		return reply{}, nil
	}
	s.mu.Lock()
	k := s.containers[req.Container]
	s.mu.Unlock()
	if k == nil {
		closeAll(files)
		return reply{}, fmt.Errorf("container %q does not exist", req.Container)
	}
	switch req.Op {
	case opStart:
		return reply{}, s.start(k, files)
	case opExec:
		p, err := s.run(k, req.Process, files)
		if err != nil {
			return reply{}, err
		}
		s.mu.Lock()
		k.processes[p.pid] = p
		s.mu.Unlock()
		return reply{PID: p.pid}, nil
	case opWait:
		return s.wait(k, req.PID)
	case opSignal:
		return reply{}, s.signal(k, req)
	case opPS:
		return reply{PIDs: s.members(k)}, nil
	case opFreeze:
		return reply{}, s.signalMembers(nil, unix.SIGSTOP)
	case opThaw:
		return reply{}, s.signalMembers(nil, unix.SIGCONT)
	case opDestroy:
		return reply{}, s.destroy(k)
	case opStatus:
		p := s.initOf(k)
		return reply{Stopped: p != nil && p.ended()}, nil
	default:
		return reply{}, fmt.Errorf("unknown method %q", req.Op)
	}
}

func (s *sandbox) initOf(k *inside) *process {
	s.mu.Lock()
	defer s.mu.Unlock()
	return k.init
}

// start starts a container's init. When it ends, so does all else in the
// container, and with the root container the sandbox.
func (s *sandbox) start(k *inside, files []*os.File) error {
	if len(files) == 0 {
		files = k.std
	}
	p, err := s.run(k, k.spec.Process, files)
	if err != nil {
		return err
	}
	s.mu.Lock()
	k.init, k.std = p, nil
	s.mu.Unlock()
	go func() {
		<-p.done
		if k.id != s.id {
			_ = s.killMembers(k)
			return
		}
		_ = s.killMembers(nil)
		answered := make(chan struct{})
		go func() {
			s.waiting.Wait()
			close(answered)
		}()
		select {
		case <-answered:
		case <-time.After(lastAnswers):
		}
		s.exit <- p.status
	}()
	return nil
}

func (s *sandbox) wait(k *inside, pid int) (reply, error) {
	s.mu.Lock()
	p := k.init
	if pid != 0 {
		p = k.processes[pid]
	}
	s.mu.Unlock()
	switch {
	case p == nil && pid == 0:
		return reply{}, fmt.Errorf("container %q not started", k.id)
	case p == nil:
		return reply{}, fmt.Errorf("waiting for PID %d: no such process", pid)
	}
	<-p.done
	if pid != 0 {
		// As in gVisor, an exec's status is given away once.
		s.mu.Lock()
		delete(k.processes, pid)
		s.mu.Unlock()
	}
	return reply{Status: p.status}, nil
}

func (s *sandbox) signal(k *inside, req request) error {
	sig := unix.Signal(req.Signal)
	if req.All {
		return s.signalMembers(k, sig)
	}
	pid := req.PID
	if pid == 0 {
		p := s.initOf(k)
		if p == nil || p.ended() {
			return fmt.Errorf("container %q: no such process", k.id)
		}
		pid = p.pid
	}
	if !slices.Contains(s.members(k), pid) {
		return fmt.Errorf("no such process with PID %d", pid)
	}
	return unix.Kill(pid, sig)
}

func (s *sandbox) destroy(k *inside) error {
	if err := s.killMembers(k); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	closeAll(k.std)
	delete(s.containers, k.id)
	return nil
}

// killMembers kills every process of the container until none is left.
func (s *sandbox) killMembers(k *inside) error {
	for len(s.members(k)) > 0 {
		if err := s.signalMembers(k, unix.SIGKILL); err != nil {
			return err
		}
		time.Sleep(pollPause)
	}
	return nil
}

// signalMembers signals every process of a container, or with nil of all of them.
func (s *sandbox) signalMembers(k *inside, sig unix.Signal) error {
	for _, pid := range s.members(k) {
		if err := unix.Kill(pid, sig); err != nil && err != unix.ESRCH {
			return err
		}
	}
	return nil
}

// marker is in the environment of every process of a container, so that those
// that the caller did not start are found too.
func (s *sandbox) marker(id string) string {
	return "FAKERUNSC_CONTAINER=" + s.root + "|" + s.id + "|" + id + "|"
}

// members returns the processes of a container, or with nil of the sandbox, as
// pids of the sandbox's namespace.
func (s *sandbox) members(k *inside) []int {
	mark := "FAKERUNSC_CONTAINER=" + s.root + "|" + s.id + "|"
	if k != nil {
		mark = s.marker(k.id)
	}
	// This is the host's /proc, for want of a mount namespace.
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	var pids []int
	for _, dir := range dirs {
		env, err := os.ReadFile(filepath.Join(dir, "environ"))
		if err != nil || !strings.Contains(string(env), mark) {
			continue
		}
		if pid := innerPID(dir); pid > 0 {
			pids = append(pids, pid)
		}
	}
	slices.Sort(pids)
	return pids
}

func closeAll(files []*os.File) {
	for _, f := range files {
		_ = f.Close()
	}
}
