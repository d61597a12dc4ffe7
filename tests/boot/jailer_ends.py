# SPDX-License-Identifier: Apache-2.0
"""Jails end, or never come to be. Run by jailer.py."""
import concurrent.futures
import ctypes
import errno
import os
import struct
import subprocess

import monitor
from jail_host import (CGROUP, JAILER, Jail, LIBC, MAYFLY, cgroup_mounts,
                       listing, mounts, read, reap, syscall, write)
from monitor import SOAK, Failed, check, check_equal, wait_for

SECCOMP_KILL, SECCOMP_ERRNO, SECCOMP_ALLOW = 0x80000000, 0x50000, 0x7fff0000
PR_SET_SECCOMP = 22
LOAD, EQUAL, RETURN = 0x20, 0x15, 0x6   # instructions of BPF
EXECVEAT, PRCTL = 322, 157

# (what the jailer does, its system call, a first argument or None), in order.
STEPS = [
    ("make a folder", 258, None), ("lock", 73, None),
    ("look at the mount", 138, None), ("copy", 40, None),
    ("give the copy away", 93, None), ("its mode", 91, None),
    ("make a node", 259, None), ("give a node away", 260, None),
    ("empty the bounding set", PRCTL, 24), ("lock the bits", PRCTL, 28),
    ("new namespaces", 272, None), ("name the host", 170, None),
    ("isolate mounts", 165, None), ("clone a mount", 428, None),
    ("attach a mount", 429, None), ("pivot", 155, None),
    ("unmount the host", 166, None),
    ("make Landlock's rules", 444, None), ("add a rule", 445, None),
    ("limits", 302, 0), ("groups", 116, None), ("group", 119, None),
    ("user", 117, None), ("capabilities", 126, None)]
FORK_STEPS = [("make a pipe", 293, None), ("fork", 56, None)]
# Nobody is left who could undo these, unless it is a parent.
LAST_STEPS = [("empty the ambient set", PRCTL, 47),
              ("no new privileges", PRCTL, 38),
              ("restrict by Landlock", 446, None),
              ("execute", EXECVEAT, None)]


