// Command kit is what the containers of the pod tests run beside busybox's programs.
//
//	kit echo NETWORK ADDR   serve connections (tcp4, tcp6, unix): send back what comes
//	kit pour ADDR MIB       serve TCP connections: send so much of the pattern, and close
//	kit sink ADDR MIB       serve one TCP connection: wait a second, read so much of the
//	                        pattern, and say "all" or where it is another
//	kit talk NETWORK ADDR   connect, send stdin, print the answer
//	kit hog MIB             use so much memory, say "full", and sleep
//	kit burn                use a processor
package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"time"
)

func main() {
	args := append(os.Args[1:], "", "", "")
	var err error
	switch args[0] {
	case "echo":
		err = echo(args[1], args[2])
	case "pour":
		err = pour(args[1], args[2])
	case "sink":
		err = sink(args[1], args[2])
	case "talk":
		err = talk(args[1], args[2])
	case "hog":
		err = hog(args[1])
	case "burn":
		burn()
	default:
		err = fmt.Errorf("unknown command %q", args[0])
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "kit:", err)
		os.Exit(1)
	}
}

func echo(network, address string) error {
	l, err := net.Listen(network, address)
	if err != nil {
		return err
	}
	fmt.Println("listening")
	for {
		conn, err := l.Accept()
		if err != nil {
			return err
		}
		go func() {
			_, _ = io.Copy(conn, conn)
			_ = conn.Close()
		}()
	}
}

// pattern returns so much of a random text with a seed that everybody knows.
func pattern(mib string) (io.Reader, error) {
	n, err := strconv.ParseInt(mib, 10, 32)
	return io.LimitReader(rand.NewChaCha8([32]byte{}), n<<20), err
}

func pour(address, mib string) error {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	fmt.Println("listening")
	for {
		conn, err := l.Accept()
		if err != nil {
			return err
		}
		text, err := pattern(mib)
		if err != nil {
			return err
		}
		go func() {
			_, _ = io.Copy(conn, text)
			_ = conn.Close()
		}()
	}
}

func sink(address, mib string) error {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	fmt.Println("listening")
	conn, err := l.Accept()
	if err != nil {
		return err
	}
	time.Sleep(time.Second)
	text, err := pattern(mib)
	if err != nil {
		return err
	}
	want, got := bufio.NewReader(text), bufio.NewReader(conn)
	for n := 0; ; n++ {
		b, err := want.ReadByte()
		if err == io.EOF {
			break
		}
		if have, err := got.ReadByte(); err != nil || have != b {
			fmt.Println("another at", n, err)
			return nil
		}
	}
	fmt.Println("all")
	return nil
}

func talk(network, address string) error {
	conn, err := net.Dial(network, address)
	if err != nil {
		return err
	}
	go func() {
		_, _ = io.Copy(conn, os.Stdin)
		_ = conn.(interface{ CloseWrite() error }).CloseWrite()
	}()
	_, err = io.Copy(os.Stdout, conn)
	return err
}

// hog uses memory of its own, of which each page is different.
func hog(text string) error {
	mib, err := strconv.Atoi(text)
	if err != nil {
		return err
	}
	var kept [][]byte
	for i := range mib {
		kept = append(kept, bytes.Repeat([]byte{byte(i + 1)}, 1<<20))
	}
	fmt.Println("full")
	time.Sleep(time.Hour)
	fmt.Println(len(kept))
	return nil
}

func burn() {
	for n := 0; ; n++ {
		_ = n * n
	}
}
