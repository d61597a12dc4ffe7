# SPDX-License-Identifier: Apache-2.0
"""What drives do. Run by nano.py."""
import os
import random
import re
import shutil
import struct
import subprocess
import zlib

from monitor import SOAK, Failed, check, check_equal, drive, read_metrics

MIB = 1 << 20
SECTOR = 512
MASK = (1 << 64) - 1
MAX_DRIVES = 17
MOVED_MIB = 8192 if SOAK else 1024
SWAP_ORDERS = 40 if SOAK else 10


def pattern(seed, sector):
    """A sector as nano writes it (guest/nano/blk.h)."""
    x = (((seed + 1) * 0x9e3779b97f4a7c15) ^
         ((sector + 1) * 0xbf58476d1ce4e5b9)) & MASK or 1
    words = []
    for _ in range(SECTOR // 8):
        x ^= x << 13 & MASK
        x ^= x >> 7
        x ^= x << 17 & MASK
        words.append(x)
    return struct.pack("<64Q", *words)


def write_pattern(path, seed, mib):
    """A file as nano would write it."""
    with open(path, "wb") as f:
        for sector in range(mib * MIB // SECTOR):
            f.write(pattern(seed, sector))
    return path


def check_pattern(path, seed, sectors):
    """These sectors of a file are as nano writes them."""
    with open(path, "rb") as f:
        for sector in sectors:
            f.seek(sector * SECTOR)
            check(f.read(SECTOR) == pattern(seed, sector),
                  "sector %d is not what the guest wrote" % sector)


def some_sectors(mib, n=500):
    """The first ones, the last one, and some between."""
    end = mib * MIB // SECTOR
    return [*range(64), end - 1, *random.Random(1).sample(range(end), n)]


def contents(path):
    """All bytes."""
    with open(path, "rb") as f:
        return f.read()


def writes_what_the_guest_writes(t):
    """the file holds what the guest wrote, by every way of using the queue"""
    ways = ("d1:s1:b4096", "d3:s1:b512", "d8:s16:b65536", "d128:s4:b16384",
            "d128:s1:b4096:rand", "d32:s64:b131072:rand")
    for words in "", "nano.noindirect", "nano.noeventidx", "nano.poll":
        path = t.file("a", MIB)
        orders = ["blk=0:%s:%d:1:%s" % (op, seed, way)
                  for seed, way in enumerate(ways)
                  for op in ("write", "verify")]
        t.boot(",".join(orders), [drive(path)], words=words).check_end()
        check_pattern(path, len(ways) - 1, range(MIB // SECTOR))


def takes_126_segments(t):
    """requests of 126 segments, the most that is offered, are right"""
    path = t.file("a", 63 * MIB)
    way = "63:d32:s126:b64512:rand"
    t.boot("blk=0:write:8:%s,blk=0:verify:8:%s" % (way, way),
           [drive(path)]).check_end()
    check_pattern(path, 8, some_sectors(63))


def moves_a_gib(t):
    """1 GiB is written, verified, and right on the host"""
    path = t.file("a", MOVED_MIB * MIB)
    m = t.boot("blk=0:write:5:%d:d32:s16:b131072,"
               "blk=0:verify:5:%d:d32:s16:b131072:rand"
               % (MOVED_MIB, MOVED_MIB), [drive(path)]).check_end()
    m.said("nano: blk wrote requests=%d bytes=%d ns=.*"
           % (MOVED_MIB * 8, MOVED_MIB * MIB))
    m.said("nano: blk read requests=%d bytes=%d ns=.*"
           % (MOVED_MIB * 8, MOVED_MIB * MIB))
    check_pattern(path, 5, some_sectors(MOVED_MIB))


def reads_what_the_host_wrote(t):
    """the guest verifies what the host wrote, and sums it as zlib does"""
    path = write_pattern(t.path("a"), 9, 2)
    m = t.boot("blk=0:verify:9:2,blk=0:verify:9:2:d128:s8:b4096:rand,"
               "blk=0:sum", [drive(path)]).check_end()
    (crc,) = m.said("nano: blk sum crc32=(0x[0-9a-f]+)")
    check_equal(int(crc, 16), zlib.crc32(contents(path)), "CRC-32")


def notices_what_differs(t):
    """the guest does not call wrong data right"""
    path = write_pattern(t.path("a"), 9, 1)
    with open(path, "r+b") as f:
        f.seek(700 * SECTOR + 99)
        f.write(b"wrong")
    m = t.boot("blk=0:verify:9:1:b512", [drive(path)])
    m.wait_exit()
    m.said("nano: FAIL data differ: .*")
    m.said("nano: blk differs sector=700 bytes=512")


def open_flags(pid, path):
    """Of the descriptor that a process has on a file."""
    for fd in os.listdir("/proc/%d/fd" % pid):
        try:
            # Its name may be another one where the process is.
            if not os.path.samefile("/proc/%d/fd/%s" % (pid, fd), path):
                continue
        except FileNotFoundError:
            continue
        with open("/proc/%d/fdinfo/%s" % (pid, fd), encoding="ascii") as f:
            return int(re.search(r"flags:\s+(\d+)", f.read()).group(1), 8)
    raise Failed("%s is not open" % path)


def refuses_to_write_a_read_only_drive(t):
    """a read-only drive is never written, by request nor by descriptor"""
    path = write_pattern(t.path("a"), 1, 1)
    before = contents(path)
    m = t.boot_api("blk=0:capacity,blk=0:verify:1:1,blk=0:write:2:1,"
                   "blk=0:req:11:0:1,blk=0:req:13:0:1,"
                   "blk=0:verify:1:1", [drive(path, read_only=True)],
                   words="nano.end=halt")
    m.wait_text("^nano: done")
    m.said(r"nano: blk sectors=2048 ro=1 .*")
    m.said("nano: FAIL a request failed: blk=0:write:2:1")
    check_equal(len(re.findall("^nano: ok blk=0:verify", m.console(),
                               re.MULTILINE)), 2, "reads that work")
    for status in re.findall(r"type=1[13] status=(\d+)", m.console()):
        check(status != "0", "a discard or write-zeroes was taken")
    check_equal(open_flags(m.process.pid, path) & os.O_ACCMODE, os.O_RDONLY,
                "access mode")
    m.kill()
    check(contents(path) == before, "the file has changed")


def offers_flush_by_cache_type(t):
    """flush is offered and works with Writeback, and only then"""
    drives = [drive(t.file("wb", MIB), cache_type="Writeback"),
              drive(t.file("un", MIB), cache_type="Unsafe"),
              drive(t.file("default", MIB))]
    m = t.boot("blk=0:capacity,blk=0:flush,blk=1:capacity,blk=1:req:4,"
               "blk=2:capacity,blk=2:req:4", drives).check_end()
    offered = [int(f, 16) >> 9 & 1 for f in
               re.findall("features=(0x[0-9a-f]+)", m.console())]
    check_equal(offered, [1, 0, 0], "flush is offered")
    check_equal(re.findall(r"type=4 status=(\d+)", m.console()),
                ["0", "2", "2"], "status of a flush")


def names_itself_by_the_file(t):
    """GET_ID is the file's device, special device and inode"""
    path = t.file("a", MIB)
    st = os.stat(path)
    text = "%d%d%d" % (st.st_dev, st.st_rdev, st.st_ino)
    m = t.boot("blk=0:id", [drive(path)]).check_end()
    (name,) = m.said(r"nano: blk req type=8 status=0 used=21 id=(\w*)")
    check_equal(name, text[:20], "id")


def discards_and_zeroes(t):
    """discard gives space back, and what is zeroed reads as zeros"""
    path = write_pattern(t.path("a"), 3, 2)
    os.sync()
    before = os.stat(path).st_blocks
    t.boot("blk=0:discard:0:2048,blk=0:zeroes:3000:64,blk=0:zeroes:4095:1",
           [drive(path)]).check_end()
    check(os.stat(path).st_blocks <= before - 2048,
          "%d blocks before and %d after the discard"
          % (before, os.stat(path).st_blocks))
    check_equal(os.path.getsize(path), 2 * MIB, "size")
    data = contents(path)
    for first, n in ((0, 2048), (3000, 64), (4095, 1)):
        check(not any(data[first * SECTOR:(first + n) * SECTOR]),
              "sectors %d to %d are not zero" % (first, first + n))
    check_pattern(path, 3, [2048, 2999, 3064, 4094])


def rounds_odd_sizes_down(t):
    """an odd size is rounded down with one warning, an empty drive is there"""
    odd, empty = t.file("odd", 8 * SECTOR + 511), t.file("empty", 0)
    m = t.boot("blk=0:capacity,blk=1:capacity,blk=0:write:1:0:b512,"
               "blk=1:req:0:0:512,blk=0:req:0:8:512",
               [drive(odd), drive(empty)]).check_end()
    check_equal(re.findall(r"sectors=(\d+)", m.console()), ["8", "0"],
                "capacities")
    check_equal(re.findall(r"type=0 status=(\d+)", m.console()), ["1", "1"],
                "status of a read beyond the end")
    check_equal(len(re.findall("is not a multiple of sector", m.log())), 1,
                "warnings")
    check_pattern(odd, 1, range(8))


def puts_the_root_drive_first(t):
    """the root drive is the first one, wherever it stands"""
    for at in range(3):
        drives = [drive(t.file("d%d" % i, (i + 1) * SECTOR), root=i == at)
                  for i in range(3)]
        m = t.boot("blk=0:capacity,blk=1:capacity,blk=2:capacity",
                   drives).check_end()
        others = [i + 1 for i in range(3) if i != at]
        check_equal(list(map(int, re.findall(r"sectors=(\d+)", m.console()))),
                    [at + 1, *others], "order")


def has_room_for_17_drives(t):
    """17 drives work, and the 18th is refused"""
    drives = [drive(t.file("d%d" % i, MIB)) for i in range(MAX_DRIVES + 1)]
    orders = ",".join("blk=%d:write:%d:1" % (i, i) for i in range(MAX_DRIVES))
    t.boot("devices," + orders, drives[:MAX_DRIVES]).check_end().said(
        "nano: devices n=%d" % MAX_DRIVES)
    for i in range(MAX_DRIVES):
        check_pattern(drives[i]["path_on_host"], i, [0, 2047])
    m = t.monitor()
    m.api.put("/boot-source", t.config("")["boot-source"])
    for d in drives:
        m.api.put("/drives/" + d["drive_id"], d)
    refusal = m.api.refused("PUT", "/actions",
                            {"action_type": "InstanceStart"})
    check("Could not allocate GSI" in refusal, refusal)
    m.alive()


def swap_while(t, order, times, paths):
    """Swap files under a drive, back and forth, while the guest works on it."""
    m = t.boot_api(",".join([order] * times),
                   [drive(paths[0], drive_id="d")], words="nano.end=halt")
    m.wait_text("^nano: ok blk")
    swaps = 0
    while "nano: done" not in m.console():
        swaps += 1
        m.api.patch("/drives/d", {"drive_id": "d",
                                  "path_on_host": paths[swaps % 2]})
    check("FAIL" not in m.console(), "a request failed")
    check(swaps > 5, "only %d swaps" % swaps)
    m.kill()


def swaps_a_file_under_load(t):
    """PATCH changes the file under requests in flight, and none fails"""
    old, new = t.file("old", 16 * MIB), t.path("new")
    t.boot("blk=0:write:4:16", [drive(old)]).check_end()
    shutil.copyfile(old, new)
    os.truncate(new, 17 * MIB)
    for order in "verify:4", "write:5":
        swap_while(t, "blk=0:%s:16:d32:s4:b16384:rand" % order, SWAP_ORDERS,
                   (old, new))
    with open(old, "rb") as a, open(new, "rb") as b:
        for sector in some_sectors(16):
            for f in a, b:
                f.seek(sector * SECTOR)
            both = {a.read(SECTOR), b.read(SECTOR)}
            check(both <= {pattern(4, sector), pattern(5, sector)},
                  "sector %d is neither old nor new" % sector)


def later_requests_go_to_the_new_file(t):
    """after PATCH the guest writes the new file and not the old one"""
    old, new = t.file("old", MIB), t.file("new", MIB)
    m = t.boot_api("blk=0:write:1:1,blk=0:waitcap,blk=0:write:2:2",
                   [drive(old)])
    m.wait_text("^nano: blk waits for a capacity other than 2048")
    os.truncate(new, 2 * MIB)
    m.api.patch("/drives/old", {"drive_id": "old", "path_on_host": new})
    m.check_end().said("nano: blk capacity was=2048 is=4096")
    check_pattern(old, 1, range(2048))
    check_pattern(new, 2, range(4096))


def keeps_its_file_when_a_patch_fails(t):
    """a PATCH to what is no file is refused, and the drive works on"""
    path = t.file("a", MIB)
    m = t.boot_api("echo,blk=0:write:1:1", [drive(path)], stdin=subprocess.PIPE)
    m.wait_text("^nano: echo ready")
    for wrong in t.folder, t.path("missing"), t.path("a") + "/b", "":
        m.api.refused("PATCH", "/drives/a", {"drive_id": "a",
                                             "path_on_host": wrong})
    m.process.stdin.write(b"\4")
    m.process.stdin.close()
    m.check_end()
    check_pattern(path, 1, range(2048))


def shares_a_file_with_itself(t):
    """two drives of one monitor on one file are no conflict"""
    path = t.file("a", MIB)
    m = t.boot("blk=0:write:1:1,blk=1:verify:1:1,blk=2:verify:1:1",
               [drive(path), drive(path, drive_id="b"),
                drive(path, drive_id="c", read_only=True)]).check_end()
    check("in use by another process" not in m.log(), "a warning")


def exclusive_is_refused(t):
    """a drive that shall be exclusive is refused while another has the file"""
    path = t.file("a", MIB)
    first = t.boot_api("hello", [drive(path)], words="nano.end=halt")
    first.wait_text("^nano: done")
    second = t.monitor()
    refusal = second.api.refused("PUT", "/drives/a",
                                 drive(path, exclusive=True))
    check("Resource busy" in refusal and path in refusal, refusal)
    first.kill()
    second.api.put("/drives/a", drive(path, exclusive=True))


def counts_what_it_did(t):
    """metrics count requests and bytes of each drive"""
    path, metrics = t.file("a", 2 * MIB), t.path("metrics")
    m = t.boot_api("blk=0:write:1:2:b65536,blk=0:verify:1:1:b65536,"
                   "blk=0:flush", [drive(path, cache_type="Writeback")],
                   words="nano.end=halt",
                   metrics={"metrics_path": metrics})
    m.wait_text("^nano: done")
    total = read_metrics(m, metrics)
    for group in "block", "block_a":
        for name, n in (("write_count", 32), ("write_bytes", 2 * MIB),
                        ("read_count", 16), ("read_bytes", MIB),
                        ("flush_count", 1), ("execute_fails", 0),
                        ("invalid_reqs_count", 0)):
            check_equal(total[group + "." + name], n, group + "." + name)
        check(0 < total[group + ".queue_event_count"] <= 49,
              "queue_event_count")
    check(total["uart.write_count"] >= len(m.console()) - 50,
          "uart.write_count")
    check(total["vcpu.exit_io_out"] > 0, "vcpu.exit_io_out")


def warns_of_a_second_monitor(t):
    """two monitors on one disk: both run, the second warns once by path"""
    path = t.file("a", MIB)
    first = t.boot_api("blk=0:write:1:1", [drive(path)],
                       words="nano.end=halt")
    first.wait_text("^nano: done")
    second = t.boot("blk=0:verify:1:1", [drive(path)]).check_end()
    warning = "The file '%s' is in use by another process" % path
    check_equal(second.log().count(warning), 1, "warnings of the second")
    check_equal(first.log().count(warning), 0, "warnings of the first")
    first.alive()


def bench_counts(t):
    """timed and counted benchmarks report what they did"""
    path = t.file("a", 16 * MIB)
    m = t.boot("blk=0:bench:read:32:16:131072:500:rand,"
               "blk=0:bench:write:1:1:4096:100,"
               "blk=0:bench:read:8:1:4096:1s", [drive(path)]).check_end()
    m.said("nano: bench op=read depth=32 segs=16 bytes=131072 n=500 .*")
    m.said("nano: bench op=write depth=1 segs=1 bytes=4096 n=100 .*")
    (ns,) = m.said("nano: bench op=read depth=8 .* ns=(\\d+) .*")
    check(0.9e9 < int(ns) < 5e9, "1 s took %s ns" % ns)


def survives_broken_rules(t):
    """a broken rule of virtio resets one drive, and no other thing"""
    good = t.file("good", 4 * MIB)
    m = t.boot_api("blk=1:write:1:4,fault=virtio,blk=1:verify:1:4,"
                   "blk=0:write:2:1,fault=virtio,blk=0:verify:2:1",
                   [drive(t.file("bad", MIB)), drive(good)],
                   words="nano.end=halt")
    m.wait_text("^nano: done")
    check("FAIL" not in m.console(), "an order failed")
    broken = re.findall(r"^nano: broken rule=(\S+) needs_reset=(\d) "
                        r"answered=(\d) after_reset=(\w+)", m.console(),
                        re.MULTILINE)
    check(len(broken) >= 40, "only %d rules were broken" % len(broken))
    for name, needs_reset, answered, after in broken:
        check(needs_reset + answered in ("01", "10"),
              "%s: neither an answer nor DEVICE_NEEDS_RESET" % name)
        check_equal(after, "ok", name)
    m.alive()
    check_pattern(good, 1, some_sectors(4))


TESTS = [
    writes_what_the_guest_writes, takes_126_segments, moves_a_gib,
    reads_what_the_host_wrote, notices_what_differs,
    refuses_to_write_a_read_only_drive, offers_flush_by_cache_type,
    names_itself_by_the_file, discards_and_zeroes, rounds_odd_sizes_down,
    puts_the_root_drive_first, has_room_for_17_drives,
    swaps_a_file_under_load, later_requests_go_to_the_new_file,
    keeps_its_file_when_a_patch_fails, shares_a_file_with_itself,
    exclusive_is_refused, counts_what_it_did, warns_of_a_second_monitor,
    bench_counts, survives_broken_rules,
]
