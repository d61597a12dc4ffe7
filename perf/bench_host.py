# SPDX-License-Identifier: Apache-2.0
"""Programs on the host: what they print, and for how long that is awaited."""
import contextlib
import os
import re
import select
import subprocess
import sys
import time

PATIENCE_S = 30


class Failed(Exception):
    """Something did not run."""


def output_until(process, word):
    """The output of a process up to and with a word."""
    seen, end = b"", time.monotonic() + PATIENCE_S
    while word not in seen:
        ready, _, _ = select.select([process.stdout], [], [],
                                    max(0, end - time.monotonic()))
        more = os.read(process.stdout.fileno(), 65536) if ready else b""
        if not more:
            raise Failed(f"{process.args[0]}: no '{word.decode()}' in:\n"
                         + seen.decode(errors="replace"))
        seen += more
    return seen.decode(errors="replace")


@contextlib.contextmanager
def running(*args):
    """A process, until the end of the block."""
    with subprocess.Popen(args, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE) as p:
        try:
            yield p
        finally:
            p.kill()


@contextlib.contextmanager
def ready(*args):
    """netfloor or sockfloor that waits for the other end."""
    with running(*args) as p:
        output_until(p, b"ready\n")
        yield p


def parse_figures(text, args):
    """(n, nanoseconds) as the floor's programs print them."""
    m = re.search(r"n=(\d+) ns=(\d+)", text)
    if not m:
        raise Failed(f"{' '.join(args)}: {text}")
    return int(m[1]), int(m[2])


def figures_of(p):
    """Those of a process that was ready, when it ends."""
    return parse_figures(output_until(p, b"\n"), p.args)


def figures(*args):
    """Those of one run."""
    try:
        done = subprocess.run(args, check=False, capture_output=True,
                              text=True, timeout=PATIENCE_S)
    except subprocess.TimeoutExpired:
        raise Failed(f"{' '.join(args)}: not done in {PATIENCE_S} s") from None
    return parse_figures(done.stdout + done.stderr, args)


def exit_code(run, *args):
    """Of a benchmark: 77 where there is no KVM, 1 if something did not run."""
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        print("bench: no access to /dev/kvm")
        return 77
    try:
        run(*args)
    except Failed as e:
        print(f"bench: {e}", file=sys.stderr)
        return 1
    return 0
