#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# usage: tools/guest-args.sh
#
# Print what a Linux guest's command line needs on this host: nothing on a host
# with hardware virtualisation. guest/linux/README.md says what the words do.
set -eu

test -d /sys/module/kvm_pvm || exit 0

echo "pvm_compat noxsave" \
	"clearcpuid=popcnt,cx16,rdrand,rdseed,smap,invpcid,fsgsbase,pcid,umip,clflushopt,clwb,movbe,erms,fsrm" \
	"tsc=reliable no_timer_check lpj=4000000" \
	"GLIBC_TUNABLES=glibc.cpu.hwcaps=-AVX,-AVX2,-AVX512F,-AVX512VL,-AVX512BW,-ERMS"
