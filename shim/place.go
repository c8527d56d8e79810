package shim

import (
	"os"
	"strconv"
	"strings"
)

// adjustOOMScore makes the kernel take the shim before containerd: its score is
// one higher, and the containers' are higher still.
func adjustOOMScore() error {
	const path = "/proc/self/oom_score_adj"
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	score, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		return err
	}
	const most = 1000 // OOM_SCORE_ADJ_MAX
	return os.WriteFile(path, []byte(strconv.Itoa(min(score+1, most))), 0)
}
