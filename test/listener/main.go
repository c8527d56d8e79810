// Command listener runs in a container and listens on TCP ports of its loopback address.
// Each argument is what it does on a port:
//
//	echo:PORT          answers with what it gets, and ends when that does
//	once:PORT          takes one connection, says how many there are, and stops listening
//	hash:PORT          answers with the SHA-256 of what comes before an empty line
//	bytes:PORT         asks for a number with a line, and sends so many bytes
//	deaf:PORT          listens, with the shortest queue, and accepts nothing
//
// It says "ready" when it listens, and ends at SIGTERM.
package main

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

func main() {
	for _, arg := range os.Args[1:] {
		what, port, _ := strings.Cut(arg, ":")
		if err := serve(what, port); err != nil {
			fmt.Fprintf(os.Stderr, "listener: %s: %v\n", arg, err)
			os.Exit(1)
		}
	}
	end := make(chan os.Signal, 1)
	signal.Notify(end, unix.SIGTERM)
	fmt.Println("ready")
	<-end
}

func serve(what, port string) error {
	if what == "deaf" {
		return deaf(port)
	}
	handle := map[string]func(net.Conn){"echo": echo, "once": once, "hash": hash, "bytes": send}[what]
	if handle == nil {
		return fmt.Errorf("unknown")
	}
	ln, err := net.Listen("tcp", "127.0.0.1:"+port)
	if err != nil {
		return err
	}
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			if what == "once" {
				_ = ln.Close()
			}
			go func() {
				defer func() { _ = c.Close() }()
				handle(c)
			}()
		}
	}()
	return nil
}

func echo(c net.Conn) { _, _ = io.Copy(c, c) }

func once(c net.Conn) {
	_, _ = io.WriteString(c, "the only one\n")
	_, _ = io.Copy(io.Discard, c)
}

func hash(c net.Conn) {
	h, r := sha256.New(), bufio.NewReader(c)
	for {
		line, err := r.ReadBytes('\n')
		if err != nil {
			return
		}
		if len(line) == 1 {
			break
		}
		_, _ = h.Write(line)
	}
	_, _ = fmt.Fprintf(c, "%x", h.Sum(nil))
}

func send(c net.Conn) {
	line, err := bufio.NewReader(c).ReadString('\n')
	if err != nil {
		return
	}
	n, err := strconv.ParseInt(strings.TrimSpace(line), 10, 64)
	if err != nil {
		return
	}
	_, _ = io.CopyN(c, endless{}, n)
}

// endless is a source of x.
type endless struct{}

func (endless) Read(b []byte) (int, error) { return copy(b, bytes.Repeat([]byte("x"), len(b))), nil }

func deaf(port string) error {
	n, err := strconv.Atoi(port)
	if err != nil {
		return err
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	if err != nil {
		return err
	}
	if err := unix.Bind(fd, &unix.SockaddrInet4{Port: n, Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		return err
	}
	return unix.Listen(fd, 1)
}
