#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# usage: guest/linux/mkinitramfs.sh INIT OUT
#
# Write an uncompressed initramfs (cpio newc) that holds INIT as /init and a
# console. Written by hand, because making /dev/console for cpio to pack needs
# root. The same INIT gives the same bytes.
set -eu

init=$1
out=$2
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

archive() {
	size=$(wc -c <"$init")
	header dev 0040755 2 0
	header dev/console 0020600 1 0 5 1
	header init 0100755 1 "$size"
	cat "$init"
	pad "$size"
	header TRAILER!!! 0 1 0
}

mkdir -p "$(dirname "$out")"
archive >"$out.tmp"
mv "$out.tmp" "$out"
