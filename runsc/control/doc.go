// Package control asks a running sandbox over its control socket, as the runsc
// commands do.
//
// # Protocol
//
// gVisor's pkg/urpc: on a unix stream socket the client writes one JSON object, the
// method and its argument, with the argument's files as SCM_RIGHTS; the server
// answers with one JSON object. A connection carries one call at a time; calls at the
// same time have connections of their own. The methods and their arguments are those of
// gVisor's runsc/boot/controller.go and pkg/sentry/control/proc.go; only the fields that
// are needed are declared.
//
// gVisor's own client is not used. It holds an operating system thread for each
// call in flight, and there is one for each process that somebody waits for; a call
// cannot be given up; and an answer may have any size, although the sandbox that
// gives it is where strangers' code runs.
//
// # Errors
//
// Each failure is an *Error whose Outcome says what a caller needs to know to go on:
// whether the operation can have happened.
//
//   - socket.go: connections and calls;
//   - errors.go: outcomes;
//   - sandbox.go: the methods;
//   - process.go: an exec's argument;
//   - statefile.go: where runsc says which socket a sandbox has.
package control
