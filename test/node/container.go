package node

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"google.golang.org/protobuf/proto"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// Container is a container of a pod.
type Container struct {
	ID     string
	Config *runtimeapi.ContainerConfig
	Pod    *Pod
}

// ContainerConfig returns the configuration of a plain container: a busybox that runs a
// command. Callers add to it before they create it.
func ContainerConfig(name string, command ...string) *runtimeapi.ContainerConfig {
	return &runtimeapi.ContainerConfig{
		Metadata:    &runtimeapi.ContainerMetadata{Name: name},
		Image:       &runtimeapi.ImageSpec{Image: BusyboxImage},
		Command:     command,
		LogPath:     name + ".log",
		Labels:      map[string]string{},
		Annotations: map[string]string{},
		Linux: &runtimeapi.LinuxContainerConfig{
			Resources:       &runtimeapi.LinuxContainerResources{},
			SecurityContext: &runtimeapi.LinuxContainerSecurityContext{NamespaceOptions: &runtimeapi.NamespaceOption{}},
		},
	}
}

// BurstableScore is the oom_score_adj that a kubelet gives to a container which asks for
// little memory, in a pod that is neither guaranteed nor without any request. The pause
// container's is containerd's to give.
const BurstableScore = 999

// withScore returns the configuration with an oom_score_adj, which no kubelet leaves out.
// It is done here because many callers replace all resources.
func withScore(config *runtimeapi.ContainerConfig) *runtimeapi.ContainerConfig {
	if config.GetLinux().GetResources().GetOomScoreAdj() != 0 || config.Linux == nil {
		return config
	}
	config = proto.CloneOf(config)
	if config.Linux.Resources == nil {
		config.Linux.Resources = &runtimeapi.LinuxContainerResources{}
	}
	config.Linux.Resources.OomScoreAdj = BurstableScore
	return config
}

// Create makes a container in the pod, from an image that is pulled if need be.
func (p *Pod) Create(ctx context.Context, config *runtimeapi.ContainerConfig) (*Container, error) {
	config = withScore(config)
	if err := p.node.Pull(ctx, config.Image.Image); err != nil {
		return nil, fmt.Errorf("pull %s: %w", config.Image.Image, err)
	}
	reply, err := p.node.Runtime.CreateContainer(ctx, &runtimeapi.CreateContainerRequest{
		PodSandboxId: p.ID, Config: config, SandboxConfig: p.Config,
	})
	if err != nil {
		return nil, fmt.Errorf("create container %s: %w", config.Metadata.Name, err)
	}
	return &Container{ID: reply.ContainerId, Config: config, Pod: p}, nil
}

// Run makes and starts a container in the pod.
func (p *Pod) Run(ctx context.Context, config *runtimeapi.ContainerConfig) (*Container, error) {
	c, err := p.Create(ctx, config)
	if err != nil {
		return nil, err
	}
	return c, c.Start(ctx)
}

// Start starts the container.
func (c *Container) Start(ctx context.Context) error {
	if _, err := c.node().Runtime.StartContainer(ctx, &runtimeapi.StartContainerRequest{ContainerId: c.ID}); err != nil {
		return fmt.Errorf("start container %s: %w", c.Config.Metadata.Name, err)
	}
	return nil
}

func (c *Container) node() *Node { return c.Pod.node }

// Exec runs a command in the container and waits for its end.
func (c *Container) Exec(ctx context.Context, command ...string) (stdout, stderr string, code int32, err error) {
	reply, err := c.node().Runtime.ExecSync(ctx, &runtimeapi.ExecSyncRequest{ContainerId: c.ID, Cmd: command})
	if err != nil {
		return "", "", 0, fmt.Errorf("exec %q in container %s: %w", command, c.Config.Metadata.Name, err)
	}
	return string(reply.Stdout), string(reply.Stderr), reply.ExitCode, nil
}

// Output runs a command in the container that must succeed, and returns its stdout.
func (c *Container) Output(ctx context.Context, command ...string) (string, error) {
	stdout, stderr, code, err := c.Exec(ctx, command...)
	if err == nil && code != 0 {
		err = fmt.Errorf("exec %q in container %s ended with %d: %s", command, c.Config.Metadata.Name, code, stderr)
	}
	return stdout, err
}

// Status asks for the container's state.
func (c *Container) Status(ctx context.Context) (*runtimeapi.ContainerStatus, error) {
	reply, err := c.node().Runtime.ContainerStatus(ctx, &runtimeapi.ContainerStatusRequest{ContainerId: c.ID})
	if err != nil {
		return nil, err
	}
	return reply.Status, nil
}

// AwaitExit waits until the container has ended, and returns its last state.
func (c *Container) AwaitExit(ctx context.Context) (status *runtimeapi.ContainerStatus, err error) {
	err = c.node().Until(ctx, "container "+c.Config.Metadata.Name+" has ended", func(ctx context.Context) (bool, string) {
		var failed error
		if status, failed = c.Status(ctx); failed != nil {
			return false, failed.Error()
		}
		return status.State == runtimeapi.ContainerState_CONTAINER_EXITED, status.State.String()
	})
	return status, err
}

// Stats asks for what the container uses.
func (c *Container) Stats(ctx context.Context) (*runtimeapi.ContainerStats, error) {
	reply, err := c.node().Runtime.ContainerStats(ctx, &runtimeapi.ContainerStatsRequest{ContainerId: c.ID})
	if err != nil {
		return nil, err
	}
	return reply.Stats, nil
}

// Update changes the container's resources.
func (c *Container) Update(ctx context.Context, resources *runtimeapi.LinuxContainerResources) error {
	_, err := c.node().Runtime.UpdateContainerResources(ctx, &runtimeapi.UpdateContainerResourcesRequest{
		ContainerId: c.ID, Linux: resources,
	})
	return err
}

// Stop stops the container: it has so many seconds to end by itself.
func (c *Container) Stop(ctx context.Context, seconds int64) error {
	_, err := c.node().Runtime.StopContainer(ctx, &runtimeapi.StopContainerRequest{ContainerId: c.ID, Timeout: seconds})
	return err
}

// Remove removes the container, also a running one.
func (c *Container) Remove(ctx context.Context) error {
	_, err := c.node().Runtime.RemoveContainer(ctx, &runtimeapi.RemoveContainerRequest{ContainerId: c.ID})
	return err
}

// LogPath is the file with what the container has written, in the CRI's format.
func (c *Container) LogPath() string {
	return filepath.Join(c.Pod.Config.LogDirectory, c.Config.LogPath)
}

// AwaitLog waits until the container's log satisfies a condition, and returns it.
func (c *Container) AwaitLog(ctx context.Context, what string, holds func(log string) bool) (log string, err error) {
	err = c.node().Until(ctx, what, func(context.Context) (bool, string) {
		text, err := os.ReadFile(c.LogPath())
		if err != nil {
			return false, err.Error()
		}
		log = string(text)
		return holds(log), log
	})
	return log, err
}
