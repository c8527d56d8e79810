package node

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// Pod is a pod of a node.
type Pod struct {
	ID      string
	Config  *runtimeapi.PodSandboxConfig
	Handler string
	node    *Node
}

// PodConfig returns what a kubelet would say of a plain pod: with an uid, a folder for
// logs, and the cgroup's name. Callers add to it before they run it. None of these
// places exists before RunPod, except the volumes that [Node.EmptyDir] makes.
func (n *Node) PodConfig(name string) *runtimeapi.PodSandboxConfig {
	uid := strings.ToLower(rand.Text())
	return &runtimeapi.PodSandboxConfig{
		Metadata: &runtimeapi.PodSandboxMetadata{Name: name, Uid: uid, Namespace: "test"},
		Hostname: name,
		// Not below the pod's own folder: logs outlive it.
		LogDirectory: n.path("kubelet", "logs", uid),
		Labels:       map[string]string{},
		Annotations:  map[string]string{},
		Linux: &runtimeapi.LinuxPodSandboxConfig{
			CgroupParent:    n.podCgroup(uid),
			SecurityContext: &runtimeapi.LinuxSandboxSecurityContext{NamespaceOptions: &runtimeapi.NamespaceOption{}},
		},
	}
}

// KubeletRoot is the node's counterpart of /var/lib/kubelet.
func (n *Node) KubeletRoot() string { return n.path("kubelet") }

// EmptyDir makes an emptyDir volume of a pod that is to be run, and returns its path. In
// memory it is a tmpfs, which goes with the pod.
func (n *Node) EmptyDir(config *runtimeapi.PodSandboxConfig, name string, inMemory bool) (string, error) {
	path := filepath.Join(n.podDir(config), "volumes", "kubernetes.io~empty-dir", name)
	if err := os.MkdirAll(path, 0o755); err != nil {
		return "", err
	}
	// Whatever the umask is.
	if !inMemory {
		return path, os.Chmod(path, 0o777)
	}
	if err := unix.Mount("tmpfs", path, "tmpfs", 0, "mode=0777"); err != nil {
		return "", fmt.Errorf("mount the volume %s: %w", path, err)
	}
	return path, nil
}

func (n *Node) podDir(config *runtimeapi.PodSandboxConfig) string {
	return n.path("kubelet", "pods", config.Metadata.Uid)
}

// RunPod runs a pod's sandbox as a kubelet does. The handler "" is the node's default.
func (n *Node) RunPod(ctx context.Context, config *runtimeapi.PodSandboxConfig, handler string) (*Pod, error) {
	if parent := config.Linux.GetCgroupParent(); parent != "" {
		if err := makePodCgroup(parent); err != nil {
			return nil, err
		}
	}
	if err := errors.Join(os.MkdirAll(config.LogDirectory, 0o755), os.MkdirAll(n.podDir(config), 0o755)); err != nil {
		return nil, err
	}
	reply, err := n.Runtime.RunPodSandbox(ctx, &runtimeapi.RunPodSandboxRequest{Config: config, RuntimeHandler: handler})
	if err != nil {
		return nil, fmt.Errorf("run pod %s: %w", config.Metadata.Name, err)
	}
	return &Pod{ID: reply.PodSandboxId, Config: config, Handler: handler, node: n}, nil
}

// Status asks for the pod's state. The map has more, as JSON, for those who debug.
func (p *Pod) Status(ctx context.Context) (*runtimeapi.PodSandboxStatus, map[string]string, error) {
	reply, err := p.node.Runtime.PodSandboxStatus(ctx, &runtimeapi.PodSandboxStatusRequest{PodSandboxId: p.ID, Verbose: true})
	if err != nil {
		return nil, nil, err
	}
	return reply.Status, reply.Info, nil
}

// IPs returns the pod's addresses.
func (p *Pod) IPs(ctx context.Context) ([]string, error) {
	status, _, err := p.Status(ctx)
	if err != nil {
		return nil, err
	}
	list := []string{status.GetNetwork().GetIp()}
	for _, more := range status.GetNetwork().GetAdditionalIps() {
		list = append(list, more.Ip)
	}
	return list, nil
}

// Stats asks for what the pod uses.
func (p *Pod) Stats(ctx context.Context) (*runtimeapi.PodSandboxStats, error) {
	reply, err := p.node.Runtime.PodSandboxStats(ctx, &runtimeapi.PodSandboxStatsRequest{PodSandboxId: p.ID})
	if err != nil {
		return nil, err
	}
	return reply.Stats, nil
}

// Stop stops the pod and all its containers.
func (p *Pod) Stop(ctx context.Context) error {
	_, err := p.node.Runtime.StopPodSandbox(ctx, &runtimeapi.StopPodSandboxRequest{PodSandboxId: p.ID})
	return err
}

// Remove stops and removes the pod, with its containers, volumes and cgroup.
func (p *Pod) Remove(ctx context.Context) error {
	if err := p.Stop(ctx); err != nil {
		return fmt.Errorf("stop pod %s: %w", p.Config.Metadata.Name, err)
	}
	if _, err := p.node.Runtime.RemovePodSandbox(ctx, &runtimeapi.RemovePodSandboxRequest{PodSandboxId: p.ID}); err != nil {
		return fmt.Errorf("remove pod %s: %w", p.Config.Metadata.Name, err)
	}
	return p.removeFiles(ctx)
}

// removeFiles removes what the kubelet would.
func (p *Pod) removeFiles(ctx context.Context) error {
	dir := p.node.podDir(p.Config)
	volumes, _ := filepath.Glob(filepath.Join(dir, "volumes", "*", "*"))
	for _, path := range volumes {
		// Only those in memory are mounts.
		if err := unix.Unmount(path, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) {
			return fmt.Errorf("unmount the volume %s: %w", path, err)
		}
	}
	if err := errors.Join(os.RemoveAll(dir), os.RemoveAll(p.Config.LogDirectory)); err != nil {
		return err
	}
	parent := p.Config.Linux.GetCgroupParent()
	if parent == "" {
		return nil
	}
	// A process that has ended may be counted for another moment.
	return p.node.Until(ctx, "cgroup "+parent+" can be removed", func(context.Context) (bool, string) {
		err := endPodCgroup(parent)
		return err == nil, fmt.Sprint(err)
	})
}

// RemoveAllPods removes all pods of the node, whoever made them.
func (n *Node) RemoveAllPods(ctx context.Context) error {
	reply, err := n.Runtime.ListPodSandbox(ctx, &runtimeapi.ListPodSandboxRequest{})
	if err != nil {
		return err
	}
	var errs []error
	for _, item := range reply.Items {
		uid := item.Metadata.Uid
		p := &Pod{ID: item.Id, node: n, Config: &runtimeapi.PodSandboxConfig{
			Metadata: item.Metadata, LogDirectory: n.path("kubelet", "logs", uid),
			Linux: &runtimeapi.LinuxPodSandboxConfig{CgroupParent: n.podCgroup(uid)},
		}}
		errs = append(errs, p.Remove(ctx))
	}
	return errors.Join(errs...)
}

// Pull makes containerd fetch an image, unless it has it.
func (n *Node) Pull(ctx context.Context, name string) error {
	status, err := n.Images.ImageStatus(ctx, &runtimeapi.ImageStatusRequest{Image: &runtimeapi.ImageSpec{Image: name}})
	if err != nil || status.Image != nil {
		return err
	}
	_, err = n.Images.PullImage(ctx, &runtimeapi.PullImageRequest{Image: &runtimeapi.ImageSpec{Image: name}})
	return err
}
