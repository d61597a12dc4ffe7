#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# usage: tools/check.sh [STEP...]
#
# What `make check` runs: layers, spdx, length, format, tidy, cppcheck, analyzer
# (all of them by default, in this order). A step that finds nothing prints one
# line; the others print what they found, and the script fails at the end.
#
# Files that passed are remembered by the hash of what the compiler sees of them
# and of the rules, so a second run looks only at what changed. CC, CLANG_TIDY,
# CLANG_FORMAT, JOBS may be set.
set -u
export LC_ALL=C
cd "$(dirname "$0")/.." || exit 1

CC=${CC:-gcc}
export CLANG_TIDY=${CLANG_TIDY:-clang-tidy}
CLANG_FORMAT=${CLANG_FORMAT:-clang-format}
JOBS=${JOBS:-$(nproc)}
MAX_LINES=500
export STAMPS=build/check

FLAGS="-std=c11 -D_GNU_SOURCE -I. -Wall -Wextra -Wpedantic -Wshadow
	-Wconversion -Wsign-conversion -Wstrict-prototypes -Wmissing-prototypes
	-Wcast-qual -Wpointer-arith -Wwrite-strings -Wundef -Wvla -Wformat=2
	-Wimplicit-fallthrough -Wno-missing-field-initializers"
flags_of() {
	case $1 in
	guest/nano/*) echo $FLAGS -ffreestanding -Wno-unused-parameter ;;
	*) echo $FLAGS ;;
	esac
}

# All files that git knows or would add; in an unpacked archive, all files.
sources() {
	if git rev-parse --is-inside-work-tree >/dev/null 2>&1; then
		git ls-files -co --exclude-standard
	else
		find . -path ./build -prune -o -type f -print | sed 's,^\./,,'
	fi | sort | while read -r f; do [ -f "$f" ] && echo "$f"; done
}

step_layers() {
	tools/check-layers.sh
}

step_spdx() {
	local failed=0 f
	for f in $(sources); do
		case $f in
		*.md | *.json | *.patch | LICENSE | .gitignore | \
			.git-blame-ignore-revs | docs/*.svg) continue ;;
		esac
		head -n 2 "$f" | grep -q 'SPDX-License-Identifier: ' && continue
		echo "$f: no SPDX line"
		failed=1
	done
	return $failed
}

step_length() {
	local failed=0 f n
	for f in $(sources | grep '\.[ch]$' | grep -v '^tests/'); do
		n=$(wc -l <"$f")
		[ "$n" -le "$MAX_LINES" ] && continue
		echo "$f: $n lines, more than $MAX_LINES"
		failed=1
	done
	return $failed
}

step_format() {
	sources | grep '\.[ch]$' | xargs -r -n 16 -P "$JOBS" \
		"$CLANG_FORMAT" --dry-run -Werror --ferror-limit=3
}

# Run "$1 FILE FLAGS..." for each C file named on stdin that did not pass before.
each_file() {
	local tool=$1 f
	mkdir -p "$STAMPS/$tool"
	while read -r f; do
		echo "$tool $f $(flags_of "$f")"
	done | xargs -r -P "$JOBS" -L 1 bash -c 'one_file "$@"' one_file
}

one_file() {
	local tool=$1 file=$2 hash out
	shift 2
	hash=$({
		$CC "$@" -E "$file" 2>&1
		cat .clang-tidy */.clang-tidy tools/check.sh
		$CC --version
	} | sha256sum | cut -c1-32)
	[ -f "$STAMPS/$tool/$hash" ] && return 0
	if out=$("run_$tool" "$file" "$@" 2>&1); then
		: >"$STAMPS/$tool/$hash"
		return 0
	fi
	echo "$out" | grep -v -e '^[0-9]* warnings* ' -e '^Suppressed '
	return 1
}

run_tidy() {
	local file=$1
	shift
	"$CLANG_TIDY" --quiet "$file" -- "$@" -Wno-unknown-warning-option
}

run_analyzer() {
	local file=$1
	shift
	$CC "$@" -O2 -fanalyzer -Werror -c "$file" -o /dev/null
}

export CC
export -f one_file run_tidy run_analyzer

step_tidy() {
	sources | grep '\.c$' | each_file tidy
}

# Not the tests: gcc does not know that cmocka's asserts do not return, and they
# run under ASan and UBSan.
step_analyzer() {
	sources | grep '\.c$' | grep -v '^tests/' | each_file analyzer
}

# missingIncludeSystem: it brings its own idea of libc. Other suppressions stand
# inline with a reason.
step_cppcheck() {
	mkdir -p "$STAMPS/cppcheck"
	sources | grep '\.c$' >"$STAMPS/files"
	cppcheck -q -j "$JOBS" --std=c11 --inline-suppr --error-exitcode=1 \
		--enable=warning,performance,portability -I. -D_GNU_SOURCE \
		--suppress=missingIncludeSystem \
		--cppcheck-build-dir="$STAMPS/cppcheck" \
		--file-list="$STAMPS/files"
}

main() {
	local failed="" s start
	mkdir -p "$STAMPS"
	[ $# -gt 0 ] ||
		set -- layers spdx length format tidy cppcheck analyzer
	tools/need.sh @check || exit 1
	for s in "$@"; do
		start=$SECONDS
		if "step_$s"; then
			printf '  CHECK   %-10s %4d s\n' "$s" $((SECONDS - start))
		else
			printf '  FAILED  %s\n' "$s"
			failed="$failed $s"
		fi
	done
	[ -z "$failed" ] || { echo "check failed:$failed" >&2; exit 1; }
}

main "$@"
