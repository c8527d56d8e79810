package pods

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"containerd-shim-runsc/test/image"
	"containerd-shim-runsc/test/node"
)

var (
	// suite is the node that most tests share.
	suite *node.Node
	// kit is the files of the image kitImage.
	kit []image.File
)

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(runSuite(m))
}

// runSuite returns the exit status of the package: failed too if anything is left behind
// when the tests are done.
func runSuite(m *testing.M) (code int) {
	ctx := context.Background()
	var err error
	if kit, err = makeKit(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "pods: cannot begin:", err)
		return 1
	}
	n, err := startNode(ctx, "", "")
	if err != nil {
		fmt.Fprintln(os.Stderr, "pods: cannot begin:", err)
		return 1
	}
	suite = n
	defer func() {
		if err := endNode(n); err != nil {
			fmt.Fprintln(os.Stderr, "--- FAIL:", err)
			code = 1
		}
	}()
	return m.Run()
}

// kitImage has busybox and the kit.
const kitImage = "docker.io/library/kit:test"

// startNode makes a node with the programs of a directory, "" for SHIM_TEST_BIN. The lines
// of TOML are for the shim's configuration.
func startNode(ctx context.Context, bin, lines string) (*node.Node, error) {
	n, err := node.Start(ctx, node.Options{
		Bin:     bin,
		Images:  []node.Image{{Name: kitImage, Files: kit, Config: image.Config{Cmd: []string{"sh"}}}},
		KeepLog: keepLog(),
	})
	if err != nil {
		return nil, err
	}
	if err := errors.Join(os.MkdirAll(logDir(n), 0o700), configure(n, lines)); err != nil {
		return nil, errors.Join(err, n.Close())
	}
	return n, nil
}

func keepLog() bool { return os.Getenv("KEEP_LOG") != "" }

// endNode closes a node of which all pods were removed.
func endNode(n *node.Node) error {
	if !keepLog() {
		return n.Close()
	}
	kept := n.Dir() + ".shims"
	fmt.Fprintln(os.Stderr, "the shims' logs are in", kept)
	return errors.Join(os.CopyFS(kept, os.DirFS(logDir(n))), n.Close())
}

// configure sets the shim's configuration for the pods that come: a log for each of
// them, where the kubelet is, and the lines.
func configure(n *node.Node, lines string) error {
	return n.WriteShimConfig(fmt.Sprintf("log_level = 'debug'\nlog_path = '%s'\nkubelet_root = '%s'\n%s",
		filepath.Join(logDir(n), "%ID%.log"), n.KubeletRoot(), lines))
}

// logDir has the shims' logs, one for each pod, named by its id.
func logDir(n *node.Node) string { return filepath.Join(n.Dir(), "t", "log") }

// makeKit builds the program of test/pods/kit and returns it with busybox.
func makeKit(ctx context.Context) (files []image.File, err error) {
	if files, err = image.Busybox(filepath.Join(os.Getenv("SHIM_TEST_BIN"), "busybox")); err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "kit")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	path := filepath.Join(dir, "kit")
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w",
		"-o", path, "containerd-shim-runsc/test/pods/kit")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build the kit: %w\n%s", err, out)
	}
	body, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return append(files, image.File{Name: "bin/kit", Mode: 0o755, Body: body}), nil
}

// ownNode makes a node for one test that changes more than its pods.
func ownNode(t *testing.T, lines string) *node.Node {
	t.Helper()
	return ownNodeOf(t, "", lines)
}

// ownNodeOf makes one with the programs of a directory.
func ownNodeOf(t *testing.T, bin, lines string) *node.Node {
	t.Helper()
	n, err := startNode(bounded(t), bin, lines)
	check(t, err)
	t.Cleanup(func() {
		if err := endNode(n); err != nil {
			t.Error(err)
		}
	})
	return n
}

// shimLog returns what the shim of a pod has logged.
func shimLog(n *node.Node, pod string) string {
	text, err := os.ReadFile(filepath.Join(logDir(n), pod+".log"))
	if errors.Is(err, fs.ErrNotExist) {
		return ""
	}
	return strings.TrimSpace(string(text))
}
