#!/bin/bash
# Takes what the machine is made of out of Debian's packages. Nothing is installed,
# and root is not needed.
#
# usage: fetch.sh qemu|kernel|system DIR
#
#   qemu    the emulator, with all libraries down to libc
#   kernel  boot/vmlinuz-* and lib/modules
#   system  what the suites find in the machine: systemd, D-Bus, iptables ...
#
# DIR is made anew, and is there only if it is complete.
set -euo pipefail

what=$1 dir=$2

if ! command -v apt-get >/dev/null || ! command -v dpkg-deb >/dev/null; then
	echo "$what of the virtual machine comes from Debian's archive, and this system has no apt." >&2
	exit 1
fi

work=$dir.new
rm -rf "$work" "$dir"
mkdir -p "$work/debs/partial" "$work/root"

# To a system with no packages, so that the answer does not depend on this one's.
apt=(apt-get -qq -o APT::Sandbox::User=root -o Debug::NoLocking=1
	-o Dir::State::status=/dev/null -o Dir::Cache::archives="$work/debs")
closure() {
	"${apt[@]}" install --yes --download-only --no-install-recommends "$@"
}
# The package that the name stands for, which has the version in its name.
kernel() {
	local image
	image=$(apt-cache depends linux-image-cloud-amd64 | awk '/ Depends: linux-image-/ { print $2; exit }')
	[[ $image ]] && (cd "$work/debs" && "${apt[@]}" download "$image")
}
get() {
	case $what in
	qemu) closure qemu-system-x86 ;;
	kernel) kernel ;;
	system) closure systemd dbus iproute2 iptables util-linux mount ;;
	*)
		echo "usage: fetch.sh qemu|kernel|system DIR" >&2
		exit 2
		;;
	esac
}

echo "fetching $what ..."
# The lists of packages may be missing or old; only then are they fetched.
get 2>/dev/null || { apt-get update -qq && get; }

# Packages name /bin and /lib, which are links in today's Debian.
mkdir -p "$work/root"/usr/{bin,sbin,lib,lib64}
for link in bin sbin lib lib64; do
	ln -s "usr/$link" "$work/root/$link"
done
for deb in "$work"/debs/*.deb; do
	case ${deb##*/} in
	# What only the scripts of packages need, which are not run.
	perl* | libperl* | libfile-find-* | libtext-glob-* | libnumber-* | adduser_* | debconf_* | dpkg_* | passwd_* | usrmerge_*) continue ;;
	esac
	dpkg-deb --fsys-tarfile "$deb" | tar -x --no-same-owner --keep-directory-symlink -C "$work/root" \
		--exclude='./usr/share/doc/*' --exclude='./usr/share/man/*' --exclude='./usr/share/locale/*'
done
mv "$work/root" "$dir"
rm -rf "$work"
touch "$dir" # it has the time of the packages
