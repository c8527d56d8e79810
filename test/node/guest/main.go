// Command guest is what the nodes' own images run.
//
//	guest pause          wait for a signal and reap orphans, as a pod's first container
//	guest serve ADDR     answer every HTTP request with a line; what follows ADDR is
//	                     for those who look for the process by its command line
//	guest euid           print the effective user
//	guest addbr NAME     make a network bridge, as brctl of bridge-utils and of old
//	                     busyboxes does; that of newer ones looks into sysfs first
//
// Images may have it under another name, which serve logs and keeps its process id
// under, as daemons do: /var/run/NAME.pid.
package main

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"unsafe"

	"golang.org/x/sys/unix"
)

func main() {
	args := append(os.Args[1:], "", "")
	var err error
	switch args[0] {
	case "pause":
		pause()
	case "serve":
		err = serve(args[1])
	case "addbr":
		err = addBridge(args[1])
	case "euid":
		fmt.Println("Effective uid:", os.Geteuid())
	default:
		err = fmt.Errorf("unknown command %q", args[0])
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "guest:", err)
		os.Exit(1)
	}
}

func pause() {
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, unix.SIGINT, unix.SIGTERM, unix.SIGCHLD)
	for s := range signals {
		if s != unix.SIGCHLD {
			return
		}
		for {
			pid, err := unix.Wait4(-1, nil, unix.WNOHANG, nil)
			if pid <= 0 || err != nil {
				break
			}
		}
	}
}

func serve(address string) error {
	name := filepath.Base(os.Args[0])
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	if err := os.MkdirAll("/var/run", 0o755); err != nil {
		return err
	}
	pid := fmt.Sprintln(os.Getpid())
	if err := os.WriteFile("/var/run/"+name+".pid", []byte(pid), 0o600); err != nil {
		return err
	}
	fmt.Printf("%s: serving on %s\n", name, address)
	return http.Serve(listener, http.HandlerFunc(
		func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "served by", name) }))
}

func addBridge(name string) error {
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	if err != nil {
		return err
	}
	cname, err := unix.BytePtrFromString(name)
	if err != nil {
		return err
	}
	// The request is the name itself.
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(socket), unix.SIOCBRADDBR, uintptr(unsafe.Pointer(cname))); errno != 0 {
		return fmt.Errorf("make bridge %s: %w", name, errno)
	}
	return nil
}
