#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The contract programs where io_uring is forbidden. TAP output.

The launcher that forbids it is $NO_URING (build/tests/no_uring).
"""
import os
import re
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(os.path.dirname(HERE))
PROGRAMS = ("http_contract", "api_contract", "start_contract",
            "process_contract")


def path(variable, default):
    """A program of ours, by its whole path."""
    return os.path.abspath(os.environ.get(variable,
                                          os.path.join(TOP, default)))


def main():
    """A line for each program; what a failed one said, as comments."""
    launcher = path("NO_URING", "build/tests/no_uring")
    if not os.path.exists(launcher):
        print("build: no " + launcher)
        return 77
    env = {**os.environ,
           "MAYFLY": launcher + " " + path("MAYFLY", "build/bin/mayfly")}
    failed = 0
    print(f"1..{len(PROGRAMS)}")
    for n, name in enumerate(PROGRAMS, 1):
        done = subprocess.run([os.path.join(HERE, name + ".py")], env=env,
                              check=False, capture_output=True, text=True)
        if done.returncode:
            failed += 1
            for line in (done.stdout + done.stderr).splitlines():
                print("# " + line)
        skip = re.search(r" # SKIP jail: .*", done.stdout)
        print(f"{'not ' if done.returncode else ''}ok {n} - {name} on epoll"
              f"{skip[0] if skip else ''}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
