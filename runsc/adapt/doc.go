// Package adapt changes a container's spec where runsc would otherwise not do what the
// spec asks for, or would do it in another place: it is the one home of what gVisor does
// differently from runc at a container's creation.
//
// Each concern is a step in a file of its own. A step may change the spec, ask for flags
// of runsc, note what the sandbox will not do, or refuse the spec. Notes are for the log:
// nothing that was asked for is dropped in silence. What clients ask for by default is
// noted apart from what somebody has chosen, so that the log can be read.
//
// What a spec names may be on a file system that hangs. So every look at the host's files
// goes through host.go, which bounds it and remembers what it saw.
package adapt
