package faults

import (
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// TestCells counts the cells that there are and those of them that this run has chosen, and
// checks that the package's documentation has the number right.
func TestCells(t *testing.T) {
	t.Parallel()
	total, run := 0, 0
	for _, faults := range [][]fault{
		processFaults(), runscFaults(), diskFaults(), limitFaults(), fifoFaults(), sinkFaults(),
		slices.Concat(connectionFaults(), givenUpFaults()),
	} {
		cells, _ := cellsOf(faults)
		total, run = total+len(cells), run+len(choose(cells))
	}
	answers := answerCells()
	total, run = total+len(answers), run+len(choose(answers))
	t.Logf("%d of %d cells are run: %s", run, total, choice())

	doc, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	if want := "There are " + strconv.Itoa(total) + " cells."; !strings.Contains(string(doc), want) {
		t.Errorf("doc.go does not say %q", want)
	}
}
