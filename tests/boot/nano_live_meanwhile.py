# SPDX-License-Identifier: Apache-2.0
"""What happens while a live snapshot is made: drives and streams work, a guest
ends, a drive hangs. Run by nano_live.py."""
import contextlib
import os
import socket
import threading
import time

import monitor
from live_env import goes_on, live, names, without_ring, writer
from monitor import Failed, check, check_equal, drive
from nano_drive import check_pattern
from nano_snapshot import Files, write
from nano_stuck import frozen, tool
from nano_sweep import traced
from netns import PERIOD, pattern
from vsock_host import check_pattern as check_stream
from vsock_host import connect

MIB = 1 << 20
PORT = 52


def ending():
    """What a request may meet when the guest is about to end."""
    return contextlib.suppress(OSError, monitor.http.client.HTTPException,
                               Failed)


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


TESTS = [
    drives_and_streams_go_on, drives_by_the_helper, guest_that_ends_meanwhile,
    guest_that_ends_in_the_pause, drive_that_hangs,
]
