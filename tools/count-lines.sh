#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# usage: tools/count-lines.sh
#
# Lines of C without blanks and comments: what a guest reaches (its RAM, the
# bus, devices, queues) and all that ships.
set -eu
cd "$(dirname "$0")/.."

count() {
	cat "$@" | gcc -fpreprocessed -dD -E -P - 2>/dev/null | grep -c .
}

guest="vmm/bus.c vmm/gmem.c vmm/vcpu.c vmm/serial.c vmm/i8042.c vmm/power.c
	vmm/boottimer.c vmm/irq.c"
# shellcheck disable=SC2086,SC2046 # lists of words
echo "guest-facing: $(count $guest $(git ls-files 'virtio/*.c'))"
for d in base vmm virtio snapshot api jailer ctl; do
	# shellcheck disable=SC2046
	set -- $(git ls-files "$d/*.[ch]")
	[ $# -eq 0 ] || echo "$d: $(count "$@")"
done
# shellcheck disable=SC2046
echo "all: $(count $(git ls-files base vmm virtio snapshot api jailer ctl |
	grep '\.[ch]$'))"
