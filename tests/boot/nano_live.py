#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Snapshots of a guest that runs on: "live" of /snapshot/create. TAP output.

usage: nano_live.py [NAME...]      tests whose names hold one of the NAMEs

See monitor.py for the environment; $NO_URING is the launcher
(build/tests/no_uring) for the test of the loop on epoll, $MAYFLYCTL the program
(beside the monitor) that checks digests.
"""
import os
import sys

import monitor
import nano_live_meanwhile
import pager_env
from live_env import (MIB, PAGE, WRITTEN, all_there, check_digests, goes_on,
                      live, names, regular, tmpfs, told, writer, writes)
from monitor import (SOAK, Skip, check, check_equal, drive, read_metrics,
                     wait_for)
from nano_backing import huge_pages
from nano_diff import file_system, used
from nano_snapshot import Files, figures, pause, resume, write

REPEATED = 1000 if SOAK else 20


def is_of_one_instant(t):
    """a live snapshot is one instant of a guest that writes all the time"""
    for vcpus, mib, rate in ((1, 4, 0), (2, 4, 0), (1, 16, 2000)):
        files = Files(t)
        m, where = writer(t, mib, rate, vcpus)
        # With a rate some pages are not there yet, without all are.
        if not rate:
            all_there(m, where)
        for _ in range(3):
            live(m, files)
            check_equal(told(m)[1], "write protection", "way")
            where.check(files.mem)
            check_digests(files)
            goes_on(m)
        check_equal(m.api.get("/")["state"], "Running", "state")
        m.kill()
        m = files.load(t)
        goes_on(m)
        m.kill()
        os.unlink(files.mem)


def pages_waited_for_are_in(t):
    """who writes to a page meanwhile waits until it is in the file"""
    files = Files(t)
    m, where = writer(t, 16)
    waited = 0
    for _ in range(5):
        all_there(m, where)
        live(m, files)
        where.check(files.mem)
        waited += told(m)[2]
    check(waited > 0, "nobody waited")
    goes_on(m)


def restored_by_passes(t):
    """a guest restored from a file is snapshotted live, and so is its copy"""
    files = Files(t)
    m, where = writer(t, 16, 1000, vcpus=2, mem=256)
    live(m, files)
    m.kill()
    last = 0
    for _ in range(3):
        m = files.load(t)
        goes_on(m)
        live(m, files)
        now = where.check(files.mem)
        check_digests(files)
        check(now > last, "write %d, then %d" % (last, now))
        last = now
        way = told(m)[1]
        check("passes" in way or way == "write protection", way)
        goes_on(m)
        m.kill()
    files.load(t).wait_text(WRITTEN)


def restored_shares(t):
    """of a restored guest it takes no room for what has not changed: XFS"""
    for tracked in False, True:
        with file_system(t, "xfs") as folder:
            first = Files(t, os.path.join(folder, "first"))
            second = Files(t, os.path.join(folder, "second"))
            m, where = writer(t, 32, "500:all")
            live(m, first)
            m.kill()
            m = first.load(t, track_dirty_pages=tracked)
            goes_on(m)
            before = used(folder)
            live(m, second)
            check("passes" in told(m)[1], "way")
            more = used(folder) - before
            where.check(second.mem)
            check_digests(second)
            check(more < 16 * MIB, "%d bytes for the second" % more)
            goes_on(m)
        os.rmdir(folder)


def restored_from_memory(t):
    """memory of a file in memory is protected like the guest's own"""
    with tmpfs(t, "512m") as folder:
        files = Files(t, os.path.join(folder, "snap"))
        m, where = writer(t, 16)
        live(m, files)
        where.check(files.mem)
        m.kill()
        again = Files(t, "again")
        m = files.load(t)
        goes_on(m)
        live(m, again)
        check_equal(told(m)[1], "write protection", "way")
        where.check(again.mem)
        goes_on(m)
        m.kill()


