#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Snapshots of what has changed, and what a snapshot need not write.

usage: nano_diff.py [NAME...]     tests whose names hold one of the NAMEs
"""
import contextlib
import errno
import os
import re
import sys

import monitor
from monitor import Skip, check, check_equal, drive, read_metrics, wait_for
from nano_snapshot import (TICK, Files, check_gapless, pause, resume, said,
                           write)
from nano_stuck import tool
from netns import MTU_MAX, NetNs
from vsock_host import connect

MIB, PAGE = 1 << 20, 4096
CHAIN = 5
TRACK = {"track_dirty_pages": True}
PORT = 52


# ---- files ----

def extents(path):
    """[(start, end)] of what is no hole."""
    found, at = [], 0
    with open(path, "rb") as f:
        while True:
            try:
                start = os.lseek(f.fileno(), at, os.SEEK_DATA)
            except OSError as e:
                if e.errno != errno.ENXIO:
                    raise
                return found
            at = os.lseek(f.fileno(), start, os.SEEK_HOLE)
            found.append((start, at))


def size_of_data(path):
    """Bytes in it that are no hole."""
    return sum(end - start for start, end in extents(path))


def merge(base, diff):
    """Put what the diff has over the base, as anybody's tool does."""
    check_equal(os.path.getsize(diff), os.path.getsize(base), "bytes of RAM")
    with open(base, "r+b") as to, open(diff, "rb") as from_:
        for start, end in extents(diff):
            from_.seek(start)
            to.seek(start)
            to.write(from_.read(end - start))


def check_same(one, other):
    """They read the same."""
    check_equal(os.path.getsize(one), os.path.getsize(other), "size")
    differ = []
    with open(one, "rb") as a, open(other, "rb") as b:
        for start, end in extents(one) + extents(other):
            for at in range(start, end, MIB):
                a.seek(at)
                b.seek(at)
                n = min(MIB, end - at)
                x, y = a.read(n), b.read(n)
                if x != y:
                    differ += [hex(at + i) for i in range(0, n, PAGE)
                               if x[i:i + PAGE] != y[i:i + PAGE]]
    check(not differ, "%d pages differ: %s" % (len(differ), differ[:8]))


def copy(path, to):
    """With its holes."""
    check(tool("cp", "--sparse=always", path, to), "cp")
    return to


# ---- guests ----

def create(m, files, **other):
    """Of a monitor whose guest is paused."""
    m.api.put("/snapshot/create", files.create_body(**other))


def diff(m, files, alone=False):
    """The same, of what has changed; alone: not over what is there."""
    if alone:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(files.mem)
    create(m, files, snapshot_type="Diff")


def check_untouched(m):
    """What nobody wrote was not read either: neither here nor by the guest."""
    with open("/proc/%d/status" % m.process.pid, encoding="ascii") as f:
        kib = int(re.search(r"^VmRSS:\s+(\d+)", f.read(), re.M).group(1))
    check(kib < 128 << 10, "%d KiB are resident" % kib)


def goes_on(m):
    """Let it run until it has done something, and pause it."""
    before = len(m.console())
    resume(m)
    wait_for(lambda: len(m.console()) > before + 20, "output of the guest")
    pause(m)


def check_diff(t, m, base, most=None):
    """A paused guest: a diff over the base is what a full snapshot is."""
    part, whole = Files(t, "part"), Files(t, "whole")
    diff(m, part, alone=True)
    create(m, whole)
    if most:
        check(size_of_data(part.mem) < most, "%d bytes of data" %
              size_of_data(part.mem))
    merged = copy(base, t.path("merged"))
    merge(merged, part.mem)
    check_same(merged, whole.mem)
    return part, merged


def tells_what_was_written(t):
    """base and diff are the guest's RAM: booted, restored; 1, 2 vCPUs; 5 GiB"""
    for vcpus, mem, words in ((1, 128, ""), (2, 128, "nano.spin"),
                              (1, 5120, "")):
        base = Files(t, "base")
        m = t.boot_api("cpus,dirty=8:500", vcpus=vcpus, mem=mem,
                       machine=TRACK, words=words)
        m.wait_text("^nano: dirty written")
        pause(m)
        create(m, base)
        goes_on(m)
        check_diff(t, m, base.mem, 4 * MIB)
        # And from here on, with what the load itself wrote.
        m.kill()
        m = Files(t, "whole").load(t, resume=False, **TRACK)
        again = copy(Files(t, "whole").mem, t.path("again"))
        goes_on(m)
        check_diff(t, m, again, 4 * MIB)
        check_untouched(m)
        m.kill()


def tells_what_differs(t):
    """without tracking, too: by the file, or by what is resident"""
    for vcpus, mem in ((1, 128), (2, 5120)):
        base = Files(t, "base")
        m = t.boot_api("cpus,dirty=8:500", vcpus=vcpus, mem=mem)
        m.wait_text("^nano: dirty written")
        pause(m)
        create(m, base)
        goes_on(m)
        check_diff(t, m, base.mem, 64 * MIB)
        m.kill()
        again = copy(Files(t, "whole").mem, t.path("again"))
        m = Files(t, "whole").load(t, resume=False)
        goes_on(m)
        check_diff(t, m, again, 4 * MIB)
        check_untouched(m)
        m.kill()


