#!/bin/bash
# Installs the commands that building and testing need and that this machine
# lacks. On a machine that has them all it does nothing, as anyone.
set -euo pipefail

# command: package of Debian that has it
declare -A package_of=(
	[gcc]=gcc          # go test -race links with it
	[ip]=iproute2      # the tests' networks
	[unshare]=util-linux
	[mount]=mount
	[iptables]=iptables # the ports of pods
)

# Where Debian has what root runs; a user's PATH may lack it.
PATH=$PATH:/usr/sbin:/sbin

packages=()
for command in "${!package_of[@]}"; do
	command -v "$command" >/dev/null || packages+=("${package_of[$command]}")
done
# The compiler alone is not enough for -race.
[[ -e /usr/include/stdlib.h ]] || packages+=(libc6-dev)

((${#packages[@]} > 0)) || exit 0

if ! command -v apt-get >/dev/null; then
	echo "please install: ${packages[*]} (or what they are called here)" >&2
	exit 1
fi
if ((EUID != 0)); then
	echo "please install, as root: apt-get install ${packages[*]}" >&2
	exit 1
fi
echo "installing ${packages[*]} ..."
export DEBIAN_FRONTEND=noninteractive
install=(apt-get install -y -qq --no-install-recommends "${packages[@]}")
# The lists of packages may be missing or old; only then are they fetched.
"${install[@]}" || { apt-get update -qq && "${install[@]}"; }
