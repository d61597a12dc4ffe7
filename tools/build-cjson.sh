#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# usage: tools/build-cjson.sh OUT/libcjson.a
#
# Debian ships cJSON as a shared object only, and mayfly is linked statically.
# Where the linker finds a libcjson.a it is taken; else this builds one from
# Debian's own source package, in the version of the installed libcjson-dev and
# with Debian's patches. The list of sources is the machine's own with deb turned
# into deb-src, and all of apt's state stays beside OUT, so this needs neither
# root nor a change to the system.
set -eu

[ $# = 1 ] || { echo "usage: $0 OUT/libcjson.a" >&2; exit 2; }
CC=${CC:-cc}
AR=${AR:-ar}
here=$(dirname "$0")
mkdir -p "$(dirname "$1")"
out=$(cd "$(dirname "$1")" && pwd)/$(basename "$1")

found=$($CC -print-file-name=libcjson.a)
if [ "$found" != libcjson.a ]; then
	cp "$found" "$out"
	exit 0
fi
if ! command -v apt-get >/dev/null; then
	echo "$0: no libcjson.a here and no apt-get to fetch cJSON with:" \
		"install a static cJSON, or build with STATIC=0" >&2
	exit 1
fi
"$here/need.sh" libcjson-dev dpkg-dev

work=$(dirname "$out")/cjson
rm -rf "$work"
mkdir -p "$work/parts" "$work/lists/partial" "$work/cache/archives/partial"
log=$work/log

fail() {
	echo "$0: $1" >&2
	tail -n 20 "$log" >&2
	exit 1
}

etc=$(apt-config shell d Dir::Etc/d | sed "s/^d='\(.*\)'$/\1/")
for f in "$etc"/sources.list "$etc"/sources.list.d/*.list; do
	[ -f "$f" ] || continue
	sed -n 's/^[[:space:]]*deb[[:space:]]/deb-src /p' "$f"
done >"$work/sources.list"
for f in "$etc"/sources.list.d/*.sources; do
	[ -f "$f" ] || continue
	sed 's/^[Tt]ypes:.*/Types: deb-src/' "$f" \
		>"$work/parts/$(basename "$f")"
done

# Only indexes of sources are wanted; as root, do not switch to a user that may
# not write here.
apt() {
	apt-get -q -o Dir::Etc::SourceList="$work/sources.list" \
		-o Dir::Etc::SourceParts="$work/parts" \
		-o Dir::State::Lists="$work/lists" \
		-o Dir::Cache="$work/cache" -o APT::Sandbox::User="$(id -un)" \
		-o Acquire::Languages=none "$@" </dev/null >>"$log" 2>&1
}

# A foreign source that has no source packages is no reason to stop here.
apt update || true
# shellcheck disable=SC2016 # dpkg-query's variable
version=$(dpkg-query -W -f '${source:Version}' libcjson-dev)
cd "$work"
apt source "cjson=$version" || apt source cjson ||
	fail "the source package cjson cannot be fetched"
src=$(echo cjson-*/cJSON.c)
[ -f "$src" ] || fail "the source package cjson holds no cJSON.c"

# The flags of the program that it becomes part of, as far as $CC knows them.
flags="-std=c99 -g -O2 -fPIE -fno-strict-aliasing -fno-common
	-fstack-protector-strong -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=3"
for f in -fstack-clash-protection -fcf-protection=full \
	-ftrivial-auto-var-init=zero -fzero-call-used-regs=used-gpr; do
	if $CC -Werror $f -x c -c /dev/null -o probe.o 2>/dev/null; then
		flags="$flags $f"
	fi
done
# shellcheck disable=SC2086 # lists of words
$CC $flags ${CFLAGS:-} -c "$src" -o cJSON.o >>"$log" 2>&1 ||
	fail "cJSON does not compile"
rm -f "$out"
$AR rcs "$out" cJSON.o
# The indexes are large and of no further use.
rm -rf lists cache probe.o
