package runsc

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"containerd-shim-runsc/runsc/control"
)

// receive takes one call, refuses it, and returns the files that came with it.
func receive(ln *net.UnixListener) (files []*os.File, err error) {
	conn, err := ln.AcceptUnix()
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close() }()
	rights := make([]byte, unix.CmsgSpace(8*4))
	_, n, _, _, err := conn.ReadMsgUnix(make([]byte, 64<<10), rights)
	if err != nil {
		return nil, err
	}
	messages, err := unix.ParseSocketControlMessage(rights[:n])
	if err != nil {
		return nil, err
	}
	for _, m := range messages {
		fds, err := unix.ParseUnixRights(&m)
		if err != nil {
			return nil, err
		}
		for _, fd := range fds {
			files = append(files, os.NewFile(uintptr(fd), "received"))
		}
	}
	_, err = conn.Write([]byte(`{"success":false,"err":"no"}`))
	return files, err
}

// TestASandboxCannotWriteTheShim: what runs in a sandbox is the shim's program, which is
// root's on the host.
func TestASandboxCannotWriteTheShim(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root clones mounts")
	}
	c := testContainer(t, "")
	path := filepath.Join(t.TempDir(), "s")
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
	if err != nil {
		t.Fatal(err)
	}
	c.joined = newSandbox(0)
	c.joined.direct = &direct{Sandbox: control.New(path), givenUp: map[string]bool{}, told: map[string]bool{}}
	t.Cleanup(func() { c.joined.direct.Close(); _ = ln.Close() })
	type received struct {
		files []*os.File
		err   error
	}
	got := make(chan received, 1)
	go func() {
		files, err := receive(ln)
		got <- received{files, err}
	}()
	var failed *control.Error
	if err := c.ExecSelf(t.Context(), "relay", os.Stdin); !errors.As(err, &failed) || failed.Outcome != control.Refused {
		_ = ln.Close()
		t.Errorf("the sandbox was not asked: %v", err)
	}
	r := <-got
	defer closeAll(r.files)
	if r.err != nil || len(r.files) != 2 {
		t.Fatalf("the sandbox has %d files, %v", len(r.files), r.err)
	}
	program := r.files[1]
	own, err := os.Stat("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	if is, err := program.Stat(); err != nil || !os.SameFile(is, own) {
		t.Errorf("it is another program, %v", err)
	}
	var fs unix.Statfs_t
	if err := unix.Fstatfs(int(program.Fd()), &fs); err != nil || fs.Flags&unix.ST_RDONLY == 0 {
		t.Errorf("it can be opened for writing: flags %#x, %v", fs.Flags, err)
	}
}
