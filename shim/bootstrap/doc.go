// Package bootstrap is the conversation between containerd and a shim process
// before there is a connection: what containerd hands to the process, what it
// reads back, and the socket that the two then meet at. It is rule R1.
//
// It belongs to the shim's edge. main parses its command line into Params here
// and acts on them; spawning and serving are the business of package shim.
//
// # The generations of containerd
//
//	containerd   says                                start reads      start must answer
//	1.6          flags, TTRPC_ADDRESS                options or none  the bare address (Plain)
//	1.7          also GRPC_ADDRESS,                  the same         JSON, version 2 at most
//	             MAX_SHIM_VERSION=2
//	2.0 - 2.2    what 1.7 says                       the same         JSON, version 2 or 3
//	2.3, 2.4     what 1.7 says                       BootstrapParams  BootstrapResult (Proto)
//
// Options are a protobuf Any. An Any also parses as BootstrapParams, with its
// type as the instance id, so params are believed only when instance id and
// namespace are those of the flags. 1.7 and 2.0-2.2 cannot be told apart; only
// a containerd 2 starts a shim for a bundle without a spec, though: that is a
// sandbox of the Sandbox API, which needs task API version 3. All generations
// give `delete` flags and no stdin, and -info the options on stdin and no flags.
//
// containerd takes stdout and stderr of `start` together for the answer. So
// nothing but the answer may be written to either, and no child may keep them.
//
// # The socket
//
// There is one socket for each group: the containers of a pod, or one container.
// Its name is a digest of containerd's address, the namespace and the group's
// id, so every start of the group finds the same one. Listen makes it exist once:
// it holds a lock on the directory (flock; no file is left) from the question
// whether somebody listens until the answer holds. The shim that a start spawns
// has the socket of NewSocket before that is bound, so there is always somebody who
// listens and will remove it, whenever the start is killed; a socket nobody listens
// at is a dead shim's. A shim whose start came to nothing calls Abandon.
//
// A shim that ends calls Remove while its listener is still open; closed first,
// a new shim could already have taken the path. Whoever cleans up after a dead
// shim calls RemoveStale, which leaves a living one alone.
//
// containerd up to 1.7 reads the address again, when it restarts, from the file
// address in the bundle; later ones do so where they find no file of their own.
// WriteAddress writes it.
package bootstrap
