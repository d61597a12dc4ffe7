#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Run guests and see that each system call of the monitor is in the tables.

usage: syscalls.py [SCENARIO...]      (default: all)

TAP output. What is outside the tables of base/filters is listed under the
scenario in which it was seen; rows that no call of any scenario matched are
listed at the end. The programs are $MAYFLY (build/bin/mayfly), $CALLWATCH
(build/bin/callwatch) and $NANO (build/guest/nano.elf). They run without their
filters, which would kill before callwatch can see. Exit code 77: cannot run
here.
"""
import concurrent.futures
import http.client
import os
import subprocess
import sys
import tempfile
import time

from syscalls_scenarios import SCENARIOS, config
from watched import CALLWATCH, MAYFLY, NANO, TABLES, Failed, Watched

AT_ONCE = 3             # they wait more than they work


def watcher_sees():
    """What is missing in a table is reported: the others can fail."""
    with tempfile.TemporaryDirectory(prefix="tables-") as tables:
        for name in os.listdir(TABLES):
            with open(os.path.join(TABLES, name), encoding="ascii") as f:
                rows = [r for r in f
                        if not (name == "vcpu.tbl" and "KVM_RUN" in r)]
            with open(os.path.join(tables, name), "w",
                      encoding="ascii") as f:
                f.writelines(rows)
        w = Watched(["--no-api", "--config-file", "c.json"], tables=tables)
        w.write("c.json", config("hello"))
        try:
            w.start()
            report = w.finish()
        finally:
            w.close()
    if not any("outside: vcpu ioctl 1=KVM_RUN x" in r for r in report):
        return ["KVM_RUN is not reported"]
    return [] if w.process.returncode == 1 else ["the exit code is not 1"]


def limits():
    """The tables keep the limits of the design."""
    done = subprocess.run([CALLWATCH, "-t", TABLES, "-l"], check=False,
                          capture_output=True, text=True)
    return [] if done.returncode == 0 else [done.stdout + done.stderr]


# Rows that callwatch cannot see used, or not each time: filters.py does,
# nano_pager.py, a host whose TSC runs at another speed, a thread that had not
# ended when it was joined; fc_pager makes one call before a guest is entered
# that it makes under the filter of its own, which callwatch cannot know.
ELSEWHERE = {"pager": ("futex",),
             "start": ("seccomp", "userfaultfd", "ioctl 1=KVM_SET_TSC_KHZ",
                       "futex 1=FUTEX_WAIT_BITSET|FUTEX_CLOCK_REALTIME")}

CHECKS = {"limits": limits, "watcher_sees": watcher_sees}


def run(name):
    """Lines on what is wrong with a scenario, and what was reported."""
    if name in CHECKS:
        return CHECKS[name](), []
    w, scenario = SCENARIOS[name]()
    try:
        scenario()
        report = w.finish()
        said = w.output()
    except (Failed, OSError, http.client.HTTPException) as e:
        return [f"{type(e).__name__}: {e}"], []
    finally:
        w.close()
    wrong = [line for line in report if ": outside: " in line]
    if "nano: FAIL" in said:
        wrong.append(said[said.index("nano: FAIL"):].split("\n", 1)[0])
    if not report:
        wrong.append("callwatch said nothing")
    return wrong, report


def run_timed(name):
    """The same, and how long it took."""
    begin = time.monotonic()
    return *run(name), time.monotonic() - begin


# Rows that no scenario has used so far; None before the first.
UNUSED = {"rows": None}


def note_unused(report):
    """What more runs did not use either; each ends with a line of its sums."""
    rows = set()
    for line in report:
        if ": unused: " in line:
            rows.add(line.split(": unused: ")[1])
        elif " kinds outside" in line:
            UNUSED["rows"] = (rows if UNUSED["rows"] is None
                              else UNUSED["rows"] & rows)
            rows = set()


def all_used():
    """Every row of the tables is used by some scenario."""
    wrong = []
    for place in sorted(UNUSED["rows"] or ()):
        role, number = place.split(" line ")
        with open(os.path.join(TABLES, role + ".tbl"),
                  encoding="ascii") as f:
            row = f.read().splitlines()[int(number) - 1]
        name, reason = row.split("#", 1)
        if not any(" ".join(name.split()).startswith(rule)
                   for rule in ELSEWHERE.get(role, ())):
            wrong.append(f"{role}: never used: {name.strip()} #{reason}")
    return wrong


def main():
    """Run what was asked for."""
    for path in (MAYFLY, CALLWATCH, NANO):
        if not os.path.exists(path):
            print(f"build: {path} is missing")
            return 77
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        print("kvm: /dev/kvm cannot be opened")
        return 77
    names = sys.argv[1:] or [*CHECKS, *SCENARIOS]
    print(f"1..{len(names) + 1}")
    failed = 0
    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        for i, (wrong, report, seconds) in enumerate(
                pool.map(run_timed, names), 1):
            note_unused(report)
            failed += point(i, f"{names[i - 1]} ({seconds:.1f} s)", wrong,
                            report)
    failed += point(len(names) + 1, "all_used", [] if sys.argv[1:]
                    else all_used(), [])
    return 1 if failed else 0


def point(number, name, wrong, report):
    """Of TAP; true if it says that something is wrong."""
    for line in wrong + [line for line in report if line not in wrong and
                         ": unused: " not in line]:
        print(f"# {line}")
    print(f"{'not ok' if wrong else 'ok'} {number} - {name}", flush=True)
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
