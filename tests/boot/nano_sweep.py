# SPDX-License-Identifier: Apache-2.0
"""A create that fails, or whose process is killed, at each system call that
changes a file: the old snapshot or the new one is whole. Run by nano.py."""
import http.client
import os
import re
import shutil
import signal
import threading
import time

import monitor
from monitor import SOAK, Skip, check
from nano_snapshot import (TICK, Files, check_gapless, pause, resume, said,
                           ticks)

# Calls of one create, of the helper thread alone.
CALLS = {"ftruncate": 1, "fsync": 6, "rename": 2}
ERRORS = ("EIO", "ENOSPC", "ENOMEM", "EDQUOT") if SOAK else ("EIO",)
HELD_S = 10


def strace(t, call, number, what):
    """Let one of the calls of the second create go wrong."""
    if not shutil.which("strace"):
        raise Skip("strace: not there")
    return ["strace", "-f", "-qq", "-o", t.path("trace"), "-e",
            "trace=" + call, "-e", "inject=%s:%s:when=%d"
            % (call, what, CALLS[call] + number), *monitor.MAYFLY,
            "--no-seccomp"]  # strace fails a call by making it number -1


def under(launcher, t, boot):
    """A monitor that is started by another command."""
    before = monitor.MAYFLY[:]
    monitor.MAYFLY[:] = launcher
    try:
        return boot(t)
    finally:
        monitor.MAYFLY[:] = before


def tracee(m):
    """The process of the monitor below strace's."""
    with open("/proc/%d/task/%d/children" % ((m.process.pid,) * 2),
              encoding="ascii") as f:
        return int(f.read().split()[0])


def saved_once(t, launcher):
    """A paused guest, its snapshot, and what it had said before each."""
    files = Files(t)
    m = under(launcher, t, lambda t: t.boot_api("tick=0"))
    m.wait_text("^nano: tick 1")
    t.tracee = tracee(m)
    pause(m)
    files.create(m)
    old = said(m)
    resume(m)
    m.wait_text("^nano: tick %d" % (len(ticks(old)) + 5))
    pause(m)
    return m, files, old, said(m)


def end(t, m):
    """Of what strace runs, then of strace, which may be holding it."""
    try:
        os.kill(t.tracee, signal.SIGKILL)
    except ProcessLookupError:
        pass
    m.process.kill()
    m.process.wait()


def check_whole(t, files, old, new):
    """What is loaded goes on where one of the two was."""
    m = files.load(t)
    m.wait_text(TICK)
    pause(m)
    text = said(m)
    m.kill()
    first = int(re.search(TICK, text, re.MULTILINE).group(1))
    check_gapless((old if first <= len(ticks(new)) else new) + text)


def fails_at_each_call(t):
    """a create that fails at any call leaves a whole snapshot and a guest"""
    for call, count in CALLS.items():
        for number in range(1, count + 1):
            for error in ERRORS:
                m, files, old, new = saved_once(
                    t, strace(t, call, number, "error=" + error))
                m.api.refused("PUT", "/snapshot/create", files.create_body())
                resume(m)
                m.wait_text("^nano: tick %d" % (len(ticks(new)) + 2))
                end(t, m)
                check_whole(t, files, old, new)


def create_until_killed(t, m, files):
    """Kill it where strace holds it."""
    def kill_when_held():
        time.sleep(0.3)
        end(t, m)

    killer = threading.Thread(target=kill_when_held)
    killer.start()
    try:
        status, _ = m.api.call("PUT", "/snapshot/create", files.create_body())
    except (OSError, http.client.HTTPException):
        status = None
    killer.join()
    check(status is None, "it was not held")


def killed_before_each_call(t):
    """a create that is killed at any call leaves a whole snapshot"""
    for call, count in CALLS.items():
        for number in range(1, count + 1):
            m, files, old, new = saved_once(
                t, strace(t, call, number,
                          "delay_enter=%d" % (HELD_S * 1000000)))
            create_until_killed(t, m, files)
            check_whole(t, files, old, new)


TESTS = [fails_at_each_call, killed_before_each_call]
