package node

import (
	"context"
	"encoding/json"
	"fmt"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// FindPod returns the pod that was asked for with a configuration, nil if containerd knows
// none, for those who did not get the answer.
func (n *Node) FindPod(ctx context.Context, config *runtimeapi.PodSandboxConfig) (*Pod, error) {
	reply, err := n.Runtime.ListPodSandbox(ctx, &runtimeapi.ListPodSandboxRequest{})
	if err != nil {
		return nil, err
	}
	for _, item := range reply.Items {
		if item.Metadata.GetUid() == config.Metadata.Uid {
			return &Pod{ID: item.Id, Config: config, Handler: item.RuntimeHandler, node: n}, nil
		}
	}
	return nil, nil
}

// Containers returns the ids of the pod's containers, also of those that have ended.
func (p *Pod) Containers(ctx context.Context) ([]string, error) {
	reply, err := p.node.Runtime.ListContainers(ctx, &runtimeapi.ListContainersRequest{
		Filter: &runtimeapi.ContainerFilter{PodSandboxId: p.ID},
	})
	if err != nil {
		return nil, err
	}
	var ids []string
	for _, c := range reply.Containers {
		ids = append(ids, c.Id)
	}
	return ids, nil
}

// SandboxPID returns the process id of the pod's sandbox.
func (p *Pod) SandboxPID(ctx context.Context) (int, error) {
	_, info, err := p.Status(ctx)
	if err != nil {
		return 0, err
	}
	var more struct{ PID int }
	if err := json.Unmarshal([]byte(info["info"]), &more); err != nil {
		return 0, fmt.Errorf("the status of pod %s: %w", p.Config.Metadata.Name, err)
	}
	if more.PID == 0 {
		return 0, fmt.Errorf("the status of pod %s has no process id: %s", p.Config.Metadata.Name, info["info"])
	}
	return more.PID, nil
}
