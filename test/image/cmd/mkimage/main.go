// Command mkimage writes a busybox image that "ctr images import" can read.
package main

import (
	"bufio"
	"errors"
	"flag"
	"fmt"
	"os"

	"containerd-shim-runsc/test/image"
)

func main() {
	busybox := flag.String("busybox", "/bin/busybox", "the busybox binary to put into the image")
	name := flag.String("name", "docker.io/library/busybox:local", "the image's full name")
	output := flag.String("o", "busybox.tar", "the file to write")
	flag.Parse()

	if err := run(*busybox, *name, *output); err != nil {
		fmt.Fprintln(os.Stderr, "mkimage:", err)
		os.Exit(1)
	}
}

func run(busybox, name, output string) (err error) {
	files, err := image.Busybox(busybox)
	if err != nil {
		return err
	}
	file, err := os.Create(output)
	if err != nil {
		return fmt.Errorf("create the image file: %w", err)
	}
	// Closing reports what writing did not, for example a full disk.
	defer func() { err = errors.Join(err, file.Close()) }()

	w := bufio.NewWriter(file)
	if err := image.Write(w, name, files); err != nil {
		return err
	}
	return w.Flush()
}
