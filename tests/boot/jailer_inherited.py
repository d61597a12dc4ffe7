# SPDX-License-Identifier: Apache-2.0
"""What a jail must not get from who starts it. Run by jailer.py."""
import fcntl
import os
import pty
import resource
import signal
import subprocess
import termios

from jail_host import Jail, LIBC, PROBE, read, said
from monitor import check, check_equal, wait_for

ADDR_NO_RANDOMIZE = 0x40000
RT_SIGACTION = 13
CLEAN = {"descriptors": "0 1 2", "signals": "0 0 0", "environment": "0",
         "umask": "22", "timers": "0", "personality": "0"}


def check_clean(text):
    """Of what the probe says."""
    check_equal({name: text[name] for name in CLEAN}, CLEAN, "inherited")


def dirty_descriptors():
    """Many, and one far up, all for the program."""
    for _ in range(1000):
        os.dup(0)
    os.dup2(os.open("/", os.O_RDONLY), 4000)
    for fd in [*range(3, 1100), 4000]:
        try:
            os.set_inheritable(fd, True)
        except OSError:
            pass


def dirty():
    """Leave as much behind as can be."""
    dirty_descriptors()
    os.umask(0)
    # One by one, as the kernel sees them: two are the C library's.
    for sig in range(1, 65):
        LIBC.syscall(RT_SIGACTION, sig, (1).to_bytes(32, "little"), None, 8)
    for which in signal.ITIMER_VIRTUAL, signal.ITIMER_PROF, signal.ITIMER_REAL:
        signal.setitimer(which, 1000)
    LIBC.personality(ADDR_NO_RANDOMIZE)


def blocking():
    """Signals that wait: whoever lets them through is ended."""
    signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))
    for sig in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1,
                signal.SIGALRM, signal.SIGRTMIN, signal.SIGRTMAX):
        os.kill(os.getpid(), sig)


def inherited(case):
    """descriptors, environment, signals, timers, umask, personality: clean"""
    for i, (how, flags) in enumerate((
            (dirty, ()), (dirty, ("--new-pid-ns", )), (blocking, ()))):
        jail = Jail(case, "a%d" % i)
        jail.run(*flags, preexec_fn=how, close_fds=False,
                 env={"SECRET": "x", "LD_PRELOAD": "y"})
        check_clean(said(wait_said(jail)))


def wait_said(jail):
    """All that the program says, whose jailer may have ended before it."""
    wait_for(lambda: "terminal kept: " in read(jail.out), "the probe's end")
    return read(jail.out)


def closed_stdio(case):
    """what is closed of 0, 1 and 2 becomes /dev/null"""
    for fds in ((0,), (0, 1, 2)):
        jail = Jail(case, "c%d" % len(fds))
        jail.run(preexec_fn=lambda fds=fds: [os.close(fd) for fd in fds])
        if len(fds) == 1:
            check_clean(said(read(jail.out)))
        else:
            check_equal(read(jail.out), "", "output")


def folders(case):
    """a folder as 0, 1 or 2, which leads out: refused, nothing is made"""
    for fd in range(3):
        def give(fd=fd):
            os.dup2(os.open("/", os.O_RDONLY), fd)
        jail = Jail(case, "f%d" % fd)
        text = jail.run(code=1, preexec_fn=give)
        if fd < 2:
            check_equal(text, "Descriptor %d is a folder, which would be a "
                        "way out of the jail\n" % fd, "refusal")
        check(not os.path.exists(jail.folder), "it was made")


def on_terminal(words, leader):
    """What a program says whose 0 is the terminal of its session; it is its
    first process, or the child of a shell that is."""
    control, terminal = pty.openpty()

    def enter():
        os.setsid()
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    if not leader:
        words = ["sh", "-c", '"$@"; exit $?', "sh", *words]
    try:
        done = subprocess.run(words, stdin=terminal, capture_output=True,
                              text=True, check=False, preexec_fn=enter)
        check_equal(done.returncode, 0, done.stderr)
        return said(done.stdout)
    finally:
        os.close(control)
        os.close(terminal)


def terminal(case):
    """a terminal stays open, but the program cannot type into it"""
    for leader in True, False:
        outside = on_terminal([PROBE], leader)
        check(outside["typed"] in ("ok", "EIO"), "outside: " + str(outside))
        check_equal(outside["terminal kept"], "ok", "outside")
        jail = Jail(case, "t%d" % leader)
        inside = on_terminal(jail.args(), leader)
        check(inside["typed"] in ("EPERM", "EIO") and
              (outside["typed"] == "EIO" or inside["typed"] == "EPERM"),
              "typed: " + inside["typed"])
        check_equal(inside["terminal kept"], "ENOTTY", "inside")


def unread_messages(case):
    """a message that nobody reads, a limit on files: all done or undone"""
    for small, code in ((False, 0), (True, 1)):
        reader, writer = os.pipe()
        os.close(reader)
        jail = Jail(case, "w%d" % small, uid=0)

        def enter(small=small):
            if small:
                resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
        with subprocess.Popen(jail.args(), stdin=subprocess.DEVNULL,
                              stdout=subprocess.DEVNULL, stderr=writer,
                              preexec_fn=enter) as p:
            os.close(writer)
            check_equal(p.wait(), code, "exit code")
        check_equal(os.path.exists(jail.folder), not small, "the jail")


TESTS = [inherited, closed_stdio, folders, terminal, unread_messages]
