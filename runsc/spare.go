package runsc

import (
	"os"
	"sync"
)

// spares is how many descriptors it takes to find a sandbox and its gofers, and to end
// them: that of /proc, that of a process's arguments, and one for each process.
const spares = 8

// spare keeps descriptors for what must work when there are none left.
type spare struct {
	mu    sync.Mutex
	files []*os.File
	// lent is how many use them.
	lent int
}

func newSpare() *spare {
	s := &spare{}
	s.fill()
	return s
}

// lend gives the descriptors up until the function that it returns is called.
func (s *spare) lend() (giveBack func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lent++
	closeAll(s.files)
	s.files = nil
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.lent--; s.lent == 0 {
			s.fill()
		}
	}
}

// fill takes as many as there are. Those that cannot be had are tried for the next time.
func (s *spare) fill() {
	for len(s.files) < spares {
		f, err := os.Open(os.DevNull)
		if err != nil {
			return
		}
		s.files = append(s.files, f)
	}
}
