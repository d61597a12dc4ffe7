#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# usage: tools/run-fuzz.sh SECONDS PROGRAM...
#
# Run libFuzzer targets one after another, SECONDS each, and print a line for
# each. Inputs that reached something new stay in build/fuzz/corpus; one that
# broke a target stays in build/fuzz/crash-NAME-* and fails the run.
set -u

seconds=$1
shift
rc=0
mkdir -p build/fuzz/corpus
for program in "$@"; do
	name=$(basename "$program")
	corpus=build/fuzz/corpus/$name
	log=build/fuzz/$name.log
	mkdir -p "$corpus"
	if "$program" -max_total_time="$seconds" -timeout=25 \
		-rss_limit_mb=2048 -print_final_stats=1 \
		-artifact_prefix="build/fuzz/crash-$name-" \
		"$corpus" >"$log" 2>&1; then
		runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
		echo "ok   $name: $runs runs in $seconds s"
	else
		echo "FAIL $name: see $log"
		tail -n 30 "$log"
		rc=1
	fi
done
exit $rc
