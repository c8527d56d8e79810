// Package image makes small container images without a registry and without a
// build tool, for the demonstration and for the tests.
//
// An image is a list of [File] values in memory. [Write] turns it into a tar
// archive in the OCI image layout, which "ctr images import" and "docker load"
// read. The same files always give the same bytes, so that an image's digest is
// the same on every machine and in every run.
//
// [Busybox] lists the files of the one image that nearly everything needs.
package image
