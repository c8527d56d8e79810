package e2e

import (
	"fmt"
	"testing"

	containerd "github.com/containerd/containerd/v2/client"
	"golang.org/x/sys/unix"
)

// TestIDsThatArePrefixes: containers whose ids begin alike are told apart, alone and
// in one pod.
func TestIDsThatArePrefixes(t *testing.T) {
	t.Parallel()
	suffixes := []string{"web", "web-1", "web-1-1", "we"}
	apart := func(t *testing.T, tasks []*task) {
		t.Helper()
		for i, k := range tasks {
			j := k.exec("e", "sh", "-c", fmt.Sprintf("exit %d", i))
			j.ends(uint32(i))
			metric, err := k.Metrics(bounded(t))
			check(t, err)
			if metric.ID != k.ID() {
				t.Errorf("metrics of %s are those of %s", k.ID(), metric.ID)
			}
		}
		for i, k := range tasks {
			k.kill(unix.SIGKILL)
			k.ends(137)
			for _, other := range tasks[i+1:] {
				if got := other.state(); got != containerd.Running {
					t.Errorf("%s is %s after the end of %s", other.ID(), got, k.ID())
				}
			}
		}
	}
	t.Run("alone", func(t *testing.T) {
		var tasks []*task
		for _, s := range suffixes {
			tasks = append(tasks, run(t, idOf(t, s), forever()))
		}
		apart(t, tasks)
	})
	t.Run("in one pod", func(t *testing.T) {
		p := newPod(t)
		var tasks []*task
		for _, s := range suffixes {
			tasks = append(tasks, p.run(s, forever()))
		}
		apart(t, tasks)
	})
}
