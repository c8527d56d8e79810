// Package safe keeps one thing that goes wrong from taking others with it: a panic
// ends the goroutine or the call that it is in, and not the shim; and a call into a
// kernel that does not come back (a dead network file system) holds up a goroutine, and
// not its caller.
package safe
