# SPDX-License-Identifier: Apache-2.0
"""What the jailer refuses, and leaves as it was. Run by jailer.py."""
import os
import shutil
import stat
import subprocess
import sys

from jail_host import (CGROUP, GID, JAILER, Jail, UID, cgroup_mounts, listing,
                       mounts, write)
from monitor import check, check_equal


def refusals(case):
    """what is wrong is said on stderr, with 1; no trace is left"""
    jail = Jail(case)
    write(case.path("text"), "no program")
    os.mkfifo(case.path("fifo"))
    os.mkdir(case.path("other"))
    ours = lambda *more: jail.args(*more)
    swap = lambda flag, value: [
        value if i and jail.args()[i - 1] == flag else w
        for i, w in enumerate(jail.args())]
    cases = [
        (swap("--id", ""), "Invalid instance ID: Invalid len (0);  the "
         "length must be between 1 and 64"),
        (swap("--uid", "01"), "Invalid uid: 01"),
        (swap("--gid", "-1"), "Invalid gid: -1"),
        (swap("--exec-file", case.path("none")),
         "Failed to canonicalize path %s: No such file or directory (os "
         "error 2)" % case.path("none")),
        (swap("--exec-file", case.path("other")),
         "%s is not a file" % case.path("other")),
        (swap("--exec-file", case.path("fifo")),
         "%s is not a file" % case.path("fifo")),
        (swap("--exec-file", case.path("text")),
         "Failed to exec into Firecracker: Exec format error (os error 8)"),
        (swap("--exec-file", sys.executable),
         "%s is linked dynamically" % sys.executable),
        (swap("--chroot-base-dir", case.path("none")),
         "Failed to canonicalize path"),
        (swap("--chroot-base-dir", case.path("text")),
         "Failed to create directory"),
        (ours("--netns", case.path("none")), "Failed to open file"),
        (ours("--netns", case.path("text")),
         "Failed to join network namespace: netns: Invalid argument"),
        (ours("--netns", case.path("fifo")),
         "Failed to join network namespace: netns: Invalid argument"),
        (ours("--cgroup", "nosuch.thing=1"),
         "Controller nosuch is unavailable"),
        (ours("--resource-limit", "no-file=18446744073709551614"),
         "Failed to set limit for resource: number of file descriptors"),
        (ours("--resource-limit", "no-file=18446744073709551614",
              "--new-pid-ns", "--daemonize"),
         "Failed to set limit for resource: number of file descriptors"),
        ([JAILER], "Failed to parse arguments: Argument 'exec-file' required"),
    ]
    where = {c: m for m, options in cgroup_mounts("cgroup") for c in options}
    if "pids" in where:
        for more in ((), ("--new-pid-ns",)):
            cases.append((ours("--parent-cgroup", CGROUP, "--cgroup",
                               "pids.max=9", "--resource-limit",
                               "no-file=18446744073709551614", *more),
                          "Failed to set limit for resource"))
    before = mounts(case)
    for args, text in cases:
        done = subprocess.run(args, capture_output=True, text=True,
                              check=False)
        check_equal(done.returncode, 1, args)
        check(done.stderr.startswith(text), "%s: %s" % (args, done.stderr))
        left = listing(jail.base)
        check(all(x[0] == os.path.dirname(jail.folder) or
                  os.path.basename(x[0]) in ("text", "jail_probe")
                  for x in left), "%s leaves %s" % (args, left))
        for mountpoint in set(where.values()):
            check(not os.path.exists("%s/%s/vm" % (mountpoint, CGROUP)),
                  "%s leaves a cgroup" % args)
    check_equal(mounts(case), before, "the host's mount table")
    jail.run()


def not_root(case):
    """others than root are refused before anything is made"""
    jail = Jail(case)
    os.chmod(case.folder, 0o755)
    done = subprocess.run(jail.args(), capture_output=True, text=True,
                          check=False, user=UID, group=GID, cwd="/",
                          executable=shutil.copy(JAILER, "/tmp/mayfly-j"))
    os.unlink("/tmp/mayfly-j")
    check_equal((done.returncode, done.stderr),
                (1, "The jailer has to be started by root\n"), "refusal")


def planted(case):
    """links, FIFOs, files and folders at each path that is made: refused"""
    outside = case.path("outside")
    os.mkdir(outside)
    write(outside + "/file", "whole")
    os.mkdir(outside + "/dir")
    before = listing(outside)
    dirs = ["root/dev", "root/dev/net", "root/run", "root", "."]
    files = ["root/jail_probe", "root/jail_probe.pid", "root/dev/kvm",
             "root/dev/net/tun"]
    if os.path.exists("/dev/userfaultfd"):
        files.append("root/dev/userfaultfd")
    plants = {
        "link": lambda p: os.symlink(
            outside + ("/dir" if p in dirs else "/file"), p),
        "link to a folder": lambda p: os.symlink(outside + "/dir", p),
        "broken link": lambda p: os.symlink(outside + "/none", p),
        "relative link": lambda p: os.symlink("../../../../outside/dir", p),
        "hard link": lambda p: os.link(outside + "/file", p),
        "FIFO": os.mkfifo,
        "file": lambda p: write(p, "planted"),
        "folder": os.mkdir,
    }
    n = 0
    for name in dirs + files:
        for kind, plant in plants.items():
            if kind == "folder" and name in dirs:
                continue
            n += 1
            jail = Jail(case, "j%d" % n)
            path = os.path.normpath(os.path.join(jail.folder, name))
            os.makedirs(os.path.dirname(path), exist_ok=True)
            plant(path)
            were = listing(jail.base)
            linked = kind == "hard link"
            text = jail.run(code=1)
            check("Failed to" in text or "Detected hard link at: " in text,
                  text)
            if linked and name == "root/jail_probe":
                check_equal(text, "Detected hard link at: %s\n" % path, path)
            check_equal(names(listing(jail.base)), names(were),
                        "%s at %s" % (kind, name))
            if linked:
                os.unlink(path)
            check_equal(listing(outside), before, "%s at %s" % (kind, name))
    # The device that may be missing costs a warning.
    jail = Jail(case, "warned")
    os.makedirs(jail.path("dev"))
    os.symlink(outside + "/file", jail.path("dev/urandom"))
    check("Warning! Could not create /dev/urandom" in jail.run(), "no warning")
    check_equal(listing(outside), before, "urandom")
    # One level up: the program's folder.
    jail = Jail(case, "up", base="base2")
    os.symlink(outside + "/dir", os.path.dirname(jail.folder))
    jail.run(code=1)
    check_equal(listing(outside), before, "the program's folder")


def names(found):
    """What is there, whoever owns it."""
    return [(x[0], stat.S_IFMT(x[1]), x[6]) for x in found]


TESTS = [refusals, not_root, planted]
