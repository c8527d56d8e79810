package critest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"containerd-shim-runsc/test/node"
)

// processes is how many of the suite's tests run at once. Most of them wait most of the
// time.
const processes = 6

const (
	// runTime bounds a run, suiteTime the suite in it: ginkgo has the rest to end what still
	// runs and to write the report, which says what it was that took so long.
	runTime   = 14 * time.Minute
	suiteTime = runTime - 2*time.Minute
	// sweepTime bounds the clean-up after it.
	sweepTime = time.Minute
)

// TestSuite runs the suite: with runc and with the shim in both ways, or as CRI_RUN says.
func TestSuite(t *testing.T) {
	want := readExpected(t)
	if t.Failed() {
		return
	}
	runs := []string{runRunc, runDefaults, runOptions}
	if chosen := os.Getenv("CRI_RUN"); chosen != "" {
		runs = strings.Split(chosen, ",")
	}
	results := map[string][]result{}
	for _, run := range runs {
		t.Run(run, func(t *testing.T) {
			handler, config := node.Runsc, ""
			switch run {
			case runDefaults:
			case runOptions:
				config = want.Options
			case runRunc:
				handler = node.Runc
			default:
				t.Fatalf("CRI_RUN: there is no run %q", run)
			}
			results[run] = runSuite(t, handler, config)
			tell(t, run, results[run])
			for _, what := range want.differences(run, results[run], focus() != "") {
				t.Error(what)
			}
		})
	}
	if focus() != "" {
		return
	}
	for _, run := range runs {
		c := want.count(run, results[run], results[runRunc])
		t.Logf("%s: %d of the %d tests pass that runc passes", run, c.passed, c.ofRunc)
		if c.passed < c.least {
			t.Errorf("%s: %d of the tests pass that runc passes, want at least %d", run, c.passed, c.least)
		}
	}
}

// focus is a pattern of the tests to run, or "" for all.
func focus() string { return os.Getenv("CRI_FOCUS") }

// tell says how many tests have passed, and keeps the results where CRI_REPORT says.
func tell(t *testing.T, run string, results []result) {
	t.Helper()
	passed := 0
	var report strings.Builder
	for _, r := range results {
		if r.passed() {
			passed++
		}
		fmt.Fprintf(&report, "%-8s %6.1f s  %s\n", r.state, r.seconds, r.name)
		if r.message != "" {
			fmt.Fprintf(&report, "    %s\n", strings.ReplaceAll(r.message, "\n", "\n    "))
		}
	}
	t.Logf("%s: %d of %d tests pass", run, passed, len(results))
	if dir := os.Getenv("CRI_REPORT"); dir != "" {
		if err := os.WriteFile(filepath.Join(dir, run+".txt"), []byte(report.String()), 0o600); err != nil {
			t.Error(err)
		}
	}
}

// runSuite runs critest on a node of its own.
func runSuite(t *testing.T, handler, config string) []result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), runTime)
	defer cancel()
	bin := os.Getenv("SHIM_TEST_BIN")
	for _, tool := range []string{"critest", "ginkgo"} {
		if _, err := os.Stat(filepath.Join(bin, tool)); err != nil {
			t.Fatalf("SHIM_TEST_BIN: %v; see `make test-cri`", err)
		}
	}
	list, err := images(ctx, bin)
	if err != nil {
		t.Fatal(err)
	}
	n, err := node.Start(ctx, node.Options{
		DefaultHandler: handler, ShimConfig: config, Images: list, KeepLog: os.Getenv("KEEP_LOG") != "",
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	}()
	files := filepath.Join(n.Dir(), "t")
	if err := os.Mkdir(files, 0o700); err != nil {
		t.Fatal(err)
	}
	report := filepath.Join(files, "report.json")
	output, err := critest(ctx, n, handler, report, files)
	// A test that fails is an error as well; then there is a report.
	var failed *exec.ExitError
	if err != nil && !errors.As(err, &failed) {
		t.Fatal(err)
	}
	sweep(t, n, files)
	results, err := readReport(report)
	if err != nil || len(results) == 0 {
		t.Fatalf("the suite has not run: %v\n%s", err, output)
	}
	return results
}

// sweep removes what tests of the suite leave that fail half-way: pods, and mounts in
// their directory. It has time of its own: it is needed most when the suite's is over.
func sweep(t *testing.T, n *node.Node, files string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), sweepTime)
	defer cancel()
	if err := n.RemoveAllPods(ctx); err != nil {
		t.Errorf("remove the suite's pods: %v", err)
	}
	for _, path := range slices.Backward(n.Mounts()) {
		if strings.HasPrefix(path, files+"/") {
			_ = unix.Unmount(path, unix.MNT_DETACH)
		}
	}
}

// critest runs the suite to its end, on the node's network.
func critest(ctx context.Context, n *node.Node, handler, report, files string) (string, error) {
	args := []string{
		fmt.Sprintf("--procs=%d", processes), "--json-report=" + filepath.Base(report),
		"--output-dir=" + filepath.Dir(report), "--skip=benchmark", "--no-color", "--timeout=" + suiteTime.String(),
	}
	if pattern := focus(); pattern != "" {
		args = append(args, "--focus="+pattern)
	}
	// ginkgo takes only a file with this ending for a suite.
	suite := filepath.Join(files, "critest.test")
	if err := os.Symlink(n.Tool("critest"), suite); err != nil {
		return "", err
	}
	args = append(args, suite, "--", "-runtime-endpoint=unix://"+n.Address(), "-runtime-handler="+handler)
	output := &strings.Builder{}
	cmd := exec.CommandContext(ctx, n.Tool("ginkgo"), args...)
	cmd.Stdout, cmd.Stderr = output, output
	cmd.Dir = files
	cmd.Env = append(os.Environ(), "TMPDIR="+files)
	// The suite's processes are ginkgo's: with it they must end.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	if err := n.StartProcess(cmd); err != nil {
		return "", err
	}
	err := cmd.Wait()
	return output.String(), err
}
