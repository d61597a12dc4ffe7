#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Snapshots of a guest that runs on: "live" of /snapshot/create. TAP output.

usage: nano_live.py [NAME...]      tests whose names hold one of the NAMEs

See monitor.py for the environment; $NO_URING is the launcher
(build/tests/no_uring) for the test of the loop on epoll, $MAYFLYCTL the program
(beside the monitor) that checks digests.
"""
import contextlib
import os
import re
import shutil
import socket
import struct
import subprocess
import sys
import threading
import time

import jailed
import monitor
import pager_env
from monitor import (SOAK, Failed, Skip, check, check_equal, drive,
                     read_metrics, wait_for)
from nano_backing import huge_pages
from nano_diff import file_system, used
from nano_drive import check_pattern
from nano_snapshot import Files, figures, pause, resume, write
from nano_stuck import frozen, tool
from nano_sweep import traced
from netns import PERIOD, pattern
from vsock_host import check_pattern as check_stream
from vsock_host import connect

CTL = os.environ.get("MAYFLYCTL", os.path.join(
    os.path.dirname(jailed.split(monitor.MAYFLY)[1]), "mayflyctl"))
MIB, PAGE = 1 << 20, 4096
STRIDE = 7919 # see guest/nano/dirty.c
PORT = 52
REPEATED = 1000 if SOAK else 20
WRITTEN = r"^nano: dirty written=(\d+)"
LINE = (r"Live snapshot: the microVM was paused for (\d+) us; by (write "
        r"protection|\d+ passes), (\d+) pages")


def inverse(c):
    """What is at the end of a page that write number c went to."""
    return ~c % 2**64 if c > 0 else 0


class Dirty:
    """Where nano's order dirty writes, and whether a copy of it is right."""

    def __init__(self, m):
        gpa, pages, lanes = m.wait_text(
            r"^nano: dirty gpa=(\S+) pages=(\d+) lanes=(\d+)").groups()
        self.gpa, self.pages = int(gpa, 16), int(pages)
        self.lanes = int(lanes)

    def lane(self, path, n):
        """[(first word, last word)] of its pages."""
        with open(path, "rb") as f:
            f.seek(self.gpa + n * self.pages * PAGE)
            data = f.read(self.pages * PAGE)
        return [struct.unpack_from("<Q", data, at) +
                struct.unpack_from("<Q", data, at + PAGE - 8)
                for at in range(0, len(data), PAGE)]

    def check_lane(self, path, n):
        """Of one instant; returns the number of the last write."""
        words = self.lane(path, n)
        last = max(first for first, _ in words)
        for c in range(last - self.pages + 1, last + 1):
            first, end = words[(c - 1) * STRIDE % self.pages]
            # It may be in the middle of the last one.
            ends = [inverse(c)] + [inverse(c - self.pages)] * (c == last)
            check(first == max(c, 0) and end in ends,
                  "lane %d: where write %d went is %d, %x; the last one is %d"
                  % (n, c, first, end, last))
        return last

    def check(self, path):
        """All of it; returns the number of the last write."""
        last = [self.check_lane(path, n) for n in range(self.lanes)]
        check(max(last) == last[0], "a processor is ahead: %r" % last)
        return last[0]


def writer(t, mib=16, rate=0, vcpus=1, **more):
    """(monitor, Dirty) of a guest that writes to its memory."""
    words = "nano.spin" if vcpus > 1 else ""
    m = t.boot_api("cpus,dirty=%d:%s" % (mib, rate), vcpus=vcpus, words=words,
                   **more)
    where = Dirty(m)
    m.wait_text(WRITTEN)
    return m, where


def writes(m):
    """How many it has told of."""
    return max(map(int, re.findall(WRITTEN, m.console(), re.MULTILINE)),
               default=0)


def all_there(m, where):
    """It has written to every page, more than once."""
    wait_for(lambda: writes(m) > 2 * where.pages, "two rounds")


def goes_on(m):
    """It still writes, and its memory is as it left it."""
    before = writes(m)
    wait_for(lambda: writes(m) > before, "further writes")
    check("FAIL" not in m.console(), "RAM does not hold its value")


def live(m, files, **other):
    """A live snapshot."""
    m.api.put("/snapshot/create", files.create_body(live=True, **other))


def ending():
    """What a request may meet when the guest is about to end."""
    return contextlib.suppress(OSError, monitor.http.client.HTTPException,
                               Failed)


def check_digests(files):
    """The memory file has those that the state file tells."""
    done = subprocess.run([CTL, "snapshot", "verify", files.state, files.mem],
                          check=False, capture_output=True, text=True)
    check_equal(done.returncode, 0, done.stdout + done.stderr)


def told(m):
    """(pause in us, way, pages) of the last one."""
    us, way, pages = re.findall(LINE, m.log())[-1]
    return int(us), way, int(pages)


def names(t):
    """All files of the test, but for those of monitors."""
    return sorted(n for n in os.listdir(t.folder)
                  if not n.startswith(("monitor", "config")))


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


@contextlib.contextmanager
def tmpfs(t, size):
    """A folder in memory."""
    folder = t.path("memory")
    os.mkdir(folder)
    if not tool("mount", "-t", "tmpfs", "-o", "size=" + size, "x", folder):
        raise Skip("tmpfs: no mount")
    try:
        yield folder
    finally:
        wait_for(lambda: tool("umount", folder), "umount")
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


def regular(t):
    """Skip unless the test's folder is on a disk."""
    if "tmpfs" in os.popen("stat -f -c %%T %s" % t.folder).read():
        raise Skip("disk: temporary files are in memory")


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


