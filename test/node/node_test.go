package node

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/tools/remotecommand"
	"k8s.io/client-go/util/exec"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// TestNode does what other tests do with a node, with both handlers.
func TestNode(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	n, err := Start(ctx, Options{ShimConfig: "log_level = 'debug'\n", KeepLog: os.Getenv("KEEP_LOG") != ""})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
	for _, handler := range []string{Runc, Runsc} {
		t.Run(handler, func(t *testing.T) { runOnePod(ctx, t, n, handler) })
	}
	if err := n.StopContainerd(); err != nil {
		t.Fatal(err)
	}
	if err := n.StartContainerd(ctx); err != nil {
		t.Fatal(err)
	}
	// A pod that lives when it is looked for, and is known again after the restart.
	p, err := n.RunPod(ctx, n.PodConfig("left"), Runc)
	if err != nil {
		t.Fatal(err)
	}
	left := strings.Join(n.remains(), "\n")
	for _, what := range []string{
		"process ", "mount ", "bundle ", "file of runsc ", "cgroup ", "address ", "network device veth",
		cniCache + "/" + n.name + "-" + p.ID, cniCache + "/cni-loopback-" + p.ID,
	} {
		if !strings.Contains(left, what) {
			t.Errorf("of a pod that is there nothing is found with %q, only:\n%s", what, left)
		}
	}
	if err := n.RemoveAllPods(ctx); err != nil {
		t.Error(err)
	}
	if left := n.Leftovers(); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}

func runOnePod(ctx context.Context, t *testing.T, n *Node, handler string) {
	config := n.PodConfig("pod-" + handler)
	volume, err := n.EmptyDir(config, "shared", true)
	if err != nil {
		t.Fatal(err)
	}
	p, err := n.RunPod(ctx, config, handler)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := p.Remove(ctx); err != nil {
			t.Error(err)
		}
	}()
	shell := ContainerConfig("shell", "sh", "-c", "echo begun; exec cat")
	shell.Stdin = true
	shell.Mounts = []*runtimeapi.Mount{{HostPath: volume, ContainerPath: "/shared"}}
	c, err := p.Run(ctx, shell)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.AwaitLog(ctx, "the container has begun", func(log string) bool { return strings.Contains(log, "begun") }); err != nil {
		t.Error(err)
	}
	if out, err := c.Output(ctx, "cat", "/proc/version"); err != nil {
		t.Error(err)
	} else if strings.Contains(out, "gvisor") != (handler == Runsc) {
		t.Errorf("a kernel that is not %s's: %s", handler, out)
	}
	var stdout bytes.Buffer
	err = c.ExecStream(ctx, remotecommand.StreamOptions{Stdin: strings.NewReader("word"), Stdout: &stdout, Stderr: io.Discard}, "sh", "-c", "cat; exit 3")
	var failed exec.CodeExitError
	if !errors.As(err, &failed) || failed.Code != 3 || stdout.String() != "word" {
		t.Errorf("exec with streams gave %q and %v, want word and status 3", stdout.String(), err)
	}
	web := ContainerConfig("web")
	web.Image.Image, web.Args = GuestImage, []string{"serve", ":8080"}
	if _, err := p.Run(ctx, web); err != nil {
		t.Fatal(err)
	}
	ips, err := p.IPs(ctx)
	if err != nil || len(ips) != 2 {
		t.Fatalf("the pod has the addresses %q, want two: %v", ips, err)
	}
	client := http.Client{Transport: &http.Transport{DialContext: n.Dial}, Timeout: 2 * time.Second}
	defer client.CloseIdleConnections()
	for _, url := range []string{"http://" + ips[0] + ":8080", "http://[" + ips[1] + "]:8080"} {
		err := n.Until(ctx, url+" answers", func(ctx context.Context) (bool, string) {
			reply, err := client.Get(url)
			if err != nil {
				return false, err.Error()
			}
			return reply.StatusCode == http.StatusOK, reply.Status
		})
		if err != nil {
			t.Error(err)
		}
	}
	forwardOnce(ctx, t, p)
	if stats, err := c.Stats(ctx); err != nil || stats.GetCpu() == nil {
		t.Errorf("statistics: %v, %v", stats, err)
	}
}

func forwardOnce(ctx context.Context, t *testing.T, p *Pod) {
	f, err := p.Forward(ctx, 8080)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	if _, err := io.WriteString(f, "GET / HTTP/1.0\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	reply, err := io.ReadAll(f)
	if err != nil || !strings.Contains(string(reply), "served by guest") {
		t.Errorf("forwarded: %q, %v", reply, err)
	}
	if failure, err := f.Failure(); failure != "" || err != nil {
		t.Errorf("forwarding failed: %q, %v", failure, err)
	}
}
