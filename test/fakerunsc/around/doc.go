// Command around stands around the real runsc. Like the scripted runsc it does what the
// test's script says (package script), but all work is that of the program to which the
// link "real" beside it points. So a test can have a command of gVisor's fail, hang or
// print garbage, and can put itself into the middle of one: before runsc has begun, or
// when it is done and nobody knows yet.
//
// Where nothing is to happen after the work, this process becomes runsc. Only commands
// can be scripted: a sandbox's control socket is gVisor's own.
package main
