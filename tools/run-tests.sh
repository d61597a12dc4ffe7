#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# usage: tools/run-tests.sh [-j N] [-t SECONDS] PROGRAM... [-j N] [-t SECONDS]...
#
# Run test programs and print a line for each, with what a failed one said. An
# option holds for the programs behind it: -j how many run at a time (1), -t the
# time that each of them gets (60).
#
# A program passes with exit code 0; what it prints may be TAP, which then has to
# be whole and without "not ok". Exit code 77 means that it could not run here;
# its last line says why, beginning with what is missing: "kvm: ...". The same
# holds for "ok N # SKIP kvm: ..." in TAP. Skips are listed at the end, and those
# for something named in REQUIRE ("kvm net", or "all") are failures.
set -u
export LC_ALL=C
REQUIRE=${REQUIRE:-}
export UBSAN_OPTIONS=${UBSAN_OPTIONS:-print_stacktrace=1}
export TSAN_OPTIONS=${TSAN_OPTIONS:-halt_on_error=1}

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
: >"$tmp/skips"
: >"$tmp/results"

now_ms() {
	echo $((${EPOCHREALTIME/./} / 1000))
}

required() {
	local word
	for word in $REQUIRE; do
		[ "$word" = all ] && return 0
		[[ ${1,,} == "$word:"* ]] && return 0
	done
	return 1
}

# Note a skip; fails if it is one that REQUIRE forbids.
skip() {
	echo "$1: $2" >>"$tmp/skips"
	! required "$2"
}

# What is wrong with the TAP in file $2 of program $1, if anything; its skips.
check_tap() {
	local plan ran line
	plan=$(sed -n 's/^1\.\.\([0-9]*\).*/\1/p' "$2" | tail -n 1)
	ran=$(grep -c -E '^(not )?ok\b' "$2")
	[ -n "$plan$(grep -m 1 -E '^(not )?ok\b' "$2")" ] || return 0
	grep -q '^not ok\b' "$2" && echo "a test is not ok"
	[ "${plan:-none}" = "$ran" ] || echo "$ran of ${plan:-?} tests ran"
	while read -r line; do
		skip "$1" "$line" || echo "skipped, but required: $line"
	done < <(sed -n 's/^ok\b.*# *[Ss][Kk][Ii][Pp]\w* *//p' "$2")
}

tests_in() {
	grep -c -E '^(not )?ok\b|^\[       OK \]' "$1"
}

# One program: $1 its number, $2 its time, $3 itself.
run_one() {
	local out=$tmp/$1.out name=$3 start rc verdict=ok why="" took
	name=${name#build/}
	start=$(now_ms)
	timeout -k 5 "$2" "$3" </dev/null >"$out" 2>&1
	rc=$?
	took=$(($(now_ms) - start))
	case $rc in
	0) why=$(check_tap "$name" "$out") ;;
	77)
		verdict=skip
		why=$(grep . "$out" | tail -n 1)
		skip "$name" "$why" && why="" || why="skipped, but required: $why"
		;;
	124 | 137) why="no end after $2 s" ;;
	126 | 127) why="cannot be run" ;;
	*) why="exit code $rc" ;;
	esac
	[ -z "$why" ] || verdict=FAIL
	printf '%-4s  %-40s %5d tests %4d.%03d s\n' "$verdict" "$name" \
		"$(tests_in "$out")" $((took / 1000)) $((took % 1000)) >"$out.line"
	if [ "$verdict" = FAIL ]; then
		echo "      $why"
		grep -v -E '^\[( RUN |       OK )' "$out" | tail -n 60 |
			sed 's/^/      | /'
	fi >>"$out.line"
	# One write each: lines of programs that run at a time stay apart.
	cat "$out.line"
	echo "$verdict" >>"$tmp/results"
	rm -f "$out" "$out.line"
}

jobs=1
seconds=60
n=0
start=$(now_ms)
while [ $# -gt 0 ]; do
	case $1 in
	-j)
		wait
		jobs=$2
		shift 2
		;;
	-t)
		seconds=$2
		shift 2
		;;
	-*)
		echo "usage: $0 [-j N] [-t SECONDS] PROGRAM..." >&2
		exit 2
		;;
	*)
		while [ "$(jobs -rp | wc -l)" -ge "$jobs" ]; do
			wait -n
		done
		n=$((n + 1))
		run_one "$n" "$seconds" "$1" &
		shift
		;;
	esac
done
wait

took=$(($(now_ms) - start))
count() { grep -c -x "$1" "$tmp/results"; }
failed=$(count FAIL)
if [ -s "$tmp/skips" ]; then
	echo "skipped:"
	sort "$tmp/skips" | sed 's/^/  /'
fi
printf '%d programs: %d passed, %d skipped, %d failed, in %d.%03d s\n' \
	"$n" "$(count ok)" "$(count skip)" "$failed" \
	$((took / 1000)) $((took % 1000))
[ "$n" -gt 0 ] && [ "$failed" -eq 0 ]
