# SPDX-License-Identifier: Apache-2.0
"""A drive whose file system has stopped to answer. Run by nano.py."""
import contextlib
import os
import subprocess
import time

from monitor import Skip, check, check_equal, drive, wait_for
from nano_machine import open_kinds

MIB = 1 << 20


def tool(*args):
    """Run it; False if it is not there or cannot."""
    try:
        return subprocess.run(args, check=False, stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL).returncode == 0
    except FileNotFoundError:
        return False


@contextlib.contextmanager
def frozen(case):
    """A folder on a file system of its own, and how to freeze it."""
    image, folder = case.file("fs", 64 * MIB), case.path("mnt")
    os.mkdir(folder)
    if not tool("mkfs.ext4", "-q", image) or \
            not tool("mount", "-o", "loop", image, folder):
        raise Skip("loop: no loop mount")
    try:
        yield folder
    finally:
        tool("fsfreeze", "-u", folder)
        for m in case.monitors:
            m.kill()
        wait_for(lambda: tool("umount", folder), "umount")


def survives_a_drive_that_hangs(case):
    """Pause and swap give up in time, other drives and the API go on."""
    with frozen(case) as folder:
        stuck = os.path.join(folder, "stuck")
        with open(stuck, "wb") as f:
            f.truncate(16 * MIB)
        check(tool("fsfreeze", "-f", folder), "fsfreeze")
        m = case.boot_api("hello,blk=0:discard:0:8,blk=0:write:1:1",
                          [drive(stuck), drive(case.file("other", MIB))])
        m.wait_text("^nano: ok hello")
        time.sleep(0.2)
        check_equal(m.api.refused("PATCH", "/vm", {"state": "Paused"}),
                    "Internal VMM error: Drives did not end their requests "
                    "within 2 s; the microVM goes on.", "pause")
        check_equal(m.api.get("/")["state"], "Running", "state")
        # On epoll the helper thread hangs itself and could not open a file.
        if "anon_inode:[io_uring]" in open_kinds(m.process.pid):
            check_equal(
                m.api.refused("PATCH", "/drives/stuck", {
                    "drive_id": "stuck", "path_on_host": case.path("other")}),
                "Drive config error: Unable to patch the block device: Block: "
                "Virtio backend error: Requests in flight did not end within "
                "200 ms; the old file stays. Please verify the request "
                "arguments.", "swap")
            m.api.patch("/drives/other", {"drive_id": "other",
                                          "path_on_host": case.path("other")})
        check(tool("fsfreeze", "-u", folder), "thaw")
        m.check_end()
        m.said("^nano: ok blk=0:write:1:1")


TESTS = [survives_a_drive_that_hangs]
