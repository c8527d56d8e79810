// Package hungfs makes a file system on which every call waits, as on one of a network whose
// server is gone: a FUSE mount whose server reads no request.
package hungfs
