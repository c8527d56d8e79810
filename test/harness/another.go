package harness

import (
	"net"
	"strings"

	"github.com/containerd/ttrpc"
)

// Another is the same shim over a connection of its own, which can be cut without the
// others.
func (s *Shim) Another() *Shim {
	s.e.t.Helper()
	conn, err := net.Dial("unix", strings.TrimPrefix(s.Address, "unix://"))
	if err != nil {
		s.e.t.Fatalf("connect to the shim once more: %v", err)
	}
	a := &Shim{e: s.e, Address: s.Address, Version: s.Version, PID: s.PID, client: ttrpc.NewClient(conn)}
	s.e.AtEnd(a.Cut)
	return a
}

// Cut cuts the connection.
func (s *Shim) Cut() { _ = s.client.Close() }

// Over is the task over another connection of its shim's. Both are the same task.
func (k *Task) Over(s *Shim) *Task {
	other := *k
	other.Process = k.Process.Over(s)
	other.Shim = s
	return &other
}

// Over is the process over another connection of its shim's.
func (p *Process) Over(s *Shim) *Process {
	other := *p
	other.Calls = s.Calls(p.id, p.exec)
	return &other
}
