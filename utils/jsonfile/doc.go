// Package jsonfile keeps values as JSON in files: read with a bound, written in one
// step, so that a reader sees the old value or the new one whenever the writer dies.
package jsonfile
