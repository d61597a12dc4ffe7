# SPDX-License-Identifier: Apache-2.0
"""Names change while a jail is made or removed. Run by jailer.py."""
import multiprocessing
import os
import subprocess

from jail_host import JAILER, Jail, LIBC, listing, write
from monitor import SOAK, check, check_equal

RENAME_EXCHANGE = 2


def clear(path):
    """Remove whatever the swapper has made of it."""
    subprocess.run(["rm", "-rf", path], check=False, capture_output=True)


def swap_names(folder, spare, targets, going, turns):
    """Exchange names that the jailer makes for links, and back, for ever."""
    def link(target, path):
        clear(path)
        if not os.path.lexists(path):       # a jailer may still fill it
            os.symlink(target, path)
    names_made = ["", "root", "root/dev", "root/dev/net", "root/run",
                  "root/jail_probe", "root/jail_probe.pid", "root/dev/kvm",
                  "root/dev/net/tun", "root/dev/urandom"]
    exchange = lambda a, b: LIBC.renameat2(
        -100, a, -100, b, RENAME_EXCHANGE) == 0
    paths = [os.path.normpath(os.path.join(folder, n)).encode()
             for n in names_made]
    spares = [(t, os.path.join(spare, str(i)).encode())
              for i, t in enumerate(targets)]
    while going.value:
        for path in paths:
            for target, other in spares:
                if not os.path.islink(other):
                    link(target, other)     # removed while it lay there
                if exchange(path, other):
                    exchange(path, other)
                    turns.value += 1


class Swapper:
    """That in a process, with links to a folder and a file outside."""

    def __init__(self, case, jail):
        self.outside, spare = case.path("outside"), case.path("spare")
        for folder in (self.outside, self.outside + "/dir", spare):
            os.mkdir(folder)
        for name in ("file", "dir/file"):
            write(os.path.join(self.outside, name), "whole")
        self.before = listing(self.outside)
        self.going = multiprocessing.Value("i", 1)
        self.turns = multiprocessing.Value("q", 0)
        self.process = multiprocessing.Process(target=swap_names, args=(
            jail.folder, spare, (self.outside + "/dir",
                                 self.outside + "/file"),
            self.going, self.turns))

    def __enter__(self):
        self.process.start()
        return self

    def __exit__(self, *_):
        self.going.value = 0
        self.process.join()

    def check(self):
        """It was busy, and nothing happened outside."""
        check_equal(self.process.exitcode, 0, "the swapper's end")
        check(self.turns.value > 100, "%d swaps only" % self.turns.value)
        check_equal(listing(self.outside), self.before, "outside")


def swapped(case):
    """a process that swaps every path for links: no effect outside"""
    jail = Jail(case)
    ends = {0: 0, 1: 0}
    with Swapper(case, jail) as swapper:
        for _ in range(10000 if SOAK else 150):
            done = subprocess.run(jail.args(), capture_output=True,
                                  check=False)
            ends[done.returncode] += 1
            clear(jail.folder)
    swapper.check()
    print("# %d swaps; %d jails ran, %d were refused"
          % (swapper.turns.value, ends[0], ends[1]))


def removal_swapped(case):
    """the same while a jail is removed"""
    jail = Jail(case)
    ends = {0: 0, 1: 0}
    with Swapper(case, jail) as swapper:
        for _ in range(3000 if SOAK else 100):
            # Made elsewhere: a path through a swapped name leads outside.
            fresh = case.path("fresh")
            os.makedirs(fresh + "/root/dev/net")
            write(fresh + "/root/jail_probe.pid", "1")
            os.makedirs(os.path.dirname(jail.folder), exist_ok=True)
            try:
                os.rename(fresh, jail.folder)
            except OSError:                 # a link has come to stay there
                clear(jail.folder)
                clear(fresh)
                continue
            done = subprocess.run(
                [JAILER, "--remove", "--id", "vm", "--chroot-base-dir",
                 jail.base], capture_output=True, check=False)
            ends[done.returncode] += 1
            clear(jail.folder)
    swapper.check()
    print("# %d swaps; %d were removed, %d refused"
          % (swapper.turns.value, ends[0], ends[1]))


TESTS = [swapped, removal_swapped]
