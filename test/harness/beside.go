package harness

// Beside is an exec without streams whose methods may be called by other goroutines than
// the test's: none fails the test.
type Beside struct {
	Calls
	args []string
}

// Beside returns an exec that is not added yet.
func (k *Task) Beside(id string, args []string) *Beside {
	return &Beside{Calls: k.Shim.Calls(k.ID, id), args: args}
}

// Add adds it to the task.
func (b *Beside) Add() error {
	return b.Exec(process(b.args, false), &Stdio{})
}
