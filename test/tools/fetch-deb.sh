#!/bin/bash
# Takes one file out of a Debian package without installing the package.
#
# usage: fetch-deb.sh PACKAGE PATH_IN_PACKAGE TARGET WORK_DIR
#
# The package is kept, unpacked, in WORK_DIR/PACKAGE.
set -euo pipefail

package=$1 path=$2 target=$3 work=$4/$1

if ! command -v apt-get >/dev/null || ! command -v dpkg-deb >/dev/null; then
	echo "$package comes from Debian's archive, and this system has no apt." >&2
	echo "Put the file $path of your own at $target." >&2
	exit 1
fi

echo "fetching $package ..."
rm -rf "$work"
mkdir -p "$work" "$(dirname "$target")"
cd "$work"
# As root, apt would hand the download to a user who may not write here.
download=(apt-get download -qq -o APT::Sandbox::User=root "$package")
# The lists of packages may be missing or old; only then are they fetched.
"${download[@]}" 2>/dev/null || { apt-get update -qq && "${download[@]}"; }
dpkg-deb -x "$package"_*.deb .

# By way of another name, so that a half-written file is never taken for it.
cp "$path" "$target.new"
chmod 0755 "$target.new"
mv "$target.new" "$target"