def huge_pages_by_passes(t):
    """a guest of 2 MiB pages is saved by passes"""
    with huge_pages(32):
        files = Files(t)
        m, where = writer(t, 8, 1000, mem=64, machine={"huge_pages": "2M"})
        live(m, files)
        check("no write protection: huge pages" in m.log(), "way")
        where.check(files.mem)
        check_digests(files)
        goes_on(m)
        m.kill()


def from_a_server_by_passes(t):
    """so is one whose memory comes from a page server"""
    files, again = Files(t), Files(t, "again")
    m, where = writer(t, 16, "1000:all", mem=64)
    live(m, files)
    m.kill()
    m = pager_env.load(t, files, pager_env.serve(t, files))
    goes_on(m)
    live(m, again)
    check("passes" in told(m)[1], "way")
    where.check(again.mem)
    check_digests(again)
    goes_on(m)


def too_quick_is_refused(t):
    """a guest that no pass can keep up with runs on, and nothing is left"""
    regular(t)
    files = Files(t)
    disk = write(t.path("disk"), bytes(64 * MIB))
    m = t.boot_api("hello,blk=0:bench:read:128:4:262144:20s,tick=0",
                   [drive(disk)])
    m.wait_text("^nano: hello")
    live(m, files)
    before, old = names(t), files.contents()
    m.kill()
    m = files.load(t)
    text = m.api.refused("PUT", "/snapshot/create",
                         files.create_body(live=True))
    check("faster than it can be saved" in text, text)
    check_equal(names(t), before, "files")
    check(files.contents() == old, "the old files have changed")
    check_equal(m.api.get("/")["state"], "Running", "state")
    pause(m)
    files.create(m)


def diff_after_it_is_exact(t):
    """a Diff behind a live snapshot holds what was written since its pause"""
    with tmpfs(t, "64k") as folder:
        for restored in False, True:
            check_diff(t, folder, restored)


def check_diff(t, small, restored):
    """Behind a live one that failed, and one that did not."""
    files, part = Files(t), Files(t, "part")
    m, where = writer(t, 16, 2000, machine={"track_dirty_pages": True})
    if restored:
        live(m, files)
        m.kill()
        m = files.load(t, track_dirty_pages=True)
        goes_on(m)
    wait_for(lambda: writes(m) > 1000, "1000 writes")
    text = m.api.refused("PUT", "/snapshot/create", Files(
        t, os.path.join(small, "x")).create_body(live=True))
    check("No space left on device" in text, text)
    live(m, files)
    image = bytearray(files.contents()[1])
    first = where.check(files.mem)
    check(first > 1000, "only %d writes" % first)
    goes_on(m)
    pause(m)
    m.api.put("/snapshot/create", part.create_body(snapshot_type="Diff"))
    files.create(m)
    count = where.check(files.mem) - first
    check(count > 0, "nothing was written")
    pages = lay_over(image, part.mem)
    check(image == files.contents()[1], "Diff over live is not the guest")
    check(pages < count + 256, "%d pages in the Diff, %d were written"
          % (pages, count))
    m.kill()
    os.unlink(part.mem)


def lay_over(image, path):
    """The data of a sparse file; how many pages it is."""
    at, pages = 0, 0
    with open(path, "rb") as f:
        while True:
            try:
                at = os.lseek(f.fileno(), at, os.SEEK_DATA)
            except OSError:
                return pages
            end = os.lseek(f.fileno(), at, os.SEEK_HOLE)
            image[at:end] = os.pread(f.fileno(), end - at, at)
            pages += (end - at) // PAGE
            at = end


