// Command containerd-shim-runsc-v1 runs containers in gVisor for containerd, as
// the runtime io.containerd.runsc.v1.
package main

import (
	"os"

	"containerd-shim-runsc/shim"
)

func main() {
	os.Exit(shim.Main(os.Args, os.Stdin, os.Stdout, os.Stderr))
}
