#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""mayflyctl snapshot on files of real guests: info, verify, merge, check-host.

usage: ctl_snapshot.py [NAME...]     tests whose names hold one of the NAMEs

TAP output; see monitor.py for the environment. $MAYFLYCTL is the program
(beside $MAYFLY).
"""
import json
import os
import re
import shutil
import subprocess
import sys

import monitor
import nano_refuse
from monitor import Skip, check, check_equal, drive
from nano_diff import check_same, copy, size_of_data
from nano_snapshot import (TICK, Files, check_gapless, pause, resume, said,
                           ticks)
from state_file import State

MIB, CHUNK = 1 << 20, 2 << 20
CTL = os.environ.get("MAYFLYCTL", os.path.join(
    os.path.dirname(monitor.MAYFLY[-1]), "mayflyctl"))

# What is a host's to refuse; the rest is a configuration's or a device's.
OF_HOSTS = ("other_major", "other_vendor", "more_cpuid", "other_xcr0",
            "other_tsc", "unknown_msr", "refused_msr", "unknown_capability",
            "too_many_capabilities")


def ctl(code, *args, launcher=()):
    """What it prints, all of it; it ends with that code."""
    done = subprocess.run([*launcher, CTL, "snapshot", *args], check=False,
                          capture_output=True, text=True)
    text = done.stdout + done.stderr
    check(done.returncode == code, "%s: code %d: %s"
          % (" ".join(args), done.returncode, text))
    return text


def paused(t, orders="mem,tick=0", **more):
    """A guest that has said something, and its first snapshot."""
    m = t.boot_api(orders, **more)
    m.wait_text("^nano: tick 1")
    files = Files(t)
    pause(m)
    files.create(m)
    return m, files


def goes_on(m):
    """Until another tick, and paused again."""
    n = len(ticks(m.console()))
    resume(m)
    monitor.wait_for(lambda: len(ticks(m.console())) > n, "a tick")
    pause(m)


def info_says_what_is_in_it(t):
    """info: the machine, its devices and files, for people and as JSON"""
    path = t.file("disk", MIB)
    m, files = paused(t, drives=[drive(path, read_only=True)], vcpus=2)
    config = m.api.get("/vm/config")
    text = ctl(0, "info", files.state)
    for word in (r"^format     1\.\d+, %d bytes$" % os.path.getsize(
            files.state), r"^memory     %d bytes \(128 MiB\), full$"
                 % (128 * MIB), r"^vCPUs      2$", r"^section    VCPU 1  ",
                 r"^made on    Linux %s$" % re.escape(os.uname().release),
                 r"^drive      disk  %s  read-only$" % re.escape(path)):
        check(re.search(word, text, re.M), "no %r in %s" % (word, text))
    lines = ctl(0, "info", "--json", files.state, files.state).splitlines()
    check_equal(len(lines), 2, "lines")
    found = json.loads(lines[1])
    check_equal(found["config"]["drives"][0]["path_on_host"],
                config["drives"][0]["path_on_host"], "drive")
    state = State(files.state)
    check_equal([found[k] for k in ("id", "memory_bytes", "vcpus", "kind")],
                [state.id.hex(), 128 * MIB, 2, "full"], "JSON")
    check_equal(len(found["sections"]), len(state.sections), "sections")
    for word in r"%s family \d+ model \d+ stepping" % re.escape(
            found["cpu"]["vendor"]), "TSC %d kHz" % found["cpu"]["tsc_khz"]:
        check(re.search(word, text), "no %r in %s" % (word, text))


def flip(path, at):
    """One bit of a byte."""
    with open(path, "r+b") as f:
        f.seek(at)
        byte = f.read(1)[0]
        f.seek(at)
        f.write(bytes([byte ^ 1]))


def verify_finds_what_changed(t):
    """verify: each chunk of memory that is another, and any byte of state"""
    m, files = paused(t)
    m.kill()
    ctl(0, "verify", files.state, files.mem)
    for chunk in 0, 1, 63:
        flip(files.mem, chunk * CHUNK + 4321)
    text = ctl(1, "verify", files.state, files.mem)
    check_equal(re.findall(r"chunk (\d+) \(bytes", text), ["0", "1", "63"],
                "chunks that differ")
    for chunk in 0, 1, 63:
        flip(files.mem, chunk * CHUNK + 4321)
    ctl(0, "verify", files.state, files.mem)
    other = Files(t, "other")
    shutil.copy(files.state, other.state)
    flip(other.state, os.path.getsize(other.state) // 2)
    check("CRC32C" in ctl(1, "verify", other.state, files.mem), "no reason")
    ctl(2, "verify", t.path("none"), files.mem)
    ctl(2, "verify", files.state, t.path("none"))
    os.truncate(files.mem, 128 * MIB - 1)
    ctl(1, "verify", files.state, files.mem)


def verify_reads_no_holes(t):
    """verify: of a file of 5 GiB only what is there is read"""
    if not shutil.which("strace"):
        raise Skip("strace: not there")
    m, files = paused(t, "tick=0", mem=5120)
    m.kill()
    ctl(0, "verify", files.state, files.mem, launcher=(
        "strace", "-o", t.path("trace"), "-e", "trace=pread64"))
    with open(t.path("trace"), encoding="utf-8") as f:
        read = sum(int(n) for n in re.findall(r"= (\d+)$", f.read(), re.M))
    check(0 < read < 64 * MIB, "%d bytes read" % read)


def merge_makes_the_later_snapshot(t):
    """merge: base and diffs are the last snapshot; it is loaded and goes on"""
    for machine in {"track_dirty_pages": True}, None:
        m, base = paused(t, machine=machine)
        parts = []
        for i in range(3):
            goes_on(m)
            part = Files(t, "part%d" % i)
            m.api.put("/snapshot/create", part.create_body(
                snapshot_type="Diff"))
            parts.append(part)
        text = said(m)
        m.kill()
        last, out = parts[-1], t.path("out")
        if machine: # otherwise a Diff of a guest that was booted is whole
            check(", diff\n" in ctl(0, "info", last.state), "no diff")
            check("has to be merged" in ctl(1, "verify", last.state,
                                            last.mem), "verify of a Diff")
        ctl(0, "merge", "-s", last.state, "-o", out, base.mem,
            *(p.mem for p in parts))
        ctl(0, "verify", last.state, out)
        check(size_of_data(out) < 64 * MIB, "the result has no holes")
        # One is missing, or not in its place: nothing is written.
        before = copy(out, t.path("before"))
        ctl(1, "merge", "-s", last.state, "-o", out, base.mem,
            *(p.mem for p in parts[:-1]))
        check_same(out, before)
        m = t.monitor()
        m.api.put("/snapshot/load", {**last.load_body(out),
                                     "resume_vm": True})
        m.wait_text(TICK)
        pause(m)
        check_gapless(text + said(m))
        m.kill()
        for p in parts:
            os.unlink(p.mem)


def merged_in_place_is_another_file(t):
    """merge: over its base, which clones have mapped, it is a new file"""
    m, base = paused(t, "tick=0", machine={"track_dirty_pages": True})
    clone = base.load(t, resume=False)
    before = said(m)
    goes_on(m)
    part = Files(t, "part")
    m.api.put("/snapshot/create", part.create_body(snapshot_type="Diff"))
    ctl(0, "merge", "-s", part.state, "-o", base.mem, base.mem, part.mem)
    resume(clone)
    clone.wait_text(TICK)
    pause(clone)
    check_gapless(before + said(clone))
    ctl(0, "verify", part.state, base.mem)
    check_equal([n for n in os.listdir(t.folder) if n.startswith("snap.mem")],
                ["snap.mem"], "files")


def host_refuses_what_a_load_refuses(t):
    """check-host: this host takes its own; what it has not is named"""
    m, files = paused(t, "tick=0", vcpus=2)
    m.kill()
    text = ctl(0, "check-host", files.state)
    check_equal(len(re.findall(": ok$", text, re.M)), text.count("\n"), "oks")
    for name in OF_HOSTS:
        state = State(files.state)
        why = getattr(nano_refuse, name)(state)
        text = ctl(1, "check-host", state.write(t.path("bad")))
        check(re.search(why, text.replace("\\x0a", "\n").replace(
            "\\xff", "?")), "%r is not in %r" % (why, text))


def host_names_every_refusal(t):
    """check-host: TSC, MSR and CPUID of one file are all told"""
    m, files = paused(t, "tick=0", vcpus=2)
    m.kill()
    state = State(files.state)
    reasons = [change(state) for change in (
        nano_refuse.more_cpuid, nano_refuse.other_tsc, nano_refuse.refused_msr,
        nano_refuse.unknown_capability)]
    text = ctl(1, "check-host", state.write(t.path("bad")))
    for why in reasons:
        check(re.search(why, text), "%r is not in %r" % (why, text))
    # The other vCPU is looked at, too, and the chips.
    check("interrupt chips and clock: ok" in text, text)


TESTS = [
    info_says_what_is_in_it, verify_finds_what_changed, verify_reads_no_holes,
    merge_makes_the_later_snapshot, merged_in_place_is_another_file,
    host_refuses_what_a_load_refuses, host_names_every_refusal,
]

if __name__ == "__main__":
    if not os.path.exists(CTL):
        print("build: %s is missing" % CTL)
        sys.exit(77)
    sys.exit(monitor.main(TESTS))
