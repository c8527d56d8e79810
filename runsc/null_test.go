package runsc

import (
	"errors"
	"io"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// What a command gives to the sandbox's user is never the host's /dev/null.
func TestNullsOfACommand(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root may make a device")
	}
	hosts, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = hosts.Close() }()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _, _ = r.Close(), w.Close() }()
	std, done, err := files{hosts, w, nil}.withNulls()
	if err != nil {
		t.Fatal(err)
	}
	defer done()
	if std[1] != w {
		t.Errorf("a stream that is no /dev/null is another now: %v", std[1].Name())
	}
	var of, theirs unix.Stat_t
	if err := unix.Fstat(int(hosts.Fd()), &theirs); err != nil {
		t.Fatal(err)
	}
	for _, i := range []int{0, 2} {
		if err := unix.Fstat(int(std[i].Fd()), &of); err != nil {
			t.Fatal(err)
		}
		if of.Dev == theirs.Dev || of.Rdev != theirs.Rdev || of.Mode != unix.S_IFCHR|0o666 {
			t.Fatalf("stream %d is device %#x, mode %o, in the file system %#x; the host's /dev/null is %#x in %#x",
				i, of.Rdev, of.Mode, of.Dev, theirs.Rdev, theirs.Dev)
		}
		// The first is to be read, the others to be written to.
		n, err := std[i].Write([]byte("gone"))
		if i == 0 {
			n, err = std[i].Read(make([]byte, 1))
		}
		if i == 0 && (n != 0 || !errors.Is(err, io.EOF)) || i != 0 && (n != len("gone") || err != nil) {
			t.Errorf("stream %d: %d bytes, %v", i, n, err)
		}
		if err := std[i].Chown(65534, 65534); err != nil {
			t.Error(err)
		}
	}
}

func BenchmarkNullsOfACommand(b *testing.B) {
	for b.Loop() {
		_, done, err := files{}.withNulls()
		if err != nil {
			b.Fatal(err)
		}
		done()
	}
}
