// Package utils holds the leaves of the project: packages that know nothing of
// tasks, containerd or runsc and import no other package of the project.
//
//   - jsonfile keeps values in files;
//   - oci reads and writes a bundle's spec and interprets its annotations;
//   - reaper collects the exits of child processes.
package utils
