// Package options knows how the shim can be configured: which options there
// are, where they come from, and what is wrong with one that cannot be right.
//
// It belongs to the shim's edge. Start, create, delete and -info all get the
// caller's options as a protobuf Any and turn it into one Options value here;
// nothing behind that value ever sees a TOML file or a wire message.
//
// # Where options come from
//
//	what the caller sends              what counts
//	nothing, or an empty message       the first default file that exists, else the defaults
//	runtimeoptions.v1.Options          the file at config_path; without one config_body;
//	                                   without either as if nothing had been sent
//	containerd.runc.v1.Options         as if nothing had been sent, and laid over it
//	                                   what has a meaning for runsc
//	any other message                  refused
//
// containerd's definition of the message says that config_body "will be used if
// config_path is not specified", so the path wins where both are given. A
// containerd that finds no ConfigPath in its configuration sends its whole
// options table as the body. So a body may hold the key TypeUrl, and one that
// holds nothing else says nothing: the default files count. A path or a body
// that does say something is complete: no default file is read beside it.
//
// # What is refused
//
// Every unknown key, wrong type and impossible value, with an InvalidArgument
// that names the source, the key and what would be right. What a client of runc
// sets and has no meaning for runsc is no mistake: it is kept in
// Options.Ignored, for the log. The package itself logs nothing, because
// containerd takes whatever `start` writes, also to stderr, for its answer.
package options
