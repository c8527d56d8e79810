package harness

import (
	"net"
	"os"
	"sync"
)

// Stall makes the sink a containerd that is stopped: it takes connections and what is
// sent over them, and never answers. The function that is returned ends that; the sink
// is down then, until Up is called.
func (s *Sink) Stall() (end func()) {
	s.t.Helper()
	s.Down()
	_ = os.Remove(s.path)
	ln, err := net.Listen("unix", s.path)
	if err != nil {
		s.t.Fatal(err)
	}
	var mu sync.Mutex
	var conns []net.Conn
	ended := false
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			conns = append(conns, conn)
			if ended {
				_ = conn.Close()
			}
			mu.Unlock()
		}
	}()
	end = func() {
		mu.Lock()
		defer mu.Unlock()
		ended = true
		_ = ln.Close()
		for _, conn := range conns {
			_ = conn.Close()
		}
	}
	s.t.Cleanup(end)
	return end
}
