package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// memory is the machine's, in MiB. Its root file system is in it too.
const memory = "4096"

// boot runs the machine until it powers off or ctx ends. What comes on its second serial
// line goes to the report.
func (s settings) boot(ctx context.Context, init, initrd, console string, report io.Writer) error {
	kernel, err := s.kernelImage()
	if err != nil {
		return err
	}
	dir := filepath.Join(s.work, "qemu")
	lib := filepath.Join(dir, "usr/lib/x86_64-linux-gnu")
	// Debian's files run where they were unpacked, with their own libc.
	cmd := exec.CommandContext(ctx, filepath.Join(dir, "lib64/ld-linux-x86-64.so.2"),
		"--library-path", filepath.Join(dir, "lib/x86_64-linux-gnu")+":"+lib,
		filepath.Join(dir, "usr/bin/qemu-system-x86_64"),
		"-L", filepath.Join(dir, "usr/share/qemu"), "-L", filepath.Join(dir, "usr/share/seabios"),
		"-machine", "q35", "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
		// Its clock counts instructions, one for each nanosecond, and leaps over idle
		// time. So the machine is fast by its own clock, and no deadline of a test
		// passes because this one is slow or busy. That goes with one processor only.
		"-accel", "tcg", "-icount", "shift=0,sleep=off", "-cpu", "max", "-smp", "1", "-m", memory,
		"-kernel", kernel, "-initrd", initrd,
		"-serial", "file:"+console, "-serial", "stdio",
		// Its processor is not open to what the mitigations are for, and they cost a
		// third of the time.
		"-append", "console=ttyS0 panic=-1 mitigations=off vm.next="+init+
			" systemd.unit=vm-suites.service systemd.show_status=no systemd.journald.forward_to_console=1",
	)
	cmd.Env = append(os.Environ(), "QEMU_MODULE_DIR="+filepath.Join(lib, "qemu"))
	cmd.Stdout, cmd.Stderr = report, os.Stderr
	// An interrupt at the terminal is ours to act on.
	cmd.SysProcAttr = &unix.SysProcAttr{Setpgid: true}
	cmd.WaitDelay = time.Second
	err = cmd.Run()
	if ctx.Err() != nil {
		return fmt.Errorf("the machine was ended: %w", context.Cause(ctx))
	}
	if err != nil {
		return fmt.Errorf("run qemu: %w", err)
	}
	return nil
}

// write makes the file of the image: Debian's files and ours, one archive behind the other.
func (im image) write(ctx context.Context, file string) error {
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	defer f.Close()
	for _, dir := range []string{im.system(), im.dir} {
		cmd := exec.CommandContext(ctx, "/bin/sh", "-c", `find . | "$0" cpio -o -H newc -R 0:0`, filepath.Join(im.bin, "busybox-static"))
		cmd.Dir, cmd.Stdout, cmd.Stderr = dir, f, os.Stderr
		if err := cmd.Run(); err != nil {
			return fmt.Errorf("archive %s: %w", dir, err)
		}
	}
	return f.Close()
}
