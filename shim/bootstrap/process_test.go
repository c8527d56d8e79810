package bootstrap

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// socketEnv makes the test's own program a start that listens at its value.
const socketEnv = "BOOTSTRAP_TEST_SOCKET"

func TestMain(m *testing.M) {
	path := os.Getenv(socketEnv)
	if path == "" {
		os.Exit(m.Run())
	}
	bufio.NewReader(os.Stdin).ReadString('\n') // the sign to begin
	ln, joined, err := listen(context.Background(), path)
	fmt.Println(joined, err)
	bufio.NewReader(os.Stdin).ReadString('\n') // the sign to end
	if ln != nil {
		ln.Close()
	}
}

func TestR1_ProcessesAtTheSameMoment(t *testing.T) {
	path := socketIn(t)
	dead(t, path)
	type process struct {
		in  *os.File
		out *bufio.Reader
	}
	var processes []process
	for range 8 {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), socketEnv+"="+path,
			"GORACE=atexit_sleep_ms=0") // else the race detector lingers for a second
		cmd.Stderr = os.Stderr
		inRead, inWrite, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		cmd.Stdin = inRead
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		inRead.Close()
		t.Cleanup(func() {
			inWrite.Close() // lets the process end
			cmd.Wait()
		})
		processes = append(processes, process{inWrite, bufio.NewReader(out)})
	}
	for _, p := range processes {
		if _, err := p.in.WriteString("\n"); err != nil {
			t.Fatal(err)
		}
	}
	listeners := 0
	for _, p := range processes {
		line, err := p.out.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		switch strings.TrimSpace(line) {
		case "false <nil>":
			listeners++
		case "true <nil>":
		default:
			t.Errorf("a start says %q", line)
		}
	}
	if listeners != 1 {
		t.Errorf("%d of %d starts have the listener", listeners, len(processes))
	}
}
