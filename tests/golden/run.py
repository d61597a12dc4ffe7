#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Replay recorded transcripts of Firecracker and compare byte by byte. TAP.

usage: run.py [FAMILY...]      (default: the families below)

The transcripts and the program that replays them are not part of this
repository: they are looked for in $MAYFLY_GOLDEN (../shared/golden, relative
to the checkout). Differences must stand in one of two lists beside this file,
in the form "GLOB over "scenario [step]" | CLASS,... or * | reason":

  excuses.txt  differences on purpose; docs/compatibility.md tells people
  pending.txt  steps of parts that are not there yet, with the issue that
               brings them

Any other difference fails, and so does a line that excused nothing. The
monitor is $MAYFLY (build/bin/mayfly), split at spaces: a launcher may stand
before it. It runs in jails; in_jail.py names what does not. Exit code 77: no
transcripts.
"""
import concurrent.futures
import os
import re
import signal
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(os.path.dirname(HERE))
MAYFLY = [os.path.abspath(word) for word in os.environ.get(
    "MAYFLY", os.path.join(TOP, "build/bin/mayfly")).split()]
GOLDEN = os.path.join(TOP, os.environ.get("MAYFLY_GOLDEN",
                                          "../shared/golden"))
FAMILIES = ["http", "paths", "bodies", "values", "net", "mmds", "phase", "cli",
            "exit", "snapshot"]
AT_ONCE = 4
LISTS = ("excuses.txt", "pending.txt")
# What is on stderr are the Debug texts of another language.
IGNORED = "stderr"

# golden.py tells which excuses were not needed only when it runs everything:
# so everything is what we want of it. A snapshot that cannot be loaded ends the
# original, and the recordings wait for that: here it is looked at once. The
# original ran without its filters (BASE_ARGS); ours has to do with them.
SELECTED = """\
import importlib.util
import sys
sys.path.insert(0, {here!r})
spec = importlib.util.spec_from_file_location("recorded", {path!r})
recorded = importlib.util.module_from_spec(spec)
spec.loader.exec_module(recorded)
BASE_ARGS = []
SCENARIOS = [s for s in recorded.SCENARIOS
             if s["name"].split("/")[0] in {families!r} and
             s["name"] != "cli/no-seccomp twice"]
for s in SCENARIOS:
    if s["name"].startswith("snapshot/"):
        s["steps"] = [("alive", 0.05) if tuple(step) == ("exit",) else step
                      for step in s["steps"]]
from in_jail import replay_in_jails
replay_in_jails({command!r})
"""


def excuses(families):
    """The lines of both lists that are about these families."""
    lines = []
    for name in LISTS:
        with open(os.path.join(HERE, name), encoding="utf-8") as f:
            for number, line in enumerate(f, 1):
                if not line.strip() or line.startswith("#"):
                    continue
                fields = [field.strip() for field in line.split("|")]
                if len(fields) != 3 or not all(fields):
                    sys.exit(f"{name}:{number}: not GLOB | CLASS | reason")
                if fields[0].split("/")[0] in families:
                    lines.append(line)
    return lines


def named_firecracker(tmp, monitor):
    """The monitor by that name, since it prints its own."""
    os.symlink(MAYFLY[-1], monitor)
    if len(MAYFLY) == 1:
        return monitor
    script = os.path.join(tmp, "launch")
    with open(script, "w", encoding="utf-8") as f:
        f.write(f'#!/bin/sh\nexec {" ".join(MAYFLY[:-1])} {monitor} "$@"\n')
    os.chmod(script, 0o700)
    return script


def heed_signals():
    """Background jobs of shells ignore these."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGQUIT, signal.SIG_DFL)


def replay(tmp, families):
    """What golden.py says about the monitor."""
    link = os.path.join(tmp, "firecracker")
    monitor = named_firecracker(tmp, link)
    scenarios = os.path.join(tmp, "selected.py")
    list_path = os.path.join(tmp, "excuses")
    with open(scenarios, "w", encoding="utf-8") as f:
        f.write(SELECTED.format(
            here=HERE, path=os.path.join(GOLDEN, "scenarios.py"),
            families=families, command=[*MAYFLY[:-1], link]))
    with open(list_path, "w", encoding="utf-8") as f:
        f.writelines(excuses(families))
    done = subprocess.run(
        [sys.executable, "-B", os.path.join(GOLDEN, "golden.py"), "check",
         monitor, scenarios,
         os.path.join(GOLDEN, "firecracker-1.16.1.json"),
         "--ignore", IGNORED, "--except", list_path],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
        preexec_fn=heed_signals)
    return done.returncode, done.stdout.decode("utf-8", "replace")


def replay_family(family):
    """The same for one, in a folder of its own."""
    # Short, because paths of sockets are in it.
    with tempfile.TemporaryDirectory(prefix="g", dir="/tmp") as tmp:
        return replay(tmp, [family])


def explain(text):
    """As lines that TAP takes for comments."""
    for line in text.splitlines():
        print("# " + line[:1000])


def report(code, output, families):
    """A point a family, one for the lists and one for the whole."""
    verdicts = []
    for family in families:
        found = re.search(rf"^{family} +(.*)$", output, re.M)
        tally = found[1] if found else "not run"
        verdicts.append((bool(found) and "failed" not in tally and
                         "passed" in tally, f"{family}: {tally}"))
    # Without TAPs some scenarios are skipped, and with them their excuses.
    unused = "skipped" not in output and \
        re.search(r"^excuse never needed: ", output, re.M)
    verdicts.append((not unused, "no excuse without a difference"))
    verdicts.append((code == 0, "golden.py agrees"))
    skip = re.search(r"^# SKIP jail: .*", output, re.M)
    if skip:
        verdicts.append((True, "in jails " + skip[0]))
    print(f"1..{len(verdicts)}")
    for n, (good, text) in enumerate(verdicts, 1):
        print(f"{'ok' if good else 'not ok'} {n} - {text}")
    if not all(good for good, _ in verdicts):
        explain(output)
        return 1
    return 0


def main():
    """See above."""
    families = sys.argv[1:] or FAMILIES
    if not os.path.exists(os.path.join(GOLDEN, "golden.py")):
        print("golden: no recorded transcripts ($MAYFLY_GOLDEN)")
        return 77
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        print("kvm: cannot open /dev/kvm")
        return 77
    # They wait more than they work, and each is in a network namespace of its
    # own.
    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        done = list(pool.map(replay_family, families))
    return report(max(code for code, _ in done),
                  "\n".join(output for _, output in done), families)


if __name__ == "__main__":
    sys.exit(main())
