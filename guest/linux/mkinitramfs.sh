#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# usage: guest/linux/mkinitramfs.sh INIT BUSYBOX OUT
#
# Write an uncompressed initramfs (cpio newc) that holds INIT as /init, BUSYBOX
# with a shell, and a console. Written by hand, because making /dev/console for
# cpio to pack needs root. The same files give the same bytes.
set -eu

init=$1
busybox=$2
out=$3
ino=0

# header NAME MODE NLINK SIZE [RDEV_MAJOR RDEV_MINOR]
header() {
	ino=$((ino + 1))
	printf '070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X' \
		$ino "$2" 0 0 "$3" 0 "$4" 0 0 "${5:-0}" "${6:-0}" \
		$((${#1} + 1)) 0
	printf '%s\0' "$1"
	pad $((110 + ${#1} + 1))
}

# pad BYTES: up to a multiple of 4
pad() {
	head -c $((-$1 & 3)) /dev/zero
}

# program NAME FILE
program() {
	size=$(wc -c <"$2")
	header "$1" 0100755 1 "$size"
	cat "$2"
	pad "$size"
}

# symlink NAME TARGET
symlink() {
	header "$1" 0120777 1 ${#2}
	printf %s "$2"
	pad ${#2}
}

archive() {
	header dev 0040755 2 0
	header dev/console 0020600 1 0 5 1
	header bin 0040755 2 0
	program init "$init"
	program bin/busybox "$busybox"
	symlink bin/sh busybox
	symlink bin/check /init
	symlink bin/offload /init
	header TRAILER!!! 0 1 0
}

mkdir -p "$(dirname "$out")"
archive >"$out.tmp"
mv "$out.tmp" "$out"
