// Package atomicfile replaces files in one step, so that a reader sees the old content
// or the new one whenever the writer dies, and reads them with a bound. What stands in a
// file's place, a FIFO, a device or a link, is refused and never waited for or followed.
//
// Unlike the libraries for this it does not wait for the disk: what the shim keeps
// describes processes that end with the machine, and waiting for it three times would
// cost an exec more than all the rest.
package atomicfile
