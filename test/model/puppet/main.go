// Command puppet is what the processes of test/model run: it does what it is told over
// its stdin, a command in a line, and says on its stdout when it is done.
//
// It ends with TermStatus at SIGTERM, says so at SIGUSR1, and takes SIGUSR2 for nothing.
// At the end of its input, it goes on ("loop", "tty") or ends with EndStatus ("cat").
package main

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"os/signal"

	"golang.org/x/sys/unix"

	"containerd-shim-runsc/test/model/puppet/script"
)

func main() {
	kind := "loop"
	if len(os.Args) > 1 {
		kind = os.Args[1]
	}
	signal.Ignore(unix.SIGUSR2)
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, unix.SIGTERM, unix.SIGUSR1)
	go obey(signals)
	switch kind {
	case "mute":
		select {}
	case "nap":
		say("up\n")
		select {}
	case "tty":
		raw()
	}
	say(script.Ready)
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		do(lines.Text())
	}
	if kind == "cat" {
		os.Exit(script.EndStatus)
	}
	say(script.EOF)
	select {}
}

func obey(signals <-chan os.Signal) {
	for sig := range signals {
		if sig == unix.SIGTERM {
			os.Exit(script.TermStatus)
		}
		say(script.Signalled)
	}
}

func say(text string) { _, _ = os.Stdout.WriteString(text) }

// raw makes the terminal pass everything on as it is.
func raw() {
	t, err := unix.IoctlGetTermios(0, unix.TCGETS)
	if err != nil {
		say(err.Error())
		return
	}
	t.Iflag &^= unix.ICRNL | unix.IXON
	t.Oflag &^= unix.OPOST
	t.Lflag &^= unix.ECHO | unix.ICANON | unix.ISIG
	t.Cc[unix.VMIN], t.Cc[unix.VTIME] = 1, 0
	if err := unix.IoctlSetTermios(0, unix.TCSETS, t); err != nil {
		say(err.Error())
	}
}

func do(line string) {
	var what string
	var n, m int
	_, _ = fmt.Sscan(line, &what, &n, &m)
	switch what {
	case "exit":
		os.Exit(n)
	case "say":
		say(script.Text(n))
	case "last":
		say(script.Text(n))
		os.Exit(m)
	case "err":
		_, _ = os.Stderr.WriteString(script.Text(n))
		say(script.Done)
	case "fork":
		fork()
		say(script.Done)
	case "size":
		size, err := unix.IoctlGetWinsize(0, unix.TIOCGWINSZ)
		if err != nil {
			say(err.Error())
			return
		}
		say(script.Size(int(size.Col), int(size.Row)))
	default:
		say("what is " + line + "?\n")
	}
}

// fork starts a process that stays, and has none of the streams.
func fork() {
	cmd := exec.Command("/bin/puppet", "nap")
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err == nil {
		_, err = out.Read(make([]byte, 1))
	}
	if err != nil {
		say(err.Error())
	}
	go func() { _ = cmd.Wait() }()
}
