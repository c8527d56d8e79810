// Package oci reads and writes the OCI spec of a bundle and tells from its
// annotations which place a container has: the root of a sandbox, or a
// container in one.
package oci
