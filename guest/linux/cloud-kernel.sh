#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# usage: guest/linux/cloud-kernel.sh OUT
#
# Put the bzImage of Debian's cloud kernel, as Debian ships it, at OUT. It is
# fetched with apt-get download, which needs no root, and nothing is installed.
set -eu

out=$1
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

# linux-image-cloud-amd64 is an empty package that depends on the newest one.
package=$(apt-cache depends linux-image-cloud-amd64 |
	sed -n 's/^ *Depends: \(linux-image-[^ ]*\)$/\1/p' | head -n 1)
if [ -z "$package" ]; then
	echo "apt-cache knows no linux-image-cloud-amd64" >&2
	exit 1
fi
echo "Fetching $package"
# The directory is writable to apt's own user, or apt complains.
chmod 755 "$dir"
(cd "$dir" && apt-get -qq download "$package" 2>"$dir/log") || {
	cat "$dir/log" >&2
	exit 1
}
dpkg-deb --fsys-tarfile "$dir"/*.deb |
	tar -C "$dir" --wildcards -xf - './boot/vmlinuz-*'
mkdir -p "$(dirname "$out")"
mv "$dir"/boot/vmlinuz-* "$out"
