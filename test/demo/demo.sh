#!/bin/bash
# Shows the shim at work: a containerd of its own, a busybox image made on this
# machine, and a container in gVisor. "make demo" and "make demo-shell" run it.
#
# usage: demo.sh run|shell BIN_DIR IMAGE_TAR
#
# Nothing of the system's containerd is touched, and nothing stays behind. All of
# it runs in a mount namespace, where /run/containerd and the demonstration's own
# folder are private tmpfs, and in a pid namespace, which ends every process in it
# when its first one ends, however that came about.
set -euo pipefail

fail() {
	echo "demo: $*" >&2
	exit 1
}

[[ $# -ge 3 ]] || fail "usage: demo.sh run|shell BIN_DIR IMAGE_TAR"
mode=$1 bin=$(realpath "$2") image_tar=$(realpath "$3")
image=docker.io/library/busybox:local

# The outer half: make the namespaces, run this script again in them, clean up.
if [[ $# -eq 3 ]]; then
	((EUID == 0)) || fail "containerd needs root"
	# A short path: a unix socket's may not be longer than 107 bytes.
	dir=$(mktemp -d /tmp/shim-demo.XXXXXX)
	# A container that was killed instead of deleted leaves its cgroups; those
	# that are in use cannot be removed.
	trap 'rmdir "$dir" /sys/fs/cgroup{,/*}/default{/demo,} 2>/dev/null || true' EXIT
	# ctrl-C is for the inner half, which takes everything down and then ends.
	trap : INT TERM
	status=0
	unshare --mount --propagation private --pid --fork --kill-child --mount-proc \
		"$0" "$mode" "$bin" "$image_tar" "$dir" || status=$?
	exit "$status"
fi

# The inner half.
dir=$4
containerd_pid=
started=$SECONDS

# On the way out containerd is asked to end what still runs, as whoever replaces
# it would; the namespaces are there for what does not listen.
take_down() {
	local status=$?
	trap '' INT TERM
	if ((status != 0 && status != 130 && status != 143)) && [[ -f $dir/containerd.log ]]; then
		echo "demo: failed; the end of containerd's log:" >&2
		tail -n 20 "$dir/containerd.log" >&2
	fi
	if [[ -n $containerd_pid ]] && kill -0 "$containerd_pid" 2>/dev/null; then
		local id
		for id in $(timeout 5 ctr task ls -q); do
			timeout 10 ctr task rm --force "$id" >/dev/null 2>&1 || true
		done
		kill "$containerd_pid"
		# Not for ever: the end of this script kills what hangs.
		timeout 10 tail --pid="$containerd_pid" -f /dev/null || true
	fi
	exit "$status"
}
trap take_down EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

step() {
	printf '\n==> %s\n' "$*"
}

mount -t tmpfs -o mode=0711 tmpfs "$dir"
mkdir -p /run/containerd
mount -t tmpfs -o mode=0711 tmpfs /run/containerd

# overlayfs is what containerd uses everywhere; where the kernel has none, whole
# copies do as well for an image of this size.
mkdir "$dir/lower" "$dir/upper" "$dir/work" "$dir/merged"
if mount -t overlay overlay "$dir/merged" \
	-o "lowerdir=$dir/lower,upperdir=$dir/upper,workdir=$dir/work" 2>/dev/null; then
	umount "$dir/merged"
	snapshotter=overlayfs
else
	snapshotter=native
fi

# containerd finds the shim of io.containerd.runsc.v1 in its PATH under the name
# containerd-shim-runsc-v1, and the shim finds runsc there.
export PATH="$bin:$PATH"
export CONTAINERD_ADDRESS=$dir/c.sock CONTAINERD_NAMESPACE=default
export CONTAINERD_SNAPSHOTTER=$snapshotter
# ctr would say with every command that the host has the old cgroups.
export CONTAINERD_SUPPRESS_DEPRECATION_WARNINGS=1

# The plugins that are switched off would want a network, a folder of the system
# or a filesystem that is not needed here.
cat >"$dir/config.toml" <<TOML
version = 3
root = '$dir/root'
state = '$dir/state'
imports = []
disabled_plugins = [
  'io.containerd.cri.v1.images',
  'io.containerd.cri.v1.runtime',
  'io.containerd.grpc.v1.cri',
  'io.containerd.internal.v1.opt',
  'io.containerd.internal.v1.tracing',
  'io.containerd.nri.v1.nri',
  'io.containerd.snapshotter.v1.blockfile',
  'io.containerd.snapshotter.v1.btrfs',
  'io.containerd.snapshotter.v1.devmapper',
  'io.containerd.snapshotter.v1.erofs',
  'io.containerd.snapshotter.v1.zfs',
]

[grpc]
  address = '$CONTAINERD_ADDRESS'

[plugins.'io.containerd.transfer.v1.local']
  [[plugins.'io.containerd.transfer.v1.local'.unpack_config]]
    platform = 'linux'
    snapshotter = '$snapshotter'
TOML

step "starting a private containerd in $dir ($snapshotter)"
# In a session of its own, ctrl-C does not reach it before the containers.
setsid containerd --config "$dir/config.toml" >"$dir/containerd.log" 2>&1 &
containerd_pid=$!
for ((tries = 0; ; tries++)); do
	kill -0 "$containerd_pid" 2>/dev/null || fail "containerd ended"
	timeout 5 ctr version >/dev/null 2>&1 && break
	((tries < 150)) || fail "containerd does not answer"
	sleep 0.2
done
containerd --version 2>/dev/null
runsc --version | sed -n 1p

step "importing $image"
if ! ctr images import "$image_tar" >"$dir/import.log" 2>&1; then
	cat "$dir/import.log" >&2
	fail "the image cannot be imported"
fi
ctr images ls -q

if [[ $mode == shell ]]; then
	step "a shell beside that containerd; all of it ends with the shell"
	cat <<HINT
try:  ctr run --rm -t --runtime io.containerd.runsc.v1 $image demo sh

HINT
	PS1='(demo) \w# ' bash --norc -i || true
	step "taking everything down"
	exit 0
fi

step "ctr run --rm --runtime io.containerd.runsc.v1 $image demo sh -c 'dmesg; ...'"
# shellcheck disable=SC2016 # $(uname) is for the shell in the container.
timeout --foreground 120 ctr run --rm --runtime io.containerd.runsc.v1 "$image" demo sh -c '
	dmesg | head -n 12
	echo
	echo "hello from gVisor: $(uname -sr)"' </dev/null

step "done in $((SECONDS - started)) s; taking everything down"