def full_disk_lets_it_run(t):
    """no room in the middle: the guest runs on, the old files stay whole"""
    with tmpfs(t, "4m") as folder:
        files, small = Files(t), Files(t, os.path.join(folder, "snap"))
        m, where = writer(t, 16, machine={"track_dirty_pages": True})
        live(m, files)
        old = files.contents()
        wait_for(lambda: writes(m) > 8 * MIB // PAGE, "8 MiB")
        for body in (small.create_body(live=True),
                     {**files.create_body(live=True),
                      "mem_file_path": small.mem}):
            text = m.api.refused("PUT", "/snapshot/create", body)
            check("No space left on device" in text, text)
            check_equal(os.listdir(folder), [], "files")
            goes_on(m)
        check(files.contents() == old, "the old files have changed")
        # And what the log told in vain is told again.
        goes_on(m)
        pause(m)
        m.api.put("/snapshot/create", files.create_body(snapshot_type="Diff"))
        where.check(files.mem)
        resume(m)
        goes_on(m)
        m.kill()


def refuses_what_it_is_not_for(t):
    """live is for a microVM that runs"""
    files = Files(t)
    m = t.boot_api("tick=0")
    m.wait_text("^nano: tick 1")
    pause(m)
    text = m.api.refused("PUT", "/snapshot/create",
                         files.create_body(live=True))
    check_equal(text, "Create snapshot error: `live` is for a microVM that "
                      "runs; this one is paused.", "refusal")
    m.api.put("/snapshot/create", files.create_body(live=False))
    resume(m)
    text = m.api.refused("PUT", "/snapshot/create",
                         files.create_body(live=False))
    check("unavailable while running" in text, text)
    check_equal(names(t), ["snap.mem", "snap.state"], "files")


def repeated_without_growth(t):
    """many live snapshots in a row leave the process as it was"""
    files = Files(t)
    m, where = writer(t, 4, vcpus=2)
    all_there(m, where)
    first = None
    for i in range(REPEATED):
        live(m, files)
        if i == 3:
            first = figures(m)
    where.check(files.mem)
    last = figures(m)
    check_equal(last[0], first[0], "descriptors")
    check(last[1] < first[1] + 256, "%d KiB, then %d" % (first[1], last[1]))
    check_equal(names(t), ["snap.mem", "snap.state"], "files")
    goes_on(m)


def without_userfaultfd(t):
    """in a jail without /dev/userfaultfd memory is saved by passes"""
    files = Files(t)
    m, where = writer(t, 16, 1000)
    if not hasattr(m.jail, "root"):
        raise Skip("jail: none")
    os.unlink(os.path.join(m.jail.root, "dev/userfaultfd"))
    live(m, files)
    check("/dev/userfaultfd cannot be opened" in m.log(), "why it is by passes")
    where.check(files.mem)
    goes_on(m)


def tells_what_it_did(t):
    """the way and the pause are in the log, the pause in the metrics"""
    files, path = Files(t), t.path("metrics")
    m, _ = writer(t, 4, 1000, metrics={"metrics_path": path})
    live(m, files)
    us, way, _ = told(m)
    check_equal(way, "write protection", "way")
    sums = read_metrics(m, path)
    check_equal(sums["latencies_us.vmm_pause_vm"], us, "pause")
    check(sums["latencies_us.full_create_snapshot"] >= us, "whole create")
    check_equal(sums["latencies_us.pause_vm"], 0, "pauses by PATCH")
    check_equal(sums["latencies_us.diff_create_snapshot"], 0, "Diffs")
    live(m, files, snapshot_type="Diff")
    sums = read_metrics(m, path)
    check(sums["latencies_us.diff_create_snapshot"] >= told(m)[0], "Diff")
    check("'create diff snapshot'" in m.log(), "no line in the log")


TESTS = [
    is_of_one_instant, pages_waited_for_are_in, restored_by_passes,
    restored_shares, restored_from_memory, huge_pages_by_passes,
    from_a_server_by_passes, too_quick_is_refused, diff_after_it_is_exact,
    full_disk_lets_it_run, refuses_what_it_is_not_for, repeated_without_growth,
    without_userfaultfd, tells_what_it_did,
]

if __name__ == "__main__":
    sys.exit(monitor.main(TESTS + nano_live_meanwhile.TESTS))
