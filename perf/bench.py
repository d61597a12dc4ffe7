#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Compare mayfly's start and devices with the floor, in alternating runs.

Prints a table of medians, quartiles and ratios to the floor, and writes a page
with the distributions. Targets stand beside the figures; a missed one does not
fail the run, something that did not run does.

Further columns: qemu-system-x86_64 (where installed), FIRECRACKER=/path, and
--also NAME=/path for another build of mayfly, as to compare a change.
"""
import argparse
import contextlib
import os
import shutil
import statistics
import sys
import tempfile
import time

import bench_jail
import bench_net
import bench_page
import bench_run
from bench_host import exit_code
from bench_run import (DRIVE_JOBS, LIMITS, Failed, Floor, Monitor, Qemu,
                       drive_measure, limit_per_s)
from bench_table import cell, print_table, progress, verdict

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.append(f"{TOP}/tests/boot")
from monitor import Skip    # pylint: disable=wrong-import-position
from netns import NetNs     # pylint: disable=wrong-import-position

FEW = 5                 # what hardly varies is taken in every FEWth round

# measure: (title, unit, factor); drives are added below
MEASURES = {
    "byte": ("exec to first guest byte", "ms", 1),
    "api": ("exec to API answering", "ms", 1),
    "start": ("InstanceStart to first guest byte", "ms", 1),
    "cpu": ("CPU time of exec to first guest byte", "ms", 1),
    "calls": ("system calls to first guest byte", "", 1),
    "faults": ("page faults to first guest byte", "", 1),
    "memory": ("private memory without guest RAM", "KiB", 1),
}
for JOB in DRIVE_JOBS:
    NAME = (f"{JOB[0]} {JOB[3] // 1024} KiB, depth {JOB[1]}, "
            f"{JOB[2]} segment{'s' if JOB[2] > 1 else ''}")
    MEASURES[drive_measure(JOB, "ops")] = (NAME, "1000/s", 1e-3)
    MEASURES[drive_measure(JOB, "bytes")] = (NAME, "MiB/s", 1 / (1 << 20))
MEASURES["polled"] = ("read 128 KiB, depth 32, 1 segment, guest polls",
                      "MiB/s", 1 / (1 << 20))
MEASURES["limit bytes"] = ("reads for 10 s under a limit of bytes", "MiB/s",
                           1 / (1 << 20))
MEASURES["limit ops"] = ("reads for 10 s under a limit of requests",
                         "1000/s", 1e-3)
MEASURES.update(bench_jail.MEASURES)
MEASURES.update(bench_net.MEASURES)


def target(measure, median):
    """What the figure of mayfly is to be. median: {measure: {subject: m}}"""
    ours = median[measure].get("mayfly")
    if ours is None:
        return ""
    if measure == "byte":
        floor = median["byte"]["floor"]
        return verdict(f"<= 1.5 x floor (is {ours / floor:.2f})",
                       ours <= 1.5 * floor)
    if measure == "api":
        floor = median["byte"]["floor"]
        return verdict(f"<= floor's first byte (is {ours / floor:.2f} x)",
                       ours <= floor)
    if measure == "memory":
        return verdict("<= 1536 KiB", ours <= 1536)
    if measure == "jail":
        return verdict(f"<= {bench_jail.TARGET_MS} ms",
                       ours <= bench_jail.TARGET_MS)
    if measure == "polled":
        floor = median[measure]["floor"]
        return verdict(f">= 80 % of floor (is {100 * ours / floor:.0f} %)",
                       ours >= 0.8 * floor)
    if measure in ("vsock in", "vsock out"):
        floor = median[measure]["floor"]
        return verdict(f">= 50 % of floor (is {100 * ours / floor:.0f} %)",
                       ours >= 0.5 * floor)
    if measure in LIMITS:
        n = limit_per_s(measure) * MEASURES[measure][2]
        return verdict(f"N = {n:g} (is {100 * ours / n:.2f} %) within 1 %",
                       0.99 * n <= ours <= 1.01 * n)
    return ""


def make_rows(samples, names):
    """The table's rows, in the order of MEASURES."""
    median = {m: {s: statistics.median(v) for s, v in by.items()}
              for m, by in samples.items()}
    for measure, (title, unit, _) in MEASURES.items():
        if measure not in samples:
            continue
        floor = median[measure].get("floor")
        yield [title, unit,
               *(cell(samples[measure].get(n),
                      floor if n != "floor" else None) for n in names),
               target(measure, median)]


