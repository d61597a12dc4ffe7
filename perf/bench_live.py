#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Live snapshots: the pause, and the whole create, of a guest of 512 MiB that
has touched 64 MiB and goes on writing to 1,000 pages a second; its own memory,
and that of a restored guest. Beside it the pause that a snapshot takes without.

Prints medians, quartiles and the longest. A missed target does not fail it.
"""
import argparse
import contextlib
import os
import re
import statistics
import sys
import tempfile
import time

from bench_host import PATIENCE_S, exit_code, running

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.append(f"{TOP}/tests/boot")
from monitor import Api, wait_for   # pylint: disable=wrong-import-position

MEM_MIB, TOUCHED_MIB, RATE = 512, 64, 1000
PAGES = TOUCHED_MIB * 256
TARGET_MS = 5
PAUSE = r"Live snapshot: the microVM was paused for (\d+) us; by (.*)\."
# measure: title
MEASURES = {
    "pause anonymous": "pause, live, own memory",
    "create anonymous": "live create, own memory",
    "pause restored": "pause, live, restored from a file",
    "create restored": "live create, restored from a file",
    "pause stopped": "pause to resume around a create, own memory",
}


class Guest:
    """A monitor with a guest that writes."""

    def __init__(self, folder, api):
        self.folder, self.api = folder, api
        self.log = os.path.join(folder, "log")

    def file(self, name):
        """Path of a file of this run."""
        return os.path.join(self.folder, name)

    def create(self, **other):
        """A snapshot; its milliseconds."""
        begin = time.monotonic()
        self.api.put("/snapshot/create", {
            "snapshot_path": self.file("state"),
            "mem_file_path": self.file("mem"), **other})
        return (time.monotonic() - begin) * 1e3

    def live(self, kind):
        """One live one: {measure: ms}, and the way it took."""
        took_ms = self.create(live=True)
        with open(self.log, encoding="utf-8") as f:
            us, way = re.findall(PAUSE, f.read())[-1]
        return {f"pause {kind}": int(us) / 1e3, f"create {kind}": took_ms}, way

    def stopped(self):
        """One while it is paused."""
        begin = time.monotonic()
        self.api.patch("/vm", {"state": "Paused"})
        self.create()
        self.api.patch("/vm", {"state": "Resumed"})
        return {"pause stopped": (time.monotonic() - begin) * 1e3}


@contextlib.contextmanager
def monitor(mayfly, folder):
    """A Guest that is not there yet."""
    for name in "api.sock", "log":
        with contextlib.suppress(FileNotFoundError):
            os.unlink(os.path.join(folder, name))
    path = os.path.join(folder, "api.sock")
    with running(mayfly, "--api-sock", path, "--log-path",
                 os.path.join(folder, "log")) as p:
        api = Api(path)
        wait_for(lambda: connects(api), "API", PATIENCE_S)
        yield p, Guest(folder, api)


def connects(api):
    """Whether the monitor listens."""
    try:
        api.connect()
    except (FileNotFoundError, ConnectionRefusedError):
        return False
    return True


def boot(p, guest, nano):
    """Until it has touched what it shall."""
    guest.api.put("/machine-config", {"vcpu_count": 1,
                                      "mem_size_mib": MEM_MIB})
    guest.api.put("/boot-source", {
        "kernel_image_path": nano,
        "boot_args": f"nano.run=dirty={TOUCHED_MIB}:{RATE}:all"})
    guest.api.put("/actions", {"action_type": "InstanceStart"})
    said = b""
    while not re.search(rb"dirty written=\d", said):
        said += os.read(p.stdout.fileno(), 65536)


def samples(mayfly, nano, folder, rounds):
    """Yields ({measure: ms}, way or None)."""
    with monitor(mayfly, folder) as (p, guest):
        boot(p, guest, nano)
        guest.create(live=True)
        for _ in range(rounds):
            yield guest.live("anonymous")
            yield guest.stopped(), None
    with monitor(mayfly, folder) as (p, guest):
        guest.api.put("/snapshot/load", {
            "snapshot_path": guest.file("state"), "resume_vm": True,
            "mem_backend": {"backend_type": "File",
                            "backend_path": guest.file("mem")}})
        for _ in range(rounds):
            yield guest.live("restored")


def measure(mayfly, nano, folder, rounds):
    """({measure: [ms]}, {the ways that were taken})"""
    found, ways = {m: [] for m in MEASURES}, set()
    for values, way in samples(mayfly, nano, folder, rounds):
        for name, value in values.items():
            found[name].append(value)
        if way:
            ways.add(re.sub(r"\d+ (pages|passes)", r"N \1", way))
    return found, ways


def line(name, values):
    """Of the table."""
    low, mid, high = statistics.quantiles(values, n=4)
    verdict = ""
    if name in ("pause anonymous", "pause restored"):
        verdict = "  target: <= %d ms: %s" % (
            TARGET_MS, "met" if mid <= TARGET_MS else "MISSED")
    return "%-46s %8.2f  %8.2f-%.2f  max %.2f ms%s" % (
        MEASURES[name], mid, low, high, max(values), verdict)


def run(args):
    """Measure and print."""
    with tempfile.TemporaryDirectory(prefix="live-", dir=args.build) as folder:
        found, ways = measure(os.path.join(args.build, "bin/mayfly"),
                              os.path.join(args.build, "guest/nano.elf"),
                              folder, args.rounds)
    for name, values in found.items():
        print(line(name, values))
    for way in sorted(ways):
        print("by " + way)


def main():
    """Exit code 77 where there is no KVM, 1 if something did not run."""
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--build", default=os.path.join(TOP, "build"))
    p.add_argument("--rounds", type=int, default=20)
    return exit_code(run, p.parse_args())


if __name__ == "__main__":
    sys.exit(main())
