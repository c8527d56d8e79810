package main

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
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

// The descriptors of a sandbox process besides its streams.
const (
	readyFD   = 3 // tells the command that the sandbox is ready
	controlFD = 4 // the control socket, if the arguments say so
)

// sandbox is the sandbox process: the root container and those that joined it.
type sandbox struct {
	root string
	id   string
	// dir is where the script is.
	dir  string
	exit chan int // receives init's status

	// waiting counts the questions that are being answered.
	waiting sync.WaitGroup

	// mu guards what follows and is not held while anything waits.
	mu         sync.Mutex
	containers map[string]*inside
	// frozen is how often more it was frozen than thawed.
	frozen int
	// kills are the processes that have been killed meanwhile.
	kills []int
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
// container.
func runSandbox(args []string) int {
	flags, rest := takeFlags(args)
	boot, _ := takeFlags(rest[1:])
	s := &sandbox{
		root: flags["root"], id: flags["id"], dir: boot["script"],
		exit: make(chan int, 1), containers: map[string]*inside{},
	}
	_, control := boot[controlFlag]
	if err := s.boot(boot["bundle"], control); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return <-s.exit
}

// controlFlag tells a sandbox that it has a control socket.
const controlFlag = "control-fd"

func (s *sandbox) boot(bundle string, control bool) error {
	spec, err := readSpec(bundle)
	if err != nil {
		return err
	}
	s.add(s.id, spec, bundle, []*os.File{os.Stdin, os.Stdout, os.Stderr})
	commands, err := net.ListenUnix("unix", commandAddr(s.root, s.id))
	if err != nil {
		return err
	}
	go s.serve(commands, s.command)
	if control {
		f := os.NewFile(controlFD, "control socket")
		ln, err := net.FileListener(f)
		if err != nil {
			return err
		}
		_ = f.Close()
		go s.serve(ln.(*net.UnixListener), s.control)
	}
	go reap()
	ready := os.NewFile(readyFD, "ready")
	_, _ = ready.Write([]byte{1})
	return ready.Close()
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

// serve answers those who connect, on each connection one call after the other.
func (s *sandbox) serve(ln *net.UnixListener, handle func(*net.UnixConn, call, []*os.File) error) {
	for {
		conn, err := ln.AcceptUnix()
		if err != nil {
			return
		}
		go func() {
			defer func() { _ = conn.Close() }()
			for {
				c, files, err := receive(conn)
				if err != nil {
					closeAll(files)
					return
				}
				s.waiting.Add(1)
				err = handle(conn, c, files)
				s.waiting.Done()
				if err != nil {
					return
				}
			}
		}()
	}
}

// command answers one of the fake's own commands.
func (s *sandbox) command(conn *net.UnixConn, c call, files []*os.File) error {
	var req request
	if err := json.Unmarshal(c.Arg, &req); err != nil {
		closeAll(files)
		return send(conn, answerOf(nil, err))
	}
	return send(conn, answerOf(s.answer(req, files)))
}

// answer does what is asked for, by whichever way. It owns the files. The errors are
// gVisor's.
func (s *sandbox) answer(req request, files []*os.File) (reply, error) {
	switch req.Op {
	case opCreate:
		s.add(req.Container, req.Spec, req.Bundle, files)
		return reply{}, nil
	case opPS:
		return reply{PIDs: s.members(req.Container)}, nil
	case opFreeze:
		return reply{}, s.freeze()
	case opThaw:
		return reply{}, s.thaw()
	}
	s.mu.Lock()
	k := s.containers[req.Container]
	s.mu.Unlock()
	if k == nil {
		closeAll(files)
		return reply{}, fmt.Errorf("container %q not found", req.Container)
	}
	switch req.Op {
	case opStart:
		return reply{}, s.start(k, files)
	case opExec:
		return s.exec(k, req.Process, files)
	case opWait:
		return s.wait(k, req.PID)
	case opSignal:
		return reply{}, s.signal(k, req)
	case opEvent:
		return s.event(k), nil
	case opDestroy:
		return reply{}, s.destroy(k)
	case opConnect:
		return reply{}, s.connect(k, req.Port, files)
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
			_ = s.killMembers(k.id)
			return
		}
		_ = s.killMembers("")
		answered := make(chan struct{})
		go func() {
			s.waiting.Wait()
			close(answered)
		}()
		select {
		case <-answered:
		case <-time.After(lastAnswers):
		}
		s.exit <- exitCode(p.status)
	}()
	return nil
}

// exec starts a further process in a container whose init runs.
func (s *sandbox) exec(k *inside, spec *specs.Process, files []*os.File) (reply, error) {
	init := s.initOf(k)
	if init == nil || init.ended() {
		closeAll(files)
		if init == nil {
			return reply{}, fmt.Errorf("container %q not started", k.id)
		}
		return reply{}, fmt.Errorf("container %q has stopped", k.id)
	}
	p, err := s.run(k, spec, files)
	if err != nil {
		return reply{}, err
	}
	s.mu.Lock()
	k.processes[p.pid] = p
	s.mu.Unlock()
	if init.ended() {
		// It may have been too late for being killed with the others.
		_ = unix.Kill(p.pid, unix.SIGKILL)
	}
	return reply{PID: p.pid}, nil
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
		// As in gVisor, an exec's status is given away once, and to somebody who
		// has left as well.
		s.mu.Lock()
		delete(k.processes, pid)
		s.mu.Unlock()
	}
	return reply{Status: p.status}, nil
}

// event returns plausible numbers: what a test may rely on is that they are there.
func (s *sandbox) event(k *inside) reply {
	out := &eventOut{ContainerUsage: map[string]uint64{}}
	out.Event.Type, out.Event.ID = "stats", k.id
	out.Event.Data = map[string]any{
		"cpu":                map[string]any{"usage": map[string]any{}},
		"memory":             map[string]any{"usage": map[string]any{"usage": 4 << 20, "limit": 0, "failcnt": 0}},
		"pids":               map[string]any{"current": len(s.members(k.id))},
		"network_interfaces": []map[string]any{{"Name": "eth0", "RxBytes": 1000, "TxBytes": 2000}},
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for id := range s.containers {
		out.ContainerUsage[id] = 30_000_000
	}
	return reply{Event: out}
}
