// Package script is what a test and the scripted runsc tell each other.
//
// Both meet in the directory that holds the fake's binary: the test writes the
// faults there before a command runs, and each command appends a line to the list
// of calls when it begins and another when it ends; so does the sandbox with each call
// over its control socket. The directory is found from the command's own path, so
// that nothing between the two (the shim, which passes an environment on or not) can
// keep them apart.
package script
