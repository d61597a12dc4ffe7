# SPDX-License-Identifier: Apache-2.0
"""Guests that write to their memory, how their live snapshots are checked, and
hosts that lack something. For nano_live.py and its like."""
import contextlib
import os
import re
import struct
import subprocess

import jailed
import monitor
from monitor import Skip, check, check_equal, wait_for
from nano_stuck import tool

CTL = os.environ.get("MAYFLYCTL", os.path.join(
    os.path.dirname(jailed.split(monitor.MAYFLY)[1]), "mayflyctl"))
MIB, PAGE = 1 << 20, 4096
STRIDE = 7919 # see guest/nano/dirty.c
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


def regular(t):
    """Skip unless the test's folder is on a disk."""
    if "tmpfs" in os.popen("stat -f -c %%T %s" % t.folder).read():
        raise Skip("disk: temporary files are in memory")


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