def first_diff_is_whole(t):
    """a first Diff of a guest that was booted has its kernel and all"""
    for machine in TRACK, None:
        files, whole = Files(t), Files(t, "whole")
        m = t.boot_api("mem,tick=0", machine=machine)
        m.wait_text("^nano: tick 2")
        pause(m)
        diff(m, files)
        create(m, whole)
        check_same(files.mem, whole.mem)
        first = said(m)
        m.kill()
        m = files.load(t)
        m.wait_text(TICK)
        pause(m)
        check_gapless(first + said(m))
        for f in files, whole:
            os.unlink(f.mem)


# ---- what devices write ----

def device_writes(t, m, work):
    """Work of devices while it is tracked is in the diff: three times."""
    base = Files(t, "base")
    pause(m)
    create(m, base)
    for _ in range(3):
        resume(m)
        work()
        pause(m)
        _, merged = check_diff(t, m, base.mem)
        os.replace(merged, base.mem)


def drive_reads_are_told(t):
    """what drives read into RAM is in a Diff, though no vCPU wrote it"""
    path = write(t.path("disk"), os.urandom(8 * MIB))
    m = t.boot_api("hello,blk=0:bench:read:32:4:16384:100s:rand",
                   [drive(path, read_only=True)], machine=TRACK,
                   metrics={"metrics_path": t.path("metrics")})
    m.wait_text("^nano: ok hello")

    def work():
        before = read_metrics(m, t.path("metrics"))["block.read_count"]
        wait_for(lambda: read_metrics(m, t.path("metrics"))[
            "block.read_count"] > before + 100, "reads")

    work()
    device_writes(t, m, work)


def frames_are_told(t):
    """and so are frames from a network"""
    with NetNs(mtu=MTU_MAX) as net:
        raw = net.raw()
        m = t.boot_api("net=0:recv:0:0:0:i100000", machine=TRACK,
                       **{"network-interfaces": [net.interface()]})
        m.wait_text("^nano: net receives")
        net.wait_up()
        device_writes(t, m, lambda: send_noise(raw))


def send_noise(raw):
    """Frames that are nobody's, of many pages, once round the ring."""
    for _ in range(300):
        raw.send(bytes(12) + b"\xff" * 6 + os.urandom(20000))


def streams_are_told(t):
    """and streams of a vsock"""
    m = t.boot_api("vsock=listen:%d:1:recv:0" % PORT, machine=TRACK,
                   vsock={"guest_cid": 3, "uds_path": t.path("v.sock")})
    m.wait_text("^nano: vsock cid=3$")
    s, _ = connect(t.path("v.sock"), PORT)
    device_writes(t, m, lambda: s.sendall(os.urandom(4 * MIB)))


# ---- files that are there ----

def chain_of_diffs(t):
    """diffs of diffs, merged one after another, are the guest; it goes on"""
    for machine in TRACK, None:
        base, part, whole = Files(t, "base"), Files(t), Files(t, "whole")
        m = t.boot_api("touch=4,tick=0", machine=machine)
        m.wait_text("^nano: tick 1")
        pause(m)
        create(m, base)
        for _ in range(CHAIN):
            goes_on(m)
            diff(m, part, alone=True)
            merge(base.mem, part.mem)
        create(m, whole)
        check_same(base.mem, whole.mem)
        first = said(m)
        m.kill()
        # Merged by another's tool: the state says that it was a Diff.
        part.mem = base.mem
        m = part.load(t)
        m.wait_text(TICK)
        pause(m)
        check_gapless(first + said(m))
        m.kill()


def diff_over_its_base(t):
    """a Diff to a file of RAM's size merges; who has it mapped is not harmed"""
    base, whole = Files(t, "base"), Files(t, "whole")
    for machine in TRACK, None:
        m = t.boot_api("touch=4,tick=0", machine=machine)
        m.wait_text("^nano: tick 1")
        pause(m)
        create(m, base)
        before = said(m)
        kept = copy(base.mem, t.path("kept"))
        clone = base.load(t, resume=False)
        with open(base.mem, "rb") as old:
            goes_on(m)
            diff(m, base)
            check(os.fstat(old.fileno()).st_ino !=
                  os.stat(base.mem).st_ino, "the old file was written to")
            create(m, whole)
            check_same(base.mem, whole.mem)
            check_same("/proc/self/fd/%d" % old.fileno(), kept)
        resume(clone)
        clone.wait_text(TICK)
        pause(clone)
        check_gapless(before + said(clone))
        before = said(m)
        m.kill()
        m = base.load(t)
        m.wait_text(TICK)
        pause(m)
        check_gapless(before + said(m))
        m.kill()


