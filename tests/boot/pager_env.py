# SPDX-License-Identifier: Apache-2.0
"""What nano_pager.py and nano_backing.py have in common."""
import contextlib
import json
import os

from monitor import check, check_equal
from nano_snapshot import Files, pause, said
from page_server import Server

GONE = "The page server has closed its connection"
PAGE = 4096
SMALL = 16 # MiB of most guests here: a page server in Python is slow


def serve(t, files, **how):
    """A page server for the memory of files; ends with the test."""
    path = t.path("server%d" % len(t.monitors))
    server = Server(path, files.mem, **how)
    os.chmod(path, 0o777)
    # Ended like them, and before them: nobody is to wait for an answer.
    t.monitors.insert(0, server)
    return server


def body(files, server, **other):
    """A load from it."""
    return {**files.load_body(**other), "mem_backend": {
        "backend_type": "Uffd", "backend_path": server.path}}


def fresh(t):
    """A monitor, with metrics of its own."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(t.path("metrics"))
    return t.monitor("--metrics-path", t.path("metrics"))


def load(t, files, server, resume_vm=True, **other):
    """Into a new monitor."""
    m = fresh(t)
    m.api.put("/snapshot/load", body(files, server, resume_vm=resume_vm,
                                     **other))
    return m


def prepared(t, orders="mem,tick=0", drives=(), **more):
    """Files of a guest that has written its RAM, and what it said."""
    files = Files(t)
    m = t.boot_api(orders, drives, **{"mem": SMALL, **more})
    m.wait_text("^nano: tick 2")
    pause(m)
    files.create(m)
    text = said(m)
    m.kill()
    return files, text


def check_ended(t, m, before):
    """One more line of the log, one more of metrics, exit code 1."""
    check_equal(m.wait_exit(), 1, "exit code")
    new = m.log()[len(before[0]):].splitlines()
    check(len(new) == 1 and GONE in new[0], "log: %s" % new)
    with open(t.path("metrics"), encoding="utf-8") as f:
        after = f.read()[before[1]:].splitlines()
    check_equal(len(after), 1, "lines of metrics at the end")
    check("utc_timestamp_ms" in json.loads(after[0]), after[0])


def noted(t, m):
    """For check_ended()."""
    return m.log(), os.path.getsize(t.path("metrics"))
