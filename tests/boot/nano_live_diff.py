#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Live snapshots of what has changed: "live" with a Diff. TAP output.

usage: nano_live_diff.py [NAME...]  tests whose names hold one of the NAMEs

See nano_live.py for the environment.
"""
import contextlib
import os
import sys

import monitor
import pager_env
from live_env import (MIB, PAGE, check_digests, goes_on, live, regular, tmpfs,
                      told, without_ring, writer, writes)
from monitor import Skip, check, check_equal, wait_for
from nano_backing import huge_pages
from nano_diff import TRACK, check_diff, copy, merge
from nano_snapshot import Files, pause, resume


def live_diff(t, m, **other):
    """A live Diff that is not merged yet."""
    part = Files(t, "part")
    with contextlib.suppress(FileNotFoundError):
        os.unlink(part.mem)
    live(m, part, snapshot_type="Diff", **other)
    return part


def merged(t, base, part):
    """The files of a Diff, laid over those of what was before it."""
    merge(base.mem, part.mem)
    both = Files(t, "part")
    both.mem = base.mem
    return both


def chain(t, m, where, base, way, digests=True, most=None):
    """Live Diffs of a guest, laid over what was before, are what it was."""
    base.mem = copy(base.mem, t.path("chain"))
    last = 0
    for _ in range(3):
        goes_on(m)
        before = writes(m)
        part = live_diff(t, m)
        check(way in told(m)[1], "by " + told(m)[1])
        both = merged(t, base, part)
        now = where.check(both.mem)
        check(now >= before and now > last, "write %d, then %d, %d" % (
            last, before, now))
        if digests:
            check_digests(both)
        if most and last:
            data = os.stat(part.mem).st_blocks * 512
            check(data < (now - last) * PAGE + most,
                  "%d bytes for %d writes" % (data, now - last))
        last = now
    # And what the monitor merges by itself.
    goes_on(m)
    live(m, base, snapshot_type="Diff")
    check(where.check(base.mem) > last, "nothing new")
    if digests:
        check_digests(base)
    # The next one begins where these ended, to the page.
    goes_on(m)
    pause(m)
    check_diff(t, m, base.mem)
    m.kill()
    goes_on(base.load(t))
    return part


def chains(t, **kind):
    """Of a booted guest, and of one that was restored from a disk."""
    regular(t)
    base = Files(t, "base")
    # As fast as it goes: some of it while the pages are being saved.
    m, where = writer(t, 4, 0, vcpus=2, machine=kind)
    live(m, base)
    chain(t, m, where, base, "write protection")
    base = Files(t, "base")
    m, where = writer(t, 16, 2000)
    live(m, base)
    m.kill()
    m = base.load(t, **kind)
    part = chain(t, m, where, base, "passes", most=kind and 2 * MIB)
    # Nobody takes what was not merged for memory.
    text = t.monitor().api.refused("PUT", "/snapshot/load", part.load_body())
    check("The memory file is a Diff" in text, text)


def diffs_of_diffs(t):
    """live Diffs by the log, merged one by one, are instants of the guest"""
    chains(t, **TRACK)


def diffs_by_comparing(t):
    """so are live Diffs without the log"""
    chains(t)


def diffs_from_memory(t):
    """and those of a guest restored from memory, protected while compared"""
    with tmpfs(t, "512m") as folder:
        for kind in TRACK, {}:
            base = Files(t, os.path.join(folder, "base"))
            m, where = writer(t, 16, 1000)
            live(m, base)
            m.kill()
            m = base.load(t, **kind)
            chain(t, m, where, base, "write protection")
            for m in t.monitors:
                m.kill()


def diffs_by_passes(t):
    """and those of a booted guest whose memory cannot be protected"""
    for kind in TRACK, {}:
        base = Files(t, "base")
        m, where = writer(t, 16, 1000, machine=kind)
        if not hasattr(m.jail, "root"):
            raise Skip("jail: none")
        os.unlink(os.path.join(m.jail.root, "dev/userfaultfd"))
        live(m, base)
        chain(t, m, where, base, "passes")


def diffs_from_a_server(t):
    """and those of one whose memory comes from a page server"""
    for kind in TRACK, {}:
        base = Files(t, "base")
        m, where = writer(t, 4, "200:all", mem=32)
        live(m, base)
        m.kill()
        m = pager_env.load(t, base, pager_env.serve(t, base), **kind)
        chain(t, m, where, base, "passes", digests=False)
        for m in t.monitors:
            m.kill()


def diffs_of_huge_pages(t):
    """and those of a guest of 2 MiB pages"""
    with huge_pages(32):
        for kind in TRACK, {}:
            base = Files(t, "base")
            m, where = writer(t, 8, 1000, mem=64,
                              machine={"huge_pages": "2M", **kind})
            live(m, base)
            chain(t, m, where, base, "passes")
            for m in t.monitors:
                m.kill()


def diffs_by_the_helper(t):
    """and those of one whose drives are served by the same thread"""
    with without_ring():
        base = Files(t, "base")
        m, where = writer(t, 16, 1000, machine=TRACK)
        live(m, base)
        chain(t, m, where, base, "passes")


def failed_diff_forgets_nothing(t):
    """what a live Diff that failed had to tell, the next Diff tells"""
    for restored in False, True:
        with tmpfs(t, "256k") as folder:
            base = Files(t, "base")
            small = Files(t, os.path.join(folder, "x"))
            m, where = writer(t, 16, 1000, machine=TRACK)
            live(m, base)
            if restored:
                m.kill()
                m = base.load(t, **TRACK)
            for _ in range(2):
                before = writes(m)
                wait_for(lambda: writes(m) > before + 256, "256 writes")
                text = m.api.refused("PUT", "/snapshot/create",
                                     small.create_body(live=True,
                                                       snapshot_type="Diff"))
                check("No space left on device" in text, text)
                check_equal(os.listdir(folder), [], "files")
                goes_on(m)
            pause(m)
            _, base.mem = check_diff(t, m, base.mem)
            resume(m)
            both = merged(t, base, live_diff(t, m))
            where.check(both.mem)
            check_digests(both)
            m.kill()


TESTS = [
    diffs_of_diffs, diffs_by_comparing, diffs_from_memory, diffs_by_passes,
    diffs_from_a_server, diffs_of_huge_pages, diffs_by_the_helper,
    failed_diff_forgets_nothing,
]

if __name__ == "__main__":
    sys.exit(monitor.main(TESTS))
