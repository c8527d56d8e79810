// Package utils holds the leaves of the project: packages that know nothing of
// tasks, containerd or runsc and import no other package of the project.
//
//   - atomicfile replaces files, jsonfile keeps values in such, and journal the history
//     of values that change often;
//   - cgroup finds and joins cgroups;
//   - oci reads and writes a bundle's spec and interprets its annotations;
//   - reaper collects the exits of child processes;
//   - safe confines panics, and calls that do not come back.
package utils
