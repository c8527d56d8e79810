package soak

import (
	"bufio"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// writer is the script of a process that numbers the lines that it writes, and ends.
func writer(lines int, status int) string {
	return fmt.Sprintf("i=0; while [ $i -lt %d ]; do echo line $i; i=$((i+1)); done; exit %d", lines, status)
}

// forever is one that writes in bursts until it is killed.
const foreverWriter = `trap 'exit 143' TERM; i=0
while :; do
	j=$((i+100)); while [ $i -lt $j ]; do echo line $i; i=$((i+1)); done
	sleep 0.2 & wait
done`

// whole returns what a writer of so many lines writes.
func whole(lines int) string {
	var b strings.Builder
	for i := range lines {
		fmt.Fprintln(&b, "line", i)
	}
	return b.String()
}

// counter checks numbered lines while they are read.
type counter struct {
	mu   sync.Mutex
	next int
	err  error
}

// read reads lines to their end.
func (c *counter) read(r io.Reader) {
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		c.line(lines.Text())
	}
	// A FIFO's end is no error.
}

func (c *counter) line(text string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if want := fmt.Sprint("line ", c.next); text != want && c.err == nil {
		c.err = fmt.Errorf("a line is %q, want %q", text, want)
	}
	c.next++
}

// result returns how many lines there were, and what was wrong with them.
func (c *counter) result() (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.next, c.err
}

// mostLost is how many bytes containerd may have read of a container's output and not yet
// written when it ends: it copies 32 KiB at a time, and its logger reads 4 KiB at a time.
const mostLost = 36 << 10

// logLine is a line of a log of the CRI: a time, a stream, F or P, and a numbered line.
type logLine struct{ numbered *regexp.Regexp }

func newLogLine() logLine {
	return logLine{regexp.MustCompile(`^(\S+) (?:stdout|stderr) F line (\d+)\r?\n?$`)}
}

func (l logLine) parse(text string) (at time.Time, number int, ok bool) {
	m := l.numbered.FindStringSubmatch(text)
	if m == nil {
		return at, 0, false
	}
	at, err := time.Parse(time.RFC3339Nano, m[1])
	if err != nil {
		return at, 0, false
	}
	number, err = strconv.Atoi(m[2])
	return at, number, err == nil
}

// checkLog checks the log of a writer: its lines come in their order, each once, and none
// lacks but what containerd lost at the moment of a restart. A writer that has ended has
// written want lines, one that goes on has want -1. It returns how many lines containerd
// lost.
func checkLog(text string, want int, begun time.Time, restarts *eras) (lost int, err error) {
	parser, next, last, broken := newLogLine(), 0, begun, ""
	excused := func(to time.Time, lines int) error {
		times := restarts.between(last, to)
		if most := times * mostLost; times == 0 || lines*len("line 0\n") > most {
			return fmt.Errorf("after line %d, between %s and %s, %d lines lack, or are broken as %q, with %d restarts meanwhile",
				next-1, last.Format(time.RFC3339Nano), to.Format(time.RFC3339Nano), lines, broken, times)
		}
		return nil
	}
	for line := range strings.Lines(text) {
		at, number, ok := parser.parse(line)
		switch {
		case !ok:
			// A line that was cut in two, if it was.
			broken = line
			continue
		case number < next:
			return lost, fmt.Errorf("line %d comes again, after line %d: %q", number, next-1, line)
		case number > next || broken != "":
			if err := excused(at, number-next); err != nil {
				return lost, err
			}
			lost += number - next
		}
		next, last, broken = number+1, at, ""
	}
	if want >= 0 && (next < want || broken != "") {
		if err := excused(time.Now(), want-next); err != nil {
			return lost, err
		}
		lost += want - next
	}
	if want >= 0 && next > want {
		err = fmt.Errorf("there are %d lines, want %d", next, want)
	}
	return lost, err
}

// TestCheckLog: what the check of a log lets pass, and what it does not.
func TestCheckLog(t *testing.T) {
	begun := time.Now().Add(-time.Hour)
	at := func(seconds int) time.Time { return begun.Add(time.Duration(seconds) * time.Second) }
	restarts := newEras()
	restarts.gaps = []gap{{asked: at(10), gone: at(11), back: at(13)}}
	log := func(parts ...any) string {
		var b strings.Builder
		for i := 0; i < len(parts); i += 2 {
			fmt.Fprintf(&b, "%s stdout F %v\n", at(parts[i].(int)).Format(time.RFC3339Nano), parts[i+1])
		}
		return b.String()
	}
	for name, tt := range map[string]struct {
		log  string
		want int
		lost int
		bad  bool
	}{
		"all":                   {log: log(1, "line 0", 2, "line 1", 20, "line 2"), want: 3},
		"more":                  {log: log(1, "line 0", 2, "line 1"), want: 1, bad: true},
		"none":                  {log: "", want: 1, lost: 1}, // it may have begun before the restart
		"lost at the restart":   {log: log(9, "line 0", 13, "line 5"), want: 6, lost: 4},
		"too many are lost":     {log: log(9, "line 0", 13, "line 9000"), want: 9001, bad: true},
		"lost before it":        {log: log(8, "line 0", 9, "line 2", 20, "line 3"), want: 4, bad: true},
		"lost after it":         {log: log(1, "line 0", 12, "line 1", 20, "line 3"), want: 4, bad: true},
		"the last at it":        {log: log(9, "line 0"), want: 3, lost: 2},
		"the last after it":     {log: log(9, "line 0", 14, "line 1"), want: 3, bad: true},
		"one comes again":       {log: log(9, "line 0", 14, "line 1", 14, "line 1"), want: 2, bad: true},
		"order":                 {log: log(1, "line 1", 2, "line 0"), want: 2, bad: true},
		"broken at the restart": {log: log(9, "line 0", 13, "e 2", 13, "line 3"), want: 4, lost: 2},
		"broken elsewhere":      {log: log(1, "line 0", 2, "e 1", 2, "line 2"), want: 3, bad: true},
		"it goes on":            {log: log(1, "line 0"), want: -1},
	} {
		lost, err := checkLog(tt.log, tt.want, begun, restarts)
		if (err != nil) != tt.bad || err == nil && lost != tt.lost {
			t.Errorf("%s: %d are lost, %v; want %d, an error: %t", name, lost, err, tt.lost, tt.bad)
		}
	}
}