def drives_and_streams_go_on(t):
    """drives and vsock streams do not notice live snapshots"""
    path = t.file("disk", 16 * MIB)
    ways = ["d32:s4:b16384:rand", "d1:s1:b4096", "d128:s4:b16384"]
    orders = ["blk=0:%s:%d:16:%s" % (op, seed, way)
              for seed, way in enumerate(ways) for op in ("write", "verify")]
    uds = t.path("v.sock")
    # The second one has devices write to its memory when they resume.
    for words in "", "nano.noeventidx":
        m = t.boot_api(",".join(["vsock=listen:%d:1:echo:0" % PORT, *orders]),
                       [drive(path)], mem=256, words=words,
                       vsock={"guest_cid": 3, "uds_path": uds})
        m.wait_text("^nano: vsock cid=3$")
        taken = live_with_stream(m, Files(t), connect(uds, PORT)[0])
        taken += live_to_the_end(m, Files(t))
        check(taken > 2, "%d snapshots" % taken)
        check_equal(m.console().count("nano: ok blk="), len(orders), "orders")
        check_pattern(path, len(ways) - 1, range(0, 16 * MIB // 512, 97))
        check_equal(names(t), ["disk", "snap.mem", "snap.state", "v.sock"],
                    "files")
        os.unlink(uds)


def live_with_stream(m, files, stream):
    """As many as a stream there and back takes."""
    taken = 0
    both = [threading.Thread(target=send_slowly, args=(stream, 8 * MIB)),
            threading.Thread(target=check_stream, args=(stream, 8 * MIB))]
    for thread in both:
        thread.start()
    while "nano: ok vsock" not in m.console():
        live(m, files)
        taken += 1
        check("FAIL" not in m.console(), "the stream has failed")
    for thread in both:
        thread.join()
    return taken


def live_to_the_end(m, files):
    """As many as come before the guest is done."""
    taken = 0
    while "nano: done" not in m.console() and m.process.poll() is None:
        with ending():
            live(m, files)
            taken += 1
    m.check_end()
    return taken


def send_slowly(stream, n):
    """The pattern, for as long as some snapshots take."""
    for at in range(0, n, PERIOD):
        stream.sendall(pattern(at, min(PERIOD, n - at)))
        time.sleep(0.002)
    stream.shutdown(socket.SHUT_WR)


@contextlib.contextmanager
def without_ring():
    """Monitors of this have no io_uring."""
    launcher = os.environ.get("NO_URING", os.path.join(
        monitor.TOP, "build/tests/no_uring"))
    if not os.path.exists(launcher):
        raise Skip("no_uring: not built")
    monitor.MAYFLY.insert(0, launcher)
    try:
        yield
    finally:
        monitor.MAYFLY.pop(0)


def drives_by_the_helper(t):
    """where drives need the helper, memory is saved by passes"""
    path = t.file("disk", 16 * MIB)
    files = Files(t)
    with without_ring():
        m = t.boot_api("blk=0:write:1:16,blk=0:verify:1:16,blk=0:write:2:16,"
                       "blk=0:verify:2:16", [drive(path)])
        check(live_to_the_end(m, files) > 0, "no snapshot")
        check("drives need the helper" in m.log(), "the way is not told")
        check_pattern(path, 2, range(0, 16 * MIB // 512, 97))
        m, where = writer(t, 16, 1000, vcpus=2)
        live(m, files)
        where.check(files.mem)
        goes_on(m)
        m.kill()
        goes_on(files.load(t))


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


def guest_that_ends_meanwhile(t):
    """the end of the guest waits for the files, whole or none"""
    files = Files(t)
    for ticks in range(3, 8):
        m = t.boot_api("touch=32,tick=%d" % ticks)
        m.wait_text("^nano: tick %d" % (ticks - 2))
        with ending():
            live(m, files)
        m.check_end()
        left = [n for n in names(t) if n not in ("snap.mem", "snap.state")]
        check_equal(left, [], "files")


def guest_that_ends_in_the_pause(t):
    """nor is a guest that ends while it is being paused a snapshot"""
    files = Files(t)
    m = t.boot_api("tick=20")
    m.wait_text("^nano: tick 18")
    # Between the exit that ends the guest and that it is seen.
    with traced(m, "fc_vcpu 0", "-e", "trace=ioctl", "-e",
                "inject=ioctl:delay_exit=60000"):
        m.wait_text("^nano: done\n")
        with contextlib.suppress(OSError, monitor.http.client.HTTPException):
            text = m.api.refused("PUT", "/snapshot/create",
                                 files.create_body(live=True))
            check_equal(text, "Create snapshot error: The guest has ended.",
                        "refused")
        m.check_end()
    check_equal(names(t), [], "files")


def drive_that_hangs(t):
    """a pause that does not come about fails, and the guest runs on"""
    with frozen(t) as folder:
        stuck = os.path.join(folder, "stuck")
        write(stuck, bytes(16 * MIB))
        check(tool("fsfreeze", "-f", folder), "fsfreeze")
        files = Files(t)
        m = t.boot_api("hello,blk=0:discard:0:8", [drive(stuck)])
        m.wait_text("^nano: ok hello")
        time.sleep(0.2)
        text = m.api.refused("PUT", "/snapshot/create",
                             files.create_body(live=True))
        check("Drives did not end their requests within 2 s" in text, text)
        check_equal(m.api.get("/")["state"], "Running", "state")
        check_equal(names(t), ["fs", "mnt"], "files")


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
    drives_and_streams_go_on, drives_by_the_helper, without_userfaultfd,
    guest_that_ends_meanwhile, guest_that_ends_in_the_pause, drive_that_hangs,
    tells_what_it_did,
]

if __name__ == "__main__":
    sys.exit(monitor.main(TESTS))
