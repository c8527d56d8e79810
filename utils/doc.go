// Package utils holds the leaves of the project: packages that know nothing of
// tasks, containerd or runsc and import nothing of the project but each other.
//
//   - atomicfile replaces files, jsonfile keeps values in such, and journal the history
//     of values that change often;
//   - cgroup finds and joins cgroups;
//   - dirlock locks directories;
//   - oci reads and writes a bundle's spec and interprets its annotations;
//   - reaper collects the exits of child processes;
//   - safe confines panics, and calls that do not come back;
//   - selfexe opens the process's own program for another that must not write it.
package utils
