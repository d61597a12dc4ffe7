#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Restored nano guests whose memory a page server brings; and those of
nano_backing.py, whose memory is not in a plain file. TAP output.

usage: nano_pager.py [NAME...]     tests whose names hold one of the NAMEs
"""
import contextlib
import glob
import json
import os
import shutil
import signal
import socket
import sys
import time

import monitor
import nano_backing
import nano_sweep
from monitor import Failed, Skip, check, check_equal, drive, wait_for
from nano_snapshot import (MIB, TICK, Files, check_gapless, check_words, pause,
                           resume, said, ticks)
from pager_env import (GONE, PAGE, SMALL, body, check_ended, fresh, load,
                       noted, prepared, serve)
from page_server import FAULTS, STOPPED

UFFD = ("Load snapshot error: Failed to restore from snapshot: Failed to load "
        "guest memory: Error creating guest memory from uffd: ")


def goes_on_from_a_server(t):
    """a guest whose pages a server brings goes on, and is whole; 1, 2 vCPUs"""
    for vcpus, mem, how in ((1, SMALL, {}),
                            (2, SMALL, {"ahead": 8}),
                            (2, 4, {"delay_s": 0.002})):
        files, text = prepared(t, vcpus=vcpus, mem=mem,
                               orders="cpus,mem,tick=0")
        server = serve(t, files, **how)
        m = load(t, files, server)
        m.wait_text(TICK)
        check_equal(json.loads(server.message()), [{
            "base_host_virt_addr": json.loads(server.message())[0][
                "base_host_virt_addr"],
            "size": mem * MIB, "offset": 0, "page_size": PAGE,
            "page_size_kib": PAGE}], "message")
        check(" " not in server.message(), server.message())
        seen = server.number(FAULTS)
        check(0 < seen < mem * MIB // PAGE // 2, "%d faults" % seen)
        # Pages that never came are read from the server, not as zeros.
        again = Files(t, "again")
        pause(m)
        again.create(m)
        check_words(again.mem, mem)
        if not how.get("ahead"):
            check(server.number(FAULTS) > mem * MIB // PAGE // 2,
                  "%d faults" % server.number(FAULTS))
        check_gapless(text + said(m))
        before = len(ticks(m.console()))
        resume(m)
        wait_for(lambda: len(ticks(m.console())) > before + 2, "more ticks")
        m.kill()
        server.kill()
        m = again.load(t)
        m.wait_text(TICK)
        m.kill()


def two_regions(t):
    """RAM above the gap comes from behind what is below it"""
    files, _ = prepared(t, mem=3200, orders="mem,tick=0")
    server = serve(t, files)
    m = load(t, files, server)
    m.wait_text(TICK)
    low, high = json.loads(server.message())
    check_equal((low["offset"], low["size"]), (0, 3 << 30), "low region")
    check_equal((high["offset"], high["size"]), (3 << 30, 128 * MIB),
                "high region")
    check_equal(high["base_host_virt_addr"],
                low["base_host_virt_addr"] + (3 << 30), "address")


def snapshots_of_what_a_server_brings(t):
    """a Diff has what the guest got, a live Full all, from a lazy server"""
    for more in {}, {"track_dirty_pages": True}:
        files, text = prepared(t)
        server = serve(t, files)
        m = load(t, files, server, **more)
        m.wait_text(TICK)
        pause(m)
        diff = Files(t, "diff")
        if not more:
            seen = server.number(FAULTS)
            m.api.put("/snapshot/create",
                      diff.create_body(snapshot_type="Diff"))
            check_equal(server.number(FAULTS), seen, "faults")
            check(os.stat(diff.mem).st_blocks * 512 < SMALL * MIB // 2,
                  "%d KiB of Diff" % (os.stat(diff.mem).st_blocks // 2))
        # Over a copy of what the server has, it is the guest's whole memory.
        shutil.copyfile(files.mem, diff.mem)
        m.api.put("/snapshot/create", diff.create_body(snapshot_type="Diff"))
        check_words(diff.mem, SMALL)
        text += said(m)
        resume(m)
        live = Files(t, "live")
        m.api.put("/snapshot/create", live.create_body(live=True))
        check_words(live.mem, SMALL)
        m.kill()
        for made in diff, live:
            m = made.load(t)
            m.wait_text(TICK)
            pause(m)
            if made is diff:
                check_gapless(text + said(m))
            m.kill()
            os.unlink(made.mem)


def drives_touch_what_is_missing(t):
    """requests of drives go to and from pages that are not there yet"""
    path = t.file("disk", 4 * MIB)
    orders = ["blk=0:%s:%d:2:d16:s4:b16384:rand" % (op, seed)
              for seed in range(3) for op in ("write", "verify")]
    files = Files(t)
    m = t.boot_api(",".join(["hello", *orders]), [drive(path)], mem=SMALL)
    moves, text = 0, ""
    m.wait_text("^nano: ok hello")
    while "nano: done" not in m.console() and moves < 4:
        pause(m)
        files.create(m)
        text += said(m)
        m.kill()
        server = serve(t, files, ahead=moves)
        m = load(t, files, server)
        moves += 1
        wait_for(lambda: m.console() or m.process.poll() is not None,
                 "anything from the guest")
    m.check_end()
    text += m.console()
    check(moves >= 2, "only %d moves" % moves)
    check("FAIL" not in text, "an order failed")
    check_equal(text.count("nano: ok blk="), len(orders), "orders")


def garbage_is_not_read(t):
    """what a server says on the connection does no harm"""
    files, _ = prepared(t)

    def speak(conn):
        conn.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                conn.send(b"\xff" * 4096)
        conn.setblocking(True)
    m = load(t, files, serve(t, files, before=speak, after=speak))
    m.wait_text(TICK)
    monitor.check_quiet(m)
    m.alive()


def failed_loads_can_be_repeated(t):
    """a server that is not there, or goes during the load, fails the load"""
    files, _ = prepared(t)
    m = t.monitor("--metrics-path", t.path("metrics"))

    def refused(server):
        text = m.api.refused("PUT", "/snapshot/load", body(files, server))
        check(text.startswith(UFFD), text)
        return text[len(UFFD):]

    def kept():
        return len(os.listdir("/proc/%d/fd" % m.process.pid)), len(
            os.listdir("/proc/%d/task" % m.process.pid))

    class Nobody:
        """There is no server."""
        path = t.path("nobody")
    check_equal(refused(Nobody), "Failed to connect to UDS Unix stream: No "
                "such file or directory (os error 2)", "text")
    before = kept()
    Nobody.path = files.mem
    check_equal(refused(Nobody), "Failed to connect to UDS Unix stream: "
                "Connection refused (os error 111)", "text")
    Nobody.path = "/" + 200 * "x"
    check_equal(refused(Nobody), "Failed to connect to UDS Unix stream: path "
                "must be shorter than SUN_LEN", "text")
    for how in ({"before": lambda conn: os._exit(0)},
                {"after": lambda conn: os._exit(0)},
                {"after": lambda conn: os.kill(os.getpid(), signal.SIGKILL)},
                {"stop": 0, "after": lambda conn: conn.shutdown(
                    socket.SHUT_RDWR) or os._exit(0)},
                # It lives on, and holds the userfaultfd.
                {"after": lambda conn: conn.shutdown(
                    socket.SHUT_RDWR) or signal.pause()}):
        text = refused(serve(t, files, **how))
        check_equal(text if "Broken pipe" not in text else GONE, GONE, "text")
        m.alive()
    check_equal(kept(), before, "descriptors, threads")
    m.api.put("/snapshot/load", body(files, serve(t, files), resume_vm=True))
    m.wait_text(TICK)


class ServedLoader(nano_sweep.Loader):
    """Each of its loads is from a server of its own."""
    server = None

    def try_load(self):
        """(status, answer)"""
        if self.server:
            self.server.kill()
        self.server = serve(self.t, self.files)
        return self.m.api.call("PUT", "/snapshot/load", body(
            self.files, self.server, resume_vm=True))


def loads_fail_at_each_call(t):
    """a load from a server that fails at any call can be repeated"""
    files, said_before = prepared(t)
    loader = ServedLoader(t, files, said_before, "--no-seccomp")
    for name in nano_sweep.HELPER, nano_sweep.MAIN:
        nano_sweep.say("failed loads, " + name,
                       nano_sweep.load_fails_in(t, loader, name, of=25))


def threads_in_faults(m):
    """Names of the threads that wait for a page. A vCPU may also be halted
    while a thread of the kernel waits."""
    found = []
    folder = "/proc/%d/task" % m.process.pid
    for tid in os.listdir(folder):
        with contextlib.suppress(OSError):
            with open("%s/%s/wchan" % (folder, tid), encoding="ascii") as f:
                if "userfault" in f.read():
                    with open("%s/%s/comm" % (folder, tid),
                              encoding="ascii") as c:
                        found.append(c.read().strip())
    return found


def needs_userfaultfd(t):
    """a load from a server is refused with its reason where it cannot be"""
    files, _ = prepared(t)
    m = t.monitor()
    m.api.get("/")
    if not hasattr(m.jail, "root"):
        raise Skip("jail: none, so the host's /dev/userfaultfd would be used")
    os.unlink(os.path.join(m.jail.root, "dev/userfaultfd"))
    # The jail's user may not without it.
    check_equal(m.api.refused("PUT", "/snapshot/load",
                              body(files, serve(t, files))),
                UFFD + "Failed to UFFD object: /dev/userfaultfd cannot be "
                "opened, and without: Operation not permitted (os error 1)",
                "text")
    m.api.put("/snapshot/load", files.load_body(resume_vm=True))
    m.wait_text(TICK)


def filters_of_threads(m):
    """{name: how many filters it has}"""
    found = {}
    for path in glob.glob("/proc/%d/task/*/status" % m.process.pid):
        with open(path, encoding="ascii") as f:
            status = dict(line.split(":\t", 1) for line in f if ":\t" in line)
        found[status["Name"].strip()] = int(status["Seccomp_filters"])
    return found


def watched_under_a_filter(t):
    """the thread that watches has its filter before the guest runs"""
    files, _ = prepared(t)
    m = load(t, files, serve(t, files), resume_vm=False)
    found = filters_of_threads(m)
    check_equal(found.get("fc_pager"), found["fc_api"], "filters")
    check(found["fc_pager"] > found["fc_vcpu 0"], "filters: %s" % found)


def faults_of_a_load(t, files):
    """How many a load takes before the guest runs, and some more: two threads
    may come to one page."""
    server = serve(t, files)
    m = load(t, files, server, resume_vm=False)
    seen = server.number(FAULTS)
    m.kill()
    server.kill()
    return seen + 3


def dies_while_vcpus_wait(t):
    """a dead server ends the guest: a log line, metrics, 1; vCPUs waiting"""
    files, _ = prepared(t, vcpus=2, orders="cpus,mem,tick=0")
    loaded = faults_of_a_load(t, files)
    for more in (0, 1, 5):
        server = serve(t, files, stop=loaded + more)
        m = fresh(t)
        m.api.put("/snapshot/load", body(files, server))
        m.api.patch("/vm", {"state": "Resumed"})
        wait_for(lambda: server.number(STOPPED), "fault without an answer")
        before = noted(t, m)
        check(m.process.poll() is None, m.ending())
        server.kill()
        check_ended(t, m, before)


def dies_while_nobody_waits(t):
    """the same with nobody waiting: paused, all pages there"""
    files, _ = prepared(t, mem=4)
    server = serve(t, files)
    m = load(t, files, server, resume_vm=False)
    before = noted(t, m)
    server.kill()
    check_ended(t, m, before)
    server = serve(t, files)
    m = load(t, files, server, resume_vm=False)
    Files(t, "again").create(m)
    check_equal(threads_in_faults(m), [], "threads that wait")
    before = noted(t, m)
    server.kill()
    check_ended(t, m, before)


def dies_while_the_loop_waits(t):
    """the same with the loop waiting, for the sake of a drive"""
    # The guest hands out buffers for reads that it has not touched since.
    files, _ = prepared(t, "blk=0:write:1:1:d4:b4096,tick=8,blk=0:verify:1:1",
                        [drive(t.file("disk", MIB))])
    waited = []
    for stop in range(faults_of_a_load(t, files), 64, 3):
        server = serve(t, files, stop=stop)
        m = fresh(t)
        m.api.put("/snapshot/load", body(files, server, resume_vm=True))
        wait_for(lambda s=server: s.number(STOPPED), "fault without an answer")
        time.sleep(0.05)
        waited.append(threads_in_faults(m))
        before = noted(t, m)
        server.kill()
        check_ended(t, m, before)
        # The loop, or on epoll the helper thread, which does drives' work.
        if any(not name.startswith("fc_vcpu") for name in waited[-1]):
            return
    raise Failed("the loop never waited: %s" % waited)


def dies_during_a_create(t):
    """the same with the helper thread waiting, for a snapshot"""
    files, _ = prepared(t)
    server = serve(t, files, stop=600)
    m = load(t, files, server, resume_vm=False)
    again = Files(t, "again")
    m.api.request("PUT", "/snapshot/create", json.dumps(again.create_body()))
    wait_for(lambda: server.number(STOPPED), "fault without an answer")
    before = noted(t, m)
    server.kill()
    check_ended(t, m, before)
    check(not os.path.exists(again.state) and not os.path.exists(again.mem),
          "a snapshot of it")


def a_pause_waits_for_a_page(t):
    """a pause ends when the page has come that a vCPU waits for"""
    files, text = prepared(t, "tick=8,touch=4,tick=0", vcpus=2)
    server = serve(t, files)
    m = load(t, files, server)
    wait_for(lambda: server.number(FAULTS) > 100, "faults")
    os.kill(server.pid, signal.SIGSTOP)
    m.api.request("PATCH", "/vm", json.dumps({"state": "Paused"}))
    time.sleep(0.2)
    check(m.process.poll() is None, m.ending())
    os.kill(server.pid, signal.SIGCONT)
    reply = m.api.getresponse()
    reply.read()
    check_equal(reply.status, 204, "pause")
    resume(m)
    m.wait_text("^nano: ok touch=4")
    m.wait_text(r"^nano: ok touch=4\r?\n(.*\n)*nano: tick 2")
    check("FAIL" not in text + m.console(), "an order failed")


def signals_end_what_waits(t):
    """SIGTERM ends a monitor at once whose server never answers"""
    files, _ = prepared(t)
    # Running; and during the load, which then never ends.
    for stop, early in ((faults_of_a_load(t, files), False), (0, True)):
        server = serve(t, files, stop=stop)
        m = t.monitor()
        m.api.request("PUT", "/snapshot/load", json.dumps(
            body(files, server, resume_vm=True)))
        wait_for(lambda s=server: s.number(STOPPED), "fault without an answer")
        if not early:
            check_equal(m.api.getresponse().status, 204, "load")
            # A stop in between is none of the watching thread's business.
            os.kill(m.process.pid, signal.SIGSTOP)
            time.sleep(0.05)
            os.kill(m.process.pid, signal.SIGCONT)
            time.sleep(0.05)
        m.process.terminate()
        check_equal(m.wait_exit(10), -signal.SIGTERM, "exit code")


TESTS = [
    goes_on_from_a_server, two_regions, snapshots_of_what_a_server_brings,
    drives_touch_what_is_missing,
    garbage_is_not_read, needs_userfaultfd, watched_under_a_filter,
    failed_loads_can_be_repeated, loads_fail_at_each_call,
    dies_while_vcpus_wait, dies_while_nobody_waits, dies_while_the_loop_waits,
    dies_during_a_create, a_pause_waits_for_a_page, signals_end_what_waits,
]

if __name__ == "__main__":
    sys.exit(monitor.main(TESTS + nano_backing.TESTS))
