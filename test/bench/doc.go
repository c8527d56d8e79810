// Package bench measures the shim beside containerd's own shim for runc, in the
// same run: `make bench`. Ratios are what to look at; the machines are noisy.
//
// Nothing here fails because something is slow. What the numbers should be:
//
//   - BenchmarkBinarySize: MB under 15;
//   - BenchmarkVersion: x-runc (the median of the pairs) at most 1.2;
//   - BenchmarkMemory: x-runc at most 1.2.
package bench
