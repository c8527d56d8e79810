// Package script is what a puppet says, and what it ends with, which those who tell it
// what to do must know.
package script

import "fmt"

// What it says.
const (
	// Ready comes first, when it hears signals and commands.
	Ready = "ready\n"
	// Signalled is what it says at SIGUSR1.
	Signalled = "usr1\n"
	// EOF is what one says that goes on at the end of its input.
	EOF = "eof\n"
	// Done is what it says after what has no other sign.
	Done = "done\n"
)

// What it ends with.
const (
	// TermStatus is its exit code at SIGTERM.
	TermStatus = 40
	// EndStatus is the exit code of one that ends with its input.
	EndStatus = 5
)

// Text is n bytes of output and a line's end.
func Text(n int) string {
	b := make([]byte, n+1)
	for i := range n {
		b[i] = byte('a' + i%26)
	}
	b[n] = '\n'
	return string(b)
}

// Size says a terminal's size.
func Size(width, height int) string {
	return fmt.Sprintf("size %dx%d\n", width, height)
}
