package runsc

import (
	"fmt"
	"os"

	"github.com/containerd/log"
	"golang.org/x/sys/unix"
)

// withNulls returns the streams of a command that gives them to the sandbox: where there is
// none, or where it is the host's /dev/null, it is a null device that nobody else has.
// runsc makes the sandbox's user the owner of what it is given (configureStdios in gVisor's
// runsc/sandbox), and who owns the host's /dev/null may close it to all others. done
// closes what was opened; the command has its own copies once it was started.
func (f files) withNulls() (_ files, done func(), err error) {
	var own []*os.File
	done = func() { closeAll(own) }
	for i, mode := range [len(f)]int{os.O_RDONLY, os.O_WRONLY, os.O_WRONLY} {
		if f[i] != nil && !isNull(f[i]) {
			continue
		}
		null, err := newNull(mode)
		if err != nil {
			done()
			return files{}, nil, fmt.Errorf("open a null device: %w", err)
		}
		own = append(own, null)
		f[i] = null
	}
	return f, done, nil
}

// isNull says if a stream is the host's /dev/null, and asks no file system for it.
func isNull(f *os.File) bool { return f.Name() == os.DevNull }

// newNull makes a null device in a file system of its own, which is mounted nowhere and gone
// when the device is closed. Where the kernel has no such mounts (before 5.2), or does not
// let us make them, it is the host's.
func newNull(mode int) (*os.File, error) {
	f, err := unmountedNull(mode)
	if err != nil {
		log.L.WithError(err).Debug("the sandbox is given the host's /dev/null")
		return os.OpenFile(os.DevNull, mode, 0)
	}
	return f, nil
}

func unmountedNull(mode int) (*os.File, error) {
	const name = "null"
	config, err := unix.Fsopen("tmpfs", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("fsopen", err)
	}
	defer func() { _ = unix.Close(config) }()
	if err := unix.FsconfigCreate(config); err != nil {
		return nil, os.NewSyscallError("fsconfig", err)
	}
	root, err := unix.Fsmount(config, unix.FSMOUNT_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("fsmount", err)
	}
	defer func() { _ = unix.Close(root) }()
	// The device's numbers are those of Documentation/admin-guide/devices.txt in Linux.
	if err := unix.Mknodat(root, name, unix.S_IFCHR|0o600, int(unix.Mkdev(1, 3))); err != nil {
		return nil, os.NewSyscallError("mknodat", err)
	}
	fd, err := unix.Openat(root, name, mode|unix.O_CLOEXEC|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, os.NewSyscallError("openat", err)
	}
	f := os.NewFile(uintptr(fd), os.DevNull)
	// Whatever the umask is: a container may open its streams again by their names.
	if err := f.Chmod(0o666); err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}
