// Package relay connects to TCP ports from inside a sandbox: both halves of it.
//
// gVisor's control socket has a method for that (containerManager.PortForward), but what
// stands behind it loses bytes when the server reads more slowly than is sent, ends both
// directions when one ends, reaches 127.0.0.1 alone, and holds a lock of the sandbox while
// it connects. So the shim starts itself in the sandbox, as a process without privileges
// in the root container: a relay. It hands the relay one end of a socket pair for each
// connection, with the address to connect to, and has the other end.
//
// The relay's first byte on a stream says whether it has connected. As a stream's end looks
// the same in any case, the relay says over the socket for requests that a server has broken
// a connection off. While the client still sends, the kernel may tell the half that sends
// alone of that; then it looks like an end.
//
// The relay ends when the shim does, or when it has had nothing to do for a while; the shim
// then starts another.
//
//   - serve.go runs in the sandbox;
//   - dialer.go is the shim's half;
//   - connector.go starts relays, and does without where there can be none.
package relay