def find_programs(args):
    """Whole paths; the guests run elsewhere."""
    programs = {
        "mayfly": args.mayfly, "floor": f"{args.build}/bin/floor",
        "stopwatch": f"{args.build}/bin/stopwatch",
        **{name: f"{args.build}/bin/{name}"
           for name in ("diskfloor", "netfloor", "sockfloor")},
        "nano": args.nano, "nano_pvh": args.nano.replace(".elf", "-pvh.elf"),
    }
    programs = {k: os.path.abspath(v) for k, v in programs.items()}
    for path in programs.values():
        if not os.path.exists(path):
            raise Failed(f"{path} is missing")
    return programs


def find_subjects(bench, args):
    """Those that are here."""
    subjects = [Floor(bench), Monitor(bench, "mayfly", bench.program["mayfly"])]
    for also in args.also:
        name, _, path = also.partition("=")
        subjects.append(Monitor(bench, name, os.path.abspath(path)))
    firecracker = os.environ.get("FIRECRACKER")
    if firecracker:
        subjects.append(Monitor(bench, "firecracker",
                                os.path.abspath(firecracker)))
    qemu = shutil.which("qemu-system-x86_64")
    if qemu and not args.no_qemu:
        subjects.append(Qemu(bench, qemu))
    return subjects


def measure_all(subjects, rounds, has_net):
    """{measure: {subject: [values]}}, in the units of MEASURES."""
    samples = {}
    for i in range(rounds):
        progress(i + 1, rounds)
        methods = ["byte", "api", "start", "jail", "drive", "polled"]
        if i % FEW == 0:
            methods += ["calls", "memory", "vsock"] + ["net"] * has_net
        if i == 0:
            methods.append("limited")
        bench_run.one_round(subjects, i, methods, samples)
    progress(rounds, f"{rounds}\n")
    return {m: {s: [x * MEASURES[m][2] for x in v] for s, v in by.items()}
            for m, by in samples.items()}


def write_page(path, intro, head, rows, samples):
    """Plots of what varies."""
    plots = [(title, unit, {s: sorted(v) for s, v in samples[m].items()})
             for m, (title, unit, _) in MEASURES.items()
             if m in samples and m not in ("calls", "memory", *LIMITS)]
    with open(path, "w", encoding="utf-8") as f:
        f.write(bench_page.page(intro, head, rows, plots))


def parse_args():
    """The command line."""
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--rounds", type=int, default=50)
    p.add_argument("--build", default=f"{TOP}/build")
    p.add_argument("--mayfly", help="default: BUILD/bin/mayfly")
    p.add_argument("--nano", help="default: BUILD/guest/nano.elf")
    p.add_argument("--out", help="default: BUILD/bench")
    p.add_argument("--also", action="append", default=[],
                   metavar="NAME=PATH")
    p.add_argument("--no-qemu", action="store_true")
    args = p.parse_args()
    args.mayfly = args.mayfly or f"{args.build}/bin/mayfly"
    args.nano = args.nano or f"{args.build}/guest/nano.elf"
    args.out = args.out or f"{args.build}/bench"
    return args


def enter_namespace(stack):
    """One with a TAP, for the rest of the run; why not, if it cannot be."""
    try:
        stack.enter_context(NetNs(bench_net.TAP))
    except Skip as e:
        return [f"net: not measured: {e}."]
    return []


def run(args):
    """Measure, print, write."""
    os.makedirs(args.out, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="run-", dir=args.out) as folder:
        bench = bench_run.Bench(folder, find_programs(args))
        subjects = find_subjects(bench, args)
        start = time.monotonic()
        with contextlib.ExitStack() as stack:
            missing = enter_namespace(stack)
            samples = measure_all(subjects, args.rounds, not missing)
    names = [s.name for s in subjects]
    intro = [f"{args.rounds} alternating runs in "
             f"{time.monotonic() - start:.0f} s on {os.cpu_count()} CPUs, "
             f"Linux {os.uname().release}, load "
             f"{os.getloadavg()[0]:.1f}.",
             "Each cell: median [lower quartile, upper quartile], and the "
             "ratio of the median to the floor's.", *missing]
    if "qemu" in names:
        intro.append("vsock with qemu: not measured, /dev/vhost-vsock would "
                     "serve it.")
    head = ["measure", "unit", *names, "target"]
    rows = list(make_rows(samples, names))
    print("\n".join(intro))
    print_table(head, rows)
    path = os.path.join(args.out, "index.html")
    write_page(path, intro, head, rows, samples)
    print(f"\nDistributions: {path}")


def main():
    """Exit code 77 where there is no KVM, 1 if something did not run."""
    args = parse_args()
    return exit_code(run, args)


if __name__ == "__main__":
    sys.exit(main())
