package node

import (
	"context"
	"slices"
	"strings"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// Remains returns what there is at this moment of what [Node.Leftovers] looks for, as
// far as it has one of the words in its name: of a pod these are its uid, its id, and the
// ids of its containers.
func (n *Node) Remains(words ...string) []string {
	return slices.DeleteFunc(n.remains(), func(what string) bool {
		return !slices.ContainsFunc(words, func(word string) bool { return strings.Contains(what, word) })
	})
}

// Forget removes what [Node.RunPod] has made for a pod that was refused.
func (n *Node) Forget(ctx context.Context, config *runtimeapi.PodSandboxConfig) error {
	return (&Pod{Config: config, node: n}).removeFiles(ctx)
}
