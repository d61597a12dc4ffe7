# SPDX-License-Identifier: Apache-2.0
"""Pause and resume, and what a guest can make the log grow. Run by nano.py."""
import os
import re
import subprocess
import time

from monitor import (SOAK, check, check_equal, drive, read_metrics, wait_for)

PAUSES = 500 if SOAK else 50
MIB = 1 << 20
# Of one place in the source, in the seconds that a test takes; base/log.h.
LOG_BURST = 10
LOG_WINDOW_S = 5


def pause(m):
    """And see that it says so."""
    m.api.patch("/vm", {"state": "Paused"})
    check_equal(m.api.get("/")["state"], "Paused", "state")


def resume(m):
    """The same."""
    m.api.patch("/vm", {"state": "Resumed"})
    check_equal(m.api.get("/")["state"], "Running", "state")


def ticks(m):
    """The number of the last one."""
    found = re.findall(r"^nano: tick (\d+)$", m.console(), re.MULTILINE)
    return int(found[-1]) if found else 0


def stands_still(m, look):
    """look() gives the same for a while, after what is on its way came."""
    time.sleep(0.02)
    before = look()
    time.sleep(0.05)
    check_equal(look(), before, "what a paused guest has done")


def pauses_and_resumes(t):
    """a paused guest stands still, a resumed one goes on, again and again"""
    m = t.boot_api("cpus,tick=0", vcpus=4, words="nano.spin")
    m.wait_text("^nano: tick 1$")
    for i in range(PAUSES):
        before = ticks(m)
        pause(m)
        if i % 10 == 0:
            stands_still(m, lambda: ticks(m))
        resume(m)
        wait_for(lambda: ticks(m) > before, "tick after a pause")
    numbers = list(map(int, re.findall(r"^nano: tick (\d+)$", m.console(),
                                       re.MULTILINE)))
    check_equal(numbers, list(range(1, len(numbers) + 1)), "ticks")


def pauses_under_io(t):
    """requests survive pauses, and a paused guest's drive is not written"""
    path = t.file("a", 64 * MIB)
    m = t.boot_api(
        "blk=0:write:1:64:d32:s8:b65536,blk=0:verify:1:64:d32:s8:b65536,"
        "blk=0:bench:read:32:16:131072:2s:rand,"
        "blk=0:verify:1:64:d128:s2:b8192:rand", [drive(path)],
        words="nano.end=halt")
    n = 0
    while "nano: done" not in m.console():
        n += 1
        pause(m)
        if n % 10 == 1:
            stands_still(m, lambda: os.stat(path).st_mtime_ns)
        resume(m)
        time.sleep(0.005)
    check("FAIL" not in m.console(), "a request failed")
    check(n > 10, "only %d pauses" % n)


def pauses_under_resets(t):
    """pauses meet vCPUs that wait for the reset of a device"""
    path = t.file("a", MIB)
    m = t.boot_api("cpus," + ",".join(["blk=0:id"] * 120) + ",fault=virtio",
                   [drive(path)], vcpus=2, words="nano.spin nano.end=halt")
    n = 0
    while "nano: done" not in m.console():
        n += 1
        pause(m)
        resume(m)
    check("FAIL" not in m.console(), "an order failed")
    check(n > 10, "only %d pauses" % n)


def pauses_32_processors(t):
    """32 vCPUs that never exit by themselves pause and resume"""
    m = t.boot_api("cpus,tick=0", vcpus=32, mem=256, words="nano.spin")
    m.wait_text("^nano: tick 1$")
    for _ in range(PAUSES // 5):
        before = ticks(m)
        pause(m)
        resume(m)
        wait_for(lambda: ticks(m) > before, "tick after a pause")


def answers_while_paused(t):
    """a paused machine answers requests, and takes a new file for a drive"""
    old, new = t.file("old", MIB), t.file("new", 2 * MIB)
    metrics = t.path("metrics")
    m = t.boot_api("blk=0:waitcap,blk=0:write:3:2", [drive(old)],
                   metrics={"metrics_path": metrics})
    m.wait_text("^nano: blk waits")
    pause(m)
    pause(m)
    m.api.get("/vm/config")
    read_metrics(m, metrics)
    m.api.patch("/drives/old", {"drive_id": "old", "path_on_host": new})
    stands_still(m, m.console)
    resume(m)
    m.check_end().said("nano: blk capacity was=2048 is=4096")


def ends_while_paused(t):
    """a paused machine ends by SIGTERM"""
    m = t.boot_api("tick=0", vcpus=2)
    m.wait_text("^nano: tick 1$")
    pause(m)
    m.process.terminate()
    check_equal(m.wait_exit(), -15, "exit code")


def ends_while_it_works(t):
    """SIGTERM ends a machine at once, whatever it does"""
    path = t.file("a", 64 * MIB)
    for orders in ("blk=0:bench:write:128:8:65536:20s:rand", "flood=1000000",
                   "cpus,tick=0"):
        m = t.boot_api(orders, [drive(path)], vcpus=2, words="nano.spin")
        m.wait_text("\n")
        time.sleep(0.1)
        m.process.terminate()
        check_equal(m.wait_exit(5), -15, "exit code")


def limits_its_log(t):
    """what a guest does wrong over and over fills no log"""
    path = t.file("a", 8 * MIB)
    orders = (["fault=queue-loop"] * 30 + ["fault=ring-oob"] * 12 +
              ["boottimer"] * 60 + ["fault=badmmio"] * 2 +
              ["blk=0:req:0:8192:512"] * 12 + ["blk=0:req:99"] * 12)
    m = t.boot(",".join(orders), [drive(path)],
               args=("--no-api", "--boot-timer", "--level", "Debug"))
    begin = time.monotonic()
    m.check_end()
    windows = int((time.monotonic() - begin) / LOG_WINDOW_S) + 2
    places = {}
    for line in m.log().splitlines():
        text = re.sub(r"\d+", "N", line.partition("] ")[2])
        places[text] = places.get(text, 0) + 1
    for text, n in places.items():
        check(n <= LOG_BURST * windows, "%d times: %s" % (n, text))
    check(any(n >= LOG_BURST for n in places.values()),
          "nothing was repeated until its limit")


def limits_its_log_of_host_errors(t):
    """a drive that fails on the host fills no log, and counts"""
    path, metrics = t.file("a", MIB), t.path("metrics")
    m = t.boot_api("echo," + ",".join(["blk=0:req:0:2000:512"] * 60),
                   [drive(path)], words="nano.end=halt", stdin=subprocess.PIPE,
                   metrics={"metrics_path": metrics})
    m.wait_text("^nano: echo ready")
    os.truncate(path, 0)
    m.process.stdin.write(b"\4")
    m.process.stdin.close()
    m.wait_text("^nano: done")
    check_equal(re.findall(r"status=(\d)", m.console()), ["1"] * 60, "status")
    check(0 < len(m.log().splitlines()) < 40, "lines in the log")
    total = read_metrics(m, metrics)
    check_equal(total["block_a.execute_fails"], 60, "execute_fails")
    check(total["logger.rate_limited_log_count"] > 0, "lines were not counted")


TESTS = [
    pauses_and_resumes, pauses_under_io, pauses_under_resets,
    pauses_32_processors, answers_while_paused, ends_while_paused,
    ends_while_it_works, limits_its_log, limits_its_log_of_host_errors,
]
