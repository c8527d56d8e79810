// Package relay connects to TCP ports from inside a sandbox: both halves of it.
//
// gVisor's control socket has a method for that (containerManager.PortForward), but what
// stands behind it loses bytes when the server reads more slowly than is sent, ends both
// directions when one ends, reaches 127.0.0.1 alone, and holds a lock of the sandbox while
// it connects. So the shim starts itself in the sandbox, as a process without privileges
// in the root container: a relay. It hands the relay one end of a socket pair for each
// connection, with the address to connect to, and has the other end.
//
// The relay's first byte on a stream says whether it has connected. It ends when the shim
// does, or when it has had nothing to do for a while; the shim then starts another.
//
//   - serve.go runs in the sandbox;
//   - dialer.go is the shim's half.
package relay
