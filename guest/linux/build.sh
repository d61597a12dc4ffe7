#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# usage: guest/linux/build.sh OUT
#
# Put the guest's kernel (vmlinux) at OUT: Debian's linux-source-6.1, any
# 6.1.y, with our configuration and patches. In this order it takes
#   1. a kernel built earlier, in ${XDG_CACHE_HOME:-~/.cache}/mayfly;
#   2. one that lies built beside the checkout, ../*/guest-linux/, with the very
#      configuration and patches that we have;
#   3. minutes, to build one.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
top=$here/../..
tarball=/usr/src/linux-source-6.1.tar.xz
cache=${XDG_CACHE_HOME:-$HOME/.cache}/mayfly
n_files=1120 # compiled files of a build, nearly: for the progress line

# fingerprint DIR: of the configuration and the patches, but for our licence
# lines.
fingerprint() {
	cat "$1"/config-6.1-x86_64 "$1"/0*.patch 2>/dev/null |
		grep -v SPDX-License-Identifier | sha256sum | cut -c1-12
}

key=$(fingerprint "$here")
out=$1
mkdir -p "$(dirname "$out")" "$cache"

# put COMMAND...: its output becomes OUT, whole or not at all
put() {
	"$@" >"$out.tmp"
	mv "$out.tmp" "$out"
}

for built in "$cache"/vmlinux-6.1.*-"$key"; do
	if [ -f "$built" ]; then
		echo "Guest kernel: $built"
		put cat "$built"
		exit 0
	fi
done

for built in "$top"/../*/guest-linux/vmlinux-6.1.*.zst; do
	if [ -f "$built" ] && [ "$(fingerprint "${built%/*}")" = "$key" ]; then
		echo "Guest kernel: ${built##*/}, configuration and patches match"
		"$top/tools/need.sh" zstd
		put zstd -dcq "$built"
		exit 0
	fi
done

cpus=$(nproc)
echo "Guest kernel: building from Debian's linux-source-6.1." \
	"This takes about $((8 / cpus + 1)) minutes on $cpus CPUs, once."
"$top/tools/need.sh" gcc make bc bison flex libelf-dev libssl-dev patch \
	xz-utils linux-source-6.1

work=$(mktemp -d "$cache/build.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM
log=$work/log

# Counts the lines that name a compiled file, in place on a terminal and once
# in 200 files elsewhere.
progress() {
	n=0
	while read -r what _; do
		case $what in CC | AS) n=$((n + 1)) ;; *) continue ;; esac
		if [ -t 1 ]; then
			printf '\r  %d of about %d files' $n $n_files
		elif [ $((n % 200)) = 0 ]; then
			echo "  $n of about $n_files files"
		fi
	done
	[ ! -t 1 ] || echo
}

kernel_make() {
	make -C "$work/linux" KBUILD_BUILD_USER=mayfly \
		KBUILD_BUILD_HOST=mayfly KBUILD_BUILD_VERSION=1 \
		KBUILD_BUILD_TIMESTAMP="Thu Jan  1 00:00:00 UTC 1970" "$@"
}

build() {
	mkdir "$work/linux"
	tar -C "$work/linux" --strip-components=1 -xf $tarball
	cat "$here"/0*.patch | patch -d "$work/linux" -p1
	cp "$here/config-6.1-x86_64" "$work/linux/.config"
	kernel_make olddefconfig
	kernel_make -j"$cpus" vmlinux
	touch "$work/done"
}

echo "  unpacking"
(set -e; build) 2>&1 | tee "$log" | progress
if [ ! -e "$work/done" ]; then
	tail -n 30 "$log" >&2
	echo "Guest kernel: the build failed, see above" >&2
	exit 1
fi

release=$(make -s -C "$work/linux" kernelversion)
mv "$work/linux/vmlinux" "$cache/vmlinux-$release-$key"
put cat "$cache/vmlinux-$release-$key"
echo "Guest kernel: $release built"