def filtered(number, argument, result, which=0):
    """For a process that is to be executed: what a system call, with that
    argument (the first) if it is not None, ends in."""
    test = [(LOAD, 0, 0, 0), (EQUAL, 0, 1 if argument is None else 3, number)]
    if argument is not None:
        test += [(LOAD, 0, 0, 16 + 8 * which), (EQUAL, 0, 1, argument)]
    code = b"".join(struct.pack("<HBBI", *i) for i in test + [
        (RETURN, 0, 0, result), (RETURN, 0, 0, SECCOMP_ALLOW)])
    buf = ctypes.create_string_buffer(code, len(code))
    prog = struct.pack("<H6xQ", len(code) // 8, ctypes.addressof(buf))

    def enter():
        syscall(LIBC.prctl(PR_SET_SECCOMP, 2, prog, 0, 0), "seccomp")
    enter.code = buf            # lives as long
    return enter


def undone(case):
    """whichever step fails, nothing is left, and staged files stay"""
    n = 0
    flags = ("--cgroup", "pids.max=9", "--parent-cgroup", CGROUP) \
        if pids_mount() else ()
    for mode in ((), ("--new-pid-ns", "--daemonize")):
        steps = STEPS + (FORK_STEPS + LAST_STEPS if mode else [])
        for what, number, argument in steps:
            for staged in False, True:
                n += 1
                jail = Jail(case, "j%d" % n)
                if staged:
                    os.makedirs(jail.path("run"))
                    write(jail.path("run/mine"), "mine")
                fail_at(case, jail, (what, number, argument),
                        (*mode, *flags))
                if staged:
                    check_equal(tree(jail.folder), ["root", "root/run",
                                                    "root/run/mine"], what)
                else:
                    check(not os.path.exists(jail.folder), what)
                check(not pids_mount() or not os.path.exists(
                    "%s/%s/%s" % (pids_mount(), CGROUP, jail.name)), what)


def pids_mount():
    """Where version 1 limits processes, or None."""
    found = [m for m, options in cgroup_mounts("cgroup") if "pids" in options]
    return found[0] if found else None


def fail_at(case, jail, step, flags):
    """A start of which one step fails."""
    what, number, argument = step
    before = mounts(case)
    text = jail.run(*flags, code=1, preexec_fn=filtered(
        number, argument, SECCOMP_ERRNO | errno.EIO))
    check("Input/output error" in text or "I/O error" in text or
          "apabilit" in text, "%s: %s" % (what, text))
    check_equal(mounts(case), before, what)


def tree(folder):
    """Names in it."""
    return [os.path.relpath(x[0], folder) for x in listing(folder)]


def left_to_remove(case):
    """what fails without privileges is said, and --remove takes it away"""
    for i, step in enumerate(LAST_STEPS):
        jail = Jail(case, "l%d" % i)
        fail_at(case, jail, step, ())
        jail.remove()
        check(not os.path.exists(jail.folder), step[0])


def killed_before_exec(case):
    """a child that ends before it is the program is no success"""
    for i, flags in enumerate((("--daemonize",), ("--new-pid-ns",),
                               ("--new-pid-ns", "--daemonize"))):
        jail = Jail(case, "k%d" % i)
        text = jail.run(*flags, code=1, preexec_fn=filtered(
            EXECVEAT, None, SECCOMP_KILL))
        check_equal(text, "Failed to exec into Firecracker: the process was "
                          "ended before that\n", "what it says")
        check(not os.path.exists(jail.folder), "something is left")
    # One that was executed and ended at once is a success.
    for i in range(20):
        Jail(case, "s%d" % i).run("--daemonize", "--new-pid-ns")


def restart(case):
    """an id is used once, until its jail was removed; never while it lives"""
    jail = Jail(case, program=MAYFLY)
    jail.start()
    jail.api()
    first = jail.process
    check("Failed to open" in jail.run(code=1), "started twice")
    jail.process = first
    check("in use by process %d" % first.pid in jail.remove(code=1), "in use")
    # What the program writes into its pid file changes nothing.
    write(jail.path(jail.exec_name + ".pid"), "1")
    check("in use by process" in jail.remove(code=1), "in use")
    jail.api().get("/version")
    first.kill()
    first.wait()
    check("Failed to open" in jail.run(code=1), "started over the old one")
    jail.remove()
    check_equal(os.listdir(os.path.dirname(jail.folder)), [], "left over")
    jail.start()
    jail.api().get("/version")


def headless(case):
    """a process whose first thread has ended lives, and is not removed"""
    jail = Jail(case).start(more=("headless",))
    state = lambda: read("/proc/%d/stat" % jail.pid()).rsplit(")", 1)[1]
    wait_for(lambda: state().startswith(" Z"), "end of the first thread")
    check("in use by process %d" % jail.pid() in jail.remove(code=1), "in use")
    jail.kill()
    jail.remove()


def opened_to_write(case):
    """who has the copy open to write is no danger: it is not executed"""
    for n in range(200):
        jail = Jail(case, "w%d" % n, program=MAYFLY).start()
        fd = busy = None
        while not fd and not busy and jail.process.poll() is None:
            try:
                fd = os.open(jail.path(jail.exec_name), os.O_WRONLY)
            except OSError as e:
                busy = e.errno == errno.ETXTBSY     # it runs: too late
        if not fd:
            jail.kill()
            continue
        code = jail.process.wait(monitor.DEADLINE_S)
        os.close(fd)
        check_equal(code, 1, "exit code")
        check("Text file busy" in read(jail.out), read(jail.out))
        return
    raise Failed("never opened in time")


def removed(jail, flags):
    """Whether it could be: its program may still be on its way out."""
    done = subprocess.run(
        [JAILER, "--remove", "--id", jail.name, "--chroot-base-dir",
         jail.base, *flags], capture_output=True, text=True, check=False)
    check(done.returncode == 0 or "in use" in done.stderr or
          "busy" in done.stderr, done.stderr)
    return done.returncode == 0


def once(case, number, flags):
    """A jail, made, run and removed."""
    jail = Jail(case, "n%d" % number)
    # The modes take turns; those whose jailer ends first need a look more.
    more = ((), ("--new-pid-ns",), ("--daemonize",), ("--new-net-ns",))
    out = subprocess.run(jail.args(*flags, *more[number % 4]),
                         capture_output=True, text=True, check=False)
    check(out.returncode == 0, out.stderr)
    wait_for(lambda: removed(jail, flags), "removal")


def processes(base):
    """Of jails below a folder, or jailers that make them."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            if base in read("/proc/%s/cmdline" % pid) or \
                    os.readlink("/proc/%s/exe" % pid).startswith(
                        ("/jail_", base)):
                found.append(pid)
        except OSError:
            pass
    return found


def loop(case):
    """many jails are made and removed, 8 at a time; nothing is left over"""
    rounds = 1000 if SOAK else 48
    before = mounts(case)
    flags = ("--cgroup", "pids.max=99", "--parent-cgroup", CGROUP) \
        if pids_mount() else ()
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: once(case, n, flags), range(rounds)))
    reap()
    check_equal(os.listdir(case.path("base/jail_probe")), [], "left over")
    check_equal(processes(case.path("base")), [], "processes")
    for point, _ in cgroup_mounts("cgroup") + cgroup_mounts("cgroup2"):
        above = os.path.join(point, CGROUP)
        check_equal([x for x in os.listdir(above) if x[1:].isdigit()]
                    if os.path.isdir(above) else [], [], "cgroups")
    check_equal(mounts(case), before, "the host's mount table")


TESTS = [undone, left_to_remove, killed_before_exec, restart, headless,
         opened_to_write, loop]
