#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# usage: guest/linux/mkroot.sh INIT BUSYBOX OUT
#
# Write an ext4 root drive of 64 MiB: INIT as /sbin/init, /bin/check and
# /bin/offload, BUSYBOX under the names of its programs in /bin, and
# /data/pattern, 1 MiB of the pattern with seed 7. Needs no root, and the same
# files give the same bytes.
set -eu

init=$1
busybox=$2
out=$3
umask 022
uuid=6d61795f-6d61-4666-8c79-2d726f6f7421
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
PATH=$PATH:/sbin:/usr/sbin

root=$dir/root
mkdir -p "$root/sbin" "$root/bin" "$root/dev" "$root/proc" "$root/sys" \
	"$root/tmp" "$root/data"
cp "$init" "$root/sbin/init"
ln -s ../sbin/init "$root/bin/check"
ln -s ../sbin/init "$root/bin/offload"
cp "$busybox" "$root/bin/busybox"
for name in $("$busybox" --list | grep -vx -e busybox -e init); do
	ln -s busybox "$root/bin/$name"
done
"$init" write "$root/data/pattern" 1 7 >/dev/null
chmod 755 "$root/sbin/init" "$root/bin/busybox"
chmod 644 "$root/data/pattern"

# Blocks of 4 KiB, and tables that the kernel need not finish after mounting.
export E2FSPROGS_FAKE_TIME=1
mke2fs -q -t ext4 -b 4096 -N 1024 -m 0 -L mayfly-root -U $uuid \
	-E hash_seed=$uuid,root_owner=0:0,lazy_itable_init=0,lazy_journal_init=0 \
	-d "$root" "$dir/image" 64M >/dev/null

# Owner and times came from the builder's files.
find "$root" -mindepth 1 -printf '/%P\n' | sort | while read -r path; do
	for field in uid gid; do
		echo "set_inode_field $path $field 0"
	done
	for field in atime ctime mtime crtime; do
		echo "set_inode_field $path $field @1"
	done
done >"$dir/edit"
debugfs -w -f "$dir/edit" "$dir/image" >/dev/null 2>"$dir/log" || {
	cat "$dir/log" >&2
	exit 1
}

mkdir -p "$(dirname "$out")"
mv "$dir/image" "$out.tmp"
mv "$out.tmp" "$out"
