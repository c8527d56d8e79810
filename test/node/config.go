package node

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/moby/sys/capability"
)

// configure writes the configuration of containerd and of the shim.
func (n *Node) configure() error {
	restrict, err := mustRestrictOOMScore()
	if err != nil {
		return err
	}
	config := strings.NewReplacer(
		"{dir}", n.dir,
		"{bin}", n.opts.Bin,
		"{address}", n.Address(),
		"{handler}", n.opts.DefaultHandler,
		"{pause}", pauseImage,
		"{restrict}", strconv.FormatBool(restrict),
		"{stream}", strconv.Itoa(n.opts.StreamPort),
	).Replace(containerdConfig)
	return errors.Join(
		os.WriteFile(n.path("config.toml"), []byte(config), 0o600),
		n.WriteShimConfig(n.opts.ShimConfig),
	)
}

// mustRestrictOOMScore tells whether a process here may not lower its OOM score. runc
// starts nothing then, unless containerd asks for none below its own.
func mustRestrictOOMScore() (bool, error) {
	caps, err := capability.NewPid2(0)
	if err != nil {
		return false, err
	}
	if err := caps.Load(); err != nil {
		return false, err
	}
	return !caps.Get(capability.EFFECTIVE, capability.CAP_SYS_RESOURCE), nil
}

const containerdConfig = `version = 3
root = '{dir}/root'
state = '{dir}/state'
imports = []
disabled_plugins = ['io.containerd.internal.v1.opt', 'io.containerd.internal.v1.tracing']

[grpc]
  address = '{address}'

[plugins.'io.containerd.shim.v1.manager']
  socket_dir = '{dir}/s'

[plugins.'io.containerd.nri.v1.nri']
  disable = true

[plugins.'io.containerd.image-verifier.v1.bindir']
  bin_dir = '{dir}/verifiers'

[plugins.'io.containerd.grpc.v1.cri']
  disable_tcp_service = true
  stream_server_address = '127.0.0.1'
  stream_server_port = '{stream}'

[plugins.'io.containerd.cri.v1.images']
  snapshotter = 'overlayfs'
  [plugins.'io.containerd.cri.v1.images'.pinned_images]
    sandbox = '{pause}'
  [plugins.'io.containerd.cri.v1.images'.registry]
    config_path = '{dir}/certs.d'

[plugins.'io.containerd.cri.v1.runtime']
  restrict_oom_score_adj = {restrict}
  netns_mounts_under_state_dir = true
  cdi_spec_dirs = ['{dir}/cdi']

[plugins.'io.containerd.cri.v1.runtime'.cni]
  bin_dirs = ['{bin}/cni']
  conf_dir = '{dir}/net.d'

[plugins.'io.containerd.cri.v1.runtime'.containerd]
  default_runtime_name = '{handler}'

[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runsc]
  runtime_type = 'io.containerd.runsc.v1'
  pod_annotations = ['dev.gvisor.*']
  container_annotations = ['dev.gvisor.*']
  [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runsc.options]
    TypeUrl = 'io.containerd.runsc.v1.options'
    ConfigPath = '{dir}/runsc.toml'

[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
  runtime_type = 'io.containerd.runc.v2'
  [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
    BinaryName = '{bin}/runc'
    Root = '{dir}/runc'
`

// WriteShimConfig writes the shim's configuration anew: the lines of TOML after the
// node's own. It counts for pods that are made from now on.
func (n *Node) WriteShimConfig(lines string) error {
	config := fmt.Sprintf("root = '%s'\n", n.path("r"))
	if control := os.Getenv("SHIM_TEST_CONTROL"); control != "" && !strings.Contains(lines, "control") {
		config += fmt.Sprintf("control = '%s'\n", control)
	}
	return os.WriteFile(n.path("runsc.toml"), []byte(config+lines), 0o600)
}
