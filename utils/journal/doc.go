// Package journal keeps the history of a value in a file, a line of JSON for each, of
// which the last whole line counts. It is for values that change often: a line is
// appended in one write, so that a reader sees the value before or the value after
// whenever the writer dies, and that takes a tenth of the time of replacing a file.
package journal
