// Command sharer runs in the containers of a pod and shows what they share: two of it, in
// two containers, meet at a path that leads to the same volume in both.
//
//	listen PATH   makes a unix socket, says "listening", and answers one greeting
//	dial PATH     greets who listens there, and prints the answer
//	await PATH    maps the file, says "mapped", and waits in it for the other
//	wake PATH     maps the file, wakes who waits in it, and waits for the answer
package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: sharer listen|dial|await|wake PATH")
		os.Exit(2)
	}
	does := map[string]func(path string) error{"listen": listen, "dial": dial, "await": await, "wake": wake}
	do := does[os.Args[1]]
	if do == nil {
		fmt.Fprintf(os.Stderr, "sharer: cannot %s\n", os.Args[1])
		os.Exit(2)
	}
	if err := do(os.Args[2]); err != nil {
		fmt.Fprintf(os.Stderr, "sharer: %v\n", err)
		os.Exit(1)
	}
}

func listen(path string) error {
	l, err := net.Listen("unix", path)
	if err != nil {
		return err
	}
	fmt.Println("listening")
	conn, err := l.Accept()
	if err != nil {
		return err
	}
	b := make([]byte, 5)
	if _, err := io.ReadFull(conn, b); err != nil {
		return err
	}
	_, err = fmt.Fprintf(conn, "%s yourself", b)
	return errors.Join(err, conn.Close())
}

func dial(path string) error {
	conn, err := net.Dial("unix", path)
	if err != nil {
		return err
	}
	if _, err := conn.Write([]byte("hello")); err != nil {
		return err
	}
	b, err := io.ReadAll(conn)
	fmt.Printf("%s\n", b)
	return err
}

// words are two words at the beginning of a mapped file: whether the one was woken, and
// whether it has answered.
type words [2]int32

func open(path string) (*words, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o666)
	if err != nil {
		return nil, err
	}
	if err := f.Truncate(int64(os.Getpagesize())); err != nil {
		return nil, err
	}
	b, err := unix.Mmap(int(f.Fd()), 0, os.Getpagesize(), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, err
	}
	return (*words)(unsafe.Pointer(unsafe.SliceData(b))), nil
}

func await(path string) error {
	w, err := open(path)
	if err != nil {
		return err
	}
	fmt.Println("mapped")
	if err := waitFor(&w[0]); err != nil {
		return err
	}
	return set(&w[1])
}

func wake(path string) error {
	w, err := open(path)
	if err != nil {
		return err
	}
	if err := set(&w[0]); err != nil {
		return err
	}
	if err := waitFor(&w[1]); err != nil {
		return err
	}
	fmt.Println("answered")
	return nil
}

// The operations of futex(2).
const (
	futexWait = 0
	futexWake = 1
)

// waitFor waits until the other has set the word.
func waitFor(word *int32) error {
	for atomic.LoadInt32(word) == 0 {
		_, _, err := unix.Syscall6(unix.SYS_FUTEX, uintptr(unsafe.Pointer(word)), futexWait, 0, 0, 0, 0)
		if err != 0 && err != unix.EAGAIN && err != unix.EINTR {
			return fmt.Errorf("wait in the file: %w", err)
		}
	}
	return nil
}

// set sets the word and wakes the other.
func set(word *int32) error {
	atomic.StoreInt32(word, 1)
	if _, _, err := unix.Syscall6(unix.SYS_FUTEX, uintptr(unsafe.Pointer(word)), futexWake, 1, 0, 0, 0); err != 0 {
		return fmt.Errorf("wake the other: %w", err)
	}
	return nil
}