def diff_alone_is_no_memory(t):
    """a Diff that was not merged is refused; so is one over a smaller file"""
    base, part = Files(t, "base"), Files(t)
    m = t.boot_api("touch=4,tick=0", machine=TRACK)
    m.wait_text("^nano: tick 1")
    pause(m)
    create(m, base)
    goes_on(m)
    write(part.mem, b"x" * MIB)
    diff(m, part)
    check_equal(os.path.getsize(part.mem), 128 * MIB, "size")
    loader = t.monitor()
    text = loader.api.refused("PUT", "/snapshot/load", part.load_body())
    check("The memory file is a Diff: it has to be merged over" in text, text)
    # One Diff over another is not more, but the same in fewer files.
    goes_on(m)
    diff(m, part)
    text = loader.api.refused("PUT", "/snapshot/load", part.load_body())
    check("The memory file is a Diff: it has to be merged over" in text, text)
    merge(base.mem, part.mem)
    loader.api.put("/snapshot/load", part.load_body(base.mem, resume_vm=True))
    loader.wait_text(TICK)


def failed_create_forgets_nothing(t):
    """what a create that failed had to tell, the next Diff tells"""
    small = t.path("small")
    os.mkdir(small)
    if not tool("mount", "-t", "tmpfs", "-o", "size=64k", "small", small):
        raise Skip("tmpfs: no mount")
    try:
        base, bad = Files(t, "base"), Files(t, "small/x")
        m = t.boot_api("dirty=8:500", machine=TRACK)
        m.wait_text("^nano: dirty written")
        pause(m)
        create(m, base)
        for kind in "Full", "Diff":
            goes_on(m)
            text = m.api.refused("PUT", "/snapshot/create",
                                 bad.create_body(snapshot_type=kind))
            check("No space left on device" in text, text)
            check_equal(os.listdir(small), [], "files")
        check_diff(t, m, base.mem, 4 * MIB)
    finally:
        for m in t.monitors:
            m.kill()
        tool("umount", small)


def says_how_long_it_took(t):
    """a Diff has its metrics and its line in the log"""
    files = Files(t)
    m = t.boot_api("tick=0", metrics={"metrics_path": t.path("metrics")},
                   logger={"log_path": t.path("log"), "level": "Info"})
    m.wait_text("^nano: tick 1")
    pause(m)
    diff(m, files)
    got = read_metrics(m, t.path("metrics"))
    for name in "diff_create_snapshot", "vmm_diff_create_snapshot":
        check(got["latencies_us." + name] > 0, name)
    check_equal(got["latencies_us.full_create_snapshot"], 0, "full")
    with open(t.path("log"), encoding="utf-8") as f:
        check("'create diff snapshot'" in f.read(), "no line in the log")


# ---- file systems that share ----

@contextlib.contextmanager
def file_system(t, kind):
    """A folder on a new one of that kind."""
    image, folder = t.file("fs", 512 * MIB), t.path("fs." + kind)
    os.mkdir(folder)
    if not tool("mkfs." + kind, "-q", image) or \
            not tool("mount", "-o", "loop", image, folder):
        raise Skip(kind + ": cannot be made or mounted")
    os.chmod(folder, 0o777)
    try:
        yield folder
    finally:
        for m in t.monitors:
            m.kill()
        wait_for(lambda: tool("umount", folder), "umount")
        os.unlink(image)


def used(folder):
    """Bytes that are taken, and on the disk."""
    os.sync()
    s = os.statvfs(folder)
    return (s.f_blocks - s.f_bfree) * s.f_frsize


def full_shares(t, kind, machine):
    """A Full of a restored guest takes no room for what it did not change."""
    with file_system(t, kind) as folder:
        base = Files(t, os.path.join(folder, "base"))
        second = Files(t, os.path.join(folder, "second"))
        plain = Files(t, "plain")
        m = t.boot_api("touch=64,tick=0", machine=machine)
        m.wait_text("^nano: tick 1")
        pause(m)
        create(m, base)
        first = said(m)
        m.kill()
        m = base.load(t, resume=False, **machine)
        goes_on(m)
        before = used(folder)
        check(before > 64 * MIB, "RAM is not full: %d" % before)
        create(m, second)
        more = used(folder) - before
        create(m, plain)
        check_same(second.mem, plain.mem)
        check(more < 8 * MIB, "%d bytes for the second" % more)
        first += said(m)
        m.kill()
        m = second.load(t)
        m.wait_text(TICK)
        pause(m)
        check_gapless(first + said(m))


def full_shares_on_xfs(t):
    """a Full of a restored guest writes only what differs: XFS"""
    full_shares(t, "xfs", {})


def full_shares_on_xfs_tracked(t):
    """the same by the log of dirty pages"""
    full_shares(t, "xfs", TRACK)


def full_shares_on_btrfs(t):
    """the same on Btrfs"""
    full_shares(t, "btrfs", {})


TESTS = [
    tells_what_was_written, tells_what_differs, first_diff_is_whole,
    drive_reads_are_told, frames_are_told, streams_are_told, chain_of_diffs,
    diff_over_its_base, diff_alone_is_no_memory,
    failed_create_forgets_nothing, says_how_long_it_took, full_shares_on_xfs,
    full_shares_on_xfs_tracked, full_shares_on_btrfs,
]


if __name__ == "__main__":
    sys.exit(monitor.main(TESTS))
