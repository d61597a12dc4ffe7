#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# usage: tools/need.sh PACKAGE|@GROUP...
#
# Install the Debian packages that are missing and say which. Prints nothing and
# takes no time when all are there. Without root and without passwordless sudo:
# print the one line that a person has to run, and stop with 1.
set -eu

# The one place that says which packages a task takes.
group() {
	case $1 in
	@build) echo gcc make libc6-dev liburing-dev libcjson-dev libsodium-dev \
		libcap-ng-dev libseccomp-dev dpkg-dev ;;
	@test) echo gcc make libc6-dev liburing-dev libcjson-dev libsodium-dev \
		libcmocka-dev libseccomp-dev libcap-ng-dev iproute2 python3 binutils curl e2fsprogs \
		mount util-linux strace xfsprogs btrfs-progs ;;
	@check) echo gcc libc6-dev git clang-tidy clang-format cppcheck \
		liburing-dev libseccomp-dev libcjson-dev libcmocka-dev \
		libsodium-dev libcap-ng-dev ;;
	@fuzz) echo clang libclang-rt-dev liburing-dev libcjson-dev \
		libsodium-dev ;;
	@demo) echo curl e2fsprogs ;;
	@linux) echo gcc libc6-dev make musl-tools flex bison bc libelf-dev \
		libssl-dev zstd cpio xz-utils dpkg-dev e2fsprogs busybox-static ;;
	*) echo "$0: no group $1" >&2; exit 2 ;;
	esac
}

packages=
for p in "$@"; do
	case $p in
	@*) p=$(group "$p") ;;
	esac
	packages="$packages $p"
done
# shellcheck disable=SC2086 # a list of words
set -- $packages

if ! command -v dpkg-query >/dev/null; then
	# Another distribution names its packages otherwise: what is missing
	# shows when it is used.
	exit 0
fi

have=$(dpkg-query -W -f '|${Package} ${db:Status-Status}|' "$@" 2>/dev/null) ||
	true
missing=
for p in "$@"; do
	case $have in
	*"|$p installed|"*) ;;
	*) missing="$missing $p" ;;
	esac
done
[ -n "$missing" ] || exit 0

if [ "$(id -u)" = 0 ]; then
	as_root=
elif sudo -n true 2>/dev/null; then
	as_root="sudo -n"
else
	echo "Packages are missing. Please run as root:" >&2
	echo "apt-get update && apt-get install -y --no-install-recommends$missing" >&2
	exit 1
fi

echo "Installing missing packages:$missing" >&2
log=$(mktemp)
trap 'rm -f "$log"' EXIT

apt_get() {
	$as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq "$@" \
		</dev/null >>"$log" 2>&1
}

install_missing() {
	# shellcheck disable=SC2086 # a list of words
	apt_get install -y --no-install-recommends $missing
}

have_lists() {
	ls /var/lib/apt/lists/*_Packages* >/dev/null 2>&1
}

# Lists that are there may be too old to name files that still exist.
if have_lists && install_missing; then
	exit 0
fi
if apt_get update && install_missing; then
	exit 0
fi
cat "$log" >&2
exit 1
