#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# usage: tools/demo.sh [nano]
#
# Show what the monitor does: start it, configure it with curl over its socket,
# boot the small guest nano from there and let it use a drive; snapshot it and
# resume copies; then boot Linux ("nano": without that). Each stage's time is
# beside the floor's: the smallest KVM program that starts the same guest.
set -euo pipefail
cd "$(dirname "$0")/.."

mayfly=build/bin/mayfly
dir=$(mktemp -d)
pid=
trap '[ -z "$pid" ] || kill "$pid" 2>/dev/null || true; rm -rf "$dir"' EXIT

say() {
	printf '\n\033[1m== %s\033[0m\n' "$*"
}

now_us() {
	echo "${EPOCHREALTIME/./}"
}

# "   1.84 ms  text"
stage() {
	printf '%9d.%02d ms  %s\n' $(($1 / 1000)) $(($1 % 1000 / 10)) "$2"
}

# One request; shows it, its status and how long it took.
request() {
	local out
	out=$(curl -sS --unix-socket "$dir/api.sock" -X "$1" \
		"http://localhost$2" ${3:+-d "$3"} -o "$dir/reply" \
		-w '%{http_code} %{time_total}')
	printf '    curl %-5s %-16s %s\n' "$1" "$2" "${3:-}"
	printf '      -> %s in %s s  %s\n' $out "$(cat "$dir/reply")"
	[[ $out == 20* ]]
}

# Start the monitor, its console in a FIFO that descriptor 3 reads.
start_monitor() {
	local before after
	rm -f "$dir/api.sock" "$dir/console"
	mkfifo "$dir/console"
	before=$(now_us)
	"$mayfly" --api-sock "$dir/api.sock" --log-path "$dir/log" \
		</dev/null >"$dir/console" &
	pid=$!
	exec 3<"$dir/console"
	until [ -S "$dir/api.sock" ]; do
		kill -0 "$pid"
	done
	after=$(now_us)
	stage $((after - before)) "fork, exec, API socket there"
}

# Start the guest and wait for its first byte; then show all it says.
start_guest() {
	local before after rc=0
	before=$(now_us)
	request PUT /actions '{"action_type":"InstanceStart"}'
	IFS= read -r -N 1 -u 3 _
	after=$(now_us)
	stage $((after - before)) \
		"curl's start, InstanceStart, first byte of the guest"
	sed -u 's/\r$//; s/^/    | /' <&3
	exec 3<&-
	wait "$pid" || rc=$?
	pid=
	stage $(($(now_us) - before)) "until the guest had ended"
	echo "    exit code $rc"
	[ "$rc" = 0 ]
}

# exec to the first byte of the guest, as a program outside sees it.
stopwatch() {
	local ns
	ns=$(build/bin/stopwatch byte "$@" | sed 's/ns=\([0-9]*\).*/\1/')
	echo $((ns / 1000))
}

beside_floor() {
	cat >"$dir/nano.json" <<-END
		{"boot-source":{"kernel_image_path":"build/guest/nano.elf",
		 "boot_args":"nano.run=hello"},"drives":[]}
	END
	echo "    exec to the first byte of the guest:"
	stage "$(stopwatch build/bin/floor build/guest/nano.elf)" \
		"the floor: the smallest KVM program"
	stage "$(stopwatch "$mayfly" --no-api --config-file "$dir/nano.json")" \
		"mayfly, from a config file (make bench takes 50 of each)"
}

demo_nano() {
	say "nano, a guest of our own, with a drive of 64 MiB"
	truncate -s 64M "$dir/disk"
	start_monitor
	request GET /
	request PUT /machine-config '{"vcpu_count":2,"mem_size_mib":128}'
	request PUT /boot-source "{\"kernel_image_path\":\"build/guest/nano.elf\",\"boot_args\":\"nano.run=hello,devices,cpus,blk=0:write:7:64,blk=0:verify:7:64\"}"
	request PUT /drives/disk "{\"drive_id\":\"disk\",\"is_root_device\":false,\"path_on_host\":\"$dir/disk\"}"
	start_guest
	beside_floor
}

end_monitor() {
	exec 3<&-
	kill "$pid"
	wait "$pid" || true
	pid=
}

# What the guest says about who it is, from now on.
next_identity() {
	grep -m 1 -a 'nano: generation' <&3 | tr -d '\r' | sed 's/^/    | /'
}

demo_snapshot() {
	local body="\"snapshot_path\":\"$dir/state\"" i ns
	say "a snapshot of nano with 8 MiB in use, and two copies of it"
	start_monitor
	request PUT /machine-config '{"vcpu_count":1,"mem_size_mib":128}'
	request PUT /boot-source '{"kernel_image_path":"build/guest/nano.elf","boot_args":"nano.run=touch=8,generation=1,flood=1000000000"}'
	request PUT /actions '{"action_type":"InstanceStart"}'
	next_identity
	request PATCH /vm '{"state":"Paused"}'
	request PUT /snapshot/create "{$body,\"mem_file_path\":\"$dir/mem\"}"
	end_monitor
	build/bin/mayflyctl snapshot verify "$dir/state" "$dir/mem" |
		sed 's/^/    mayflyctl snapshot verify: /'
	body="$body,\"resume_vm\":true,\"mem_backend\":{\"backend_type\":\"File\",\"backend_path\":\"$dir/mem\"}"
	for i in 1 2; do
		start_monitor
		request PUT /snapshot/load "{$body}"
		next_identity
		end_monitor
	done
	rm -f "$dir/api.sock"
	ns=$(build/bin/stopwatch load "$dir/api.sock" "$dir/state" "$dir/mem" \
		"$mayfly" --api-sock "$dir/api.sock" --log-path "$dir/log")
	echo "    to the first byte of the resumed guest:"
	stage $(($(sed 's/.*load_ns=\([0-9]*\).*/\1/' <<<"$ns") / 1000)) \
		"from the request to load"
	stage $(($(sed 's/ns=\([0-9]*\).*/\1/' <<<"$ns") / 1000)) "from exec"
	stage "$(stopwatch build/bin/floor build/guest/nano.elf)" \
		"the floor: the smallest KVM program boots the guest"
}

demo_linux() {
	local args
	args="console=ttyS0 quiet reboot=k panic=1 $(tools/guest-args.sh)"
	args="$args mayfly.run=info,drives,exec:/bin/check:write:/data/demo:8:42,poweroff"
	say "Linux, from an ext4 drive (half a minute where KVM has no hardware)"
	cp build/guest/root.ext4 "$dir/root.ext4"
	start_monitor
	request PUT /machine-config '{"vcpu_count":1,"mem_size_mib":128}'
	request PUT /boot-source "{\"kernel_image_path\":\"build/guest/vmlinux\",\"boot_args\":\"$args\"}"
	request PUT /drives/root "{\"drive_id\":\"root\",\"is_root_device\":true,\"path_on_host\":\"$dir/root.ext4\"}"
	start_guest
}

if [ ! -w /dev/kvm ]; then
	echo "$0: no access to /dev/kvm: load KVM, or join its group" >&2
	exit 1
fi
demo_nano
demo_snapshot
if [ "${1:-}" != nano ]; then
	demo_linux
fi
say "done; docs/ says how to go on"
