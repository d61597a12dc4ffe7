# SPDX-License-Identifier: Apache-2.0
"""A create or load that fails, or whose process is killed, at each system call
of its own: the old snapshot or the new one is whole, and what still lives goes
on. Run by nano.py; some of the points, or all of them (MAYFLY_SOAK=1).

A trace of one create says which calls there are: (name, how often it came
before). strace is attached for one create at a time and changes that one.
"""
import contextlib
import http.client
import os
import re
import shutil
import signal
import subprocess
import time

import monitor
from monitor import SOAK, Skip, check, check_equal, wait_for
from nano_snapshot import (TICK, Files, check_gapless, figures, pause, resume,
                           said, ticks)

MEM_MIB = 16
# A guest that counts lines; for diffs one that writes a page after the other,
# and looks before it writes one again whether it still holds what it wrote.
PAGES, RATE = 1024, 8000
ORDERS = {"Full": "tick=0", "Diff": "dirty=4:%d" % RATE}
WRITTEN = r"^nano: dirty written=(\d+)"
HELPER, MAIN = "fc_api", "main"
ERRORS = "EIO", "ENOSPC", "ENOMEM", "EINTR", "EDQUOT"

# How threads hand work to one another, and what cannot fail. A call that strace
# fails is not carried out: what close() and munmap() then keep is strace's
# doing; and brk() returns no errors. A thread that cannot have its filter ends
# the process, as it has to.
HAND_OVER = {"futex", "io_uring_enter", "epoll_pwait2", "epoll_wait",
             "rt_sigprocmask", "restart_syscall"}
NEVER_FAILED = HAND_OVER | {"close", "munmap", "brk", "rt_sigaction", "getpid",
                            "gettid", "seccomp"}
INPUT, WAKE, LOG = 0, 210, 211 # fds.h: FD_WAKE, FD_LOG
KIB_GROWN = 1024
MOST = 40 # of one call, when it is made for page after page


def share(points, of):
    """All of them, or a sample that is spread evenly."""
    return points if SOAK else points[::max(1, round(len(points) / of))]


# ---- strace ----

def thread(m, name):
    """The number of a thread of the monitor."""
    if name == MAIN:
        return str(m.process.pid)
    folder = "/proc/%d/task" % m.process.pid
    for tid in os.listdir(folder):
        with open("%s/%s/comm" % (folder, tid), encoding="ascii") as f:
            if f.read().strip() == name:
                return tid
    raise ValueError("no thread " + name)


@contextlib.contextmanager
def traced(m, name, *options):
    """strace on a thread, from here on; its output is in m.trace."""
    if not shutil.which("strace"):
        raise Skip("strace: not there")
    m.trace = os.path.join(os.path.dirname(m.log_path), "trace")
    with subprocess.Popen(
            ["strace", "-o", m.trace, *options, "-p", thread(m, name)],
            stderr=subprocess.PIPE, text=True) as p:
        line = p.stderr.readline()
        try:
            check("attached" in line, "strace: " + line)
            yield
        finally:
            p.terminate()


def calls(path):
    """[(name, number from 1)] in the order of a trace, without HAND_OVER; of
    those that come more often than MOST a part, spread evenly."""
    count, found = {}, []
    with open(path, encoding="utf-8", errors="replace") as f:
        for line in f:
            match = re.match(r"([a-z0-9_]+)\((\d*)", line)
            if not match:
                continue
            name, first = match.groups()
            count[name] = count.get(name, 0) + 1
            if name in HAND_OVER or name in ("read", "write") and int(
                    first) in (INPUT, WAKE, LOG):
                continue
            found.append((name, count[name]))
    every = {name: -(-n // MOST) for name, n in count.items()}
    return [(name, n) for name, n in found
            if n % every[name] == 0 or n == count[name]]


def failing(points):
    """Those that may be made to fail, each with each error."""
    may = [p for p in points if p[0] not in NEVER_FAILED]
    if SOAK:
        return [(p, e) for p in may for e in ERRORS]
    return [(p, ERRORS[i % len(ERRORS)]) for i, p in enumerate(may)]


def inject(what, name, number):
    """Options of strace."""
    return ["-e", "trace=" + name, "-e",
            "inject=%s:%s:when=%d" % (name, what, number)]


def end(m):
    """A process that has shown what it had to: its log says nothing more."""
    m.kill()
    m.show = lambda: None


def check_lines(text):
    """Gapless, but for the line that was not at its end yet."""
    check_gapless(text[:text.rindex("\n") + 1])


# ---- a guest whose snapshots are taken again and again ----

class Chain:
    """A paused guest, its last whole snapshot and what it had said by then."""
    state = "Paused"

    def __init__(self, t, kind, *args):
        self.t, self.kind, self.args = t, kind, args
        self.files = Files(t)
        # A Diff by the log here, by comparing in processes that load.
        self.m = t.boot(ORDERS[kind], args=args, mem=MEM_MIB, machine={
            "track_dirty_pages": kind == "Diff"})
        if kind == "Full":
            self.m.wait_text(TICK)
        else:
            finds_its_pages(self.m) # and has touched all of them
        pause(self.m)
        self.before = "" # said by earlier processes
        self.files.create(self.m)
        self.old = self.text()
        self.old_id = self.snapshot_id()

    def text(self):
        """All that was said until this pause."""
        return self.before + (said(self.m) if self.kind == "Full" else "")

    def snapshot_id(self):
        """That of the state file."""
        with open(self.files.state, "rb") as f:
            return f.read(40)[24:]

    def body(self):
        """Of a create."""
        return self.files.create_body(snapshot_type=self.kind)

    def go_on(self):
        """The guest does more, and is paused again."""
        n = len(ticks(self.m.console()))
        resume(self.m)
        if self.kind == "Full":
            wait_for(lambda: len(ticks(self.m.console())) > n, "a tick")
        else:
            time.sleep(0.01)
        pause(self.m)

    def trace(self):
        """The calls of one create."""
        with traced(self.m, HELPER):
            self.m.api.put("/snapshot/create", self.body())
        self.accept()
        return calls(self.m.trace)

    def accept(self):
        """Which of the two is there now is the old one from here on."""
        verify(self.t, self.files)
        if self.snapshot_id() != self.old_id:
            self.old, self.old_id = self.text(), self.snapshot_id()

    def check_names(self):
        """Both files, and nothing else of theirs."""
        check_equal(sorted(n for n in os.listdir(self.t.folder)
                           if n.startswith("snap")),
                    ["snap.mem", "snap.state"], "files")

    def load(self):
        """In another process, which goes on where the snapshot was."""
        m = self.t.monitor(*self.args)
        m.api.put("/snapshot/load", self.files.load_body(resume_vm=True))
        if self.kind == "Full":
            m.wait_text(TICK)
            pause(m)
            check_lines(self.old + said(m))
        else:
            finds_its_pages(m)
            pause(m)
        return m

    def replace(self):
        """The process is gone: one that was loaded takes its place."""
        end(self.m)
        self.before = self.old
        self.m = self.load()


class LiveChain(Chain):
    """The same of a guest that runs all the time."""
    state = "Running"

    def __init__(self, t, *args):
        super().__init__(t, "Diff", *args)
        resume(self.m)

    def body(self):
        return self.files.create_body(live=True)

    def go_on(self):
        time.sleep(0.01)

    def load(self):
        m = super().load()
        resume(m)
        return m


def finds_its_pages(m):
    """It writes each page once more, and says nothing of one that is wrong."""
    start = int(m.wait_text(WRITTEN).group(1))

    def round_is_done():
        check("FAIL" not in m.console(), m.console())
        return int(re.findall(WRITTEN, m.console(), re.M)[-1]) > start + PAGES
    wait_for(round_is_done, "pages written")


def verify(t, files):
    """The pair on the disk is one snapshot, every byte of it."""
    done = subprocess.run([t.ctl, "snapshot", "verify", files.state, files.mem],
                          check=False, capture_output=True, text=True)
    check(done.returncode == 0, done.stdout + done.stderr)


def prepared(t, kind, *args):
    """A Chain, if there are such snapshots, and the tool that checks them."""
    t.ctl = os.environ.get("MAYFLYCTL", os.path.join(
        os.path.dirname(monitor.MAYFLY[-1]), "mayflyctl"))
    chain = LiveChain(t, *args) if kind == "Live" else Chain(t, kind, *args)
    status, answer = chain.m.api.call("PUT", "/snapshot/create", chain.body())
    if status == 400 and "not supported" in answer["fault_message"]:
        raise Skip("%s: %s" % (kind, answer["fault_message"]))
    check_equal(status, 204, "status of a create")
    chain.accept()
    return chain


def create_fails(t, kind, restored=False):
    """At each call with each error: refused, or done without it."""
    # strace fails a call by making it number -1, which a filter kills.
    chain = prepared(t, kind, "--no-seccomp")
    if restored:
        chain.replace()
    points = share(failing(chain.trace()), 16 if kind == "Live" else 35)
    before = figures(chain.m)
    for (name, number), error in points:
        chain.go_on()
        with traced(chain.m, HELPER, *inject("error=" + error, name, number)):
            status, answer = chain.m.api.call("PUT", "/snapshot/create",
                                              chain.body())
        where = "%s %d: %s: %d %s" % (name, number, error, status, answer)
        check(status in (204, 400), where)
        check_equal(chain.m.api.get("/")["state"], chain.state, where)
        check(status == 204 or answer["fault_message"], where)
        old_id = chain.old_id
        chain.accept()
        check(status == 400 or chain.old_id != old_id, where)
        chain.check_names()
        check_equal(figures(chain.m)[0], before[0], "descriptors, " + where)
        if SOAK:
            end(chain.load())
    end(chain.load())
    if kind == "Live":
        finds_its_pages(chain.m)
        # The last call gives memory back, and the last error was its.
        chain.m.api.put("/snapshot/create", chain.body())
    chain.go_on()
    after = figures(chain.m)
    check(after[1] < before[1] + KIB_GROWN, "%d KiB, then %d"
          % (before[1], after[1]))
    return len(points)


def killed(m, request):
    """Whether it was, in the middle of that; a Diff has not always the same
    number of calls."""
    try:
        request()
    except (OSError, http.client.HTTPException):
        check_equal(m.wait_exit(), -signal.SIGKILL, "exit code")
        return True
    return False


def remove_leftovers(t):
    """What a create that was killed has left under names of its own."""
    for name in os.listdir(t.folder):
        if re.match(r"snap\.(mem|state)\.[0-9a-f]{16}$", name):
            os.unlink(t.path(name))


def create_is_killed(t, kind):
    """Before each call: what is there then is loaded and goes on."""
    chain = prepared(t, kind)
    chain.replace()
    points = share(chain.trace(), 8)
    count = 0
    for name, number in points:
        chain.go_on()
        new = chain.text()
        with traced(chain.m, HELPER, *inject("signal=KILL", name, number)):
            was_killed = killed(chain.m, lambda: chain.m.api.put(
                "/snapshot/create", chain.body()))
        verify(t, chain.files)
        if chain.snapshot_id() != chain.old_id:
            chain.old, chain.old_id = new, chain.snapshot_id()
        remove_leftovers(t)
        chain.check_names()
        if was_killed:
            count += 1
            chain.replace()
    check(count > len(points) // 2, "only %d of %d were killed"
          % (count, len(points)))
    return count


def create_fails_at_each_call(t):
    """a create that fails at any call leaves a whole snapshot and a guest"""
    say("failed creates", create_fails(t, "Full"))


def diff_fails_at_each_call(t):
    """the same of a Diff over the memory file"""
    say("failed diffs", create_fails(t, "Diff"))


def create_killed_before_each_call(t):
    """a create that is killed at any call leaves a whole snapshot"""
    say("killed creates", create_is_killed(t, "Full"))


def diff_killed_before_each_call(t):
    """the same of a Diff over the memory file"""
    say("killed diffs", create_is_killed(t, "Diff"))


def live_fails_at_each_call(t):
    """the same of a live one: the guest runs on, whichever way it is saved"""
    for restored in False, True:
        say("failed live creates", create_fails(t, "Live", restored))


def live_killed_before_each_call(t):
    """a live one that is killed at any call leaves a whole snapshot"""
    say("killed live creates", create_is_killed(t, "Live"))


def say(what, count):
    """For the log: how much was tried."""
    print("# %s: %d" % (what, count))


# ---- loads ----

class Loader:
    """A process that has not loaded anything, perhaps after failures."""

    def __init__(self, t, files, said_before, *args):
        self.t, self.files, self.args = t, files, args
        self.said_before = said_before
        self.m = None

    def fresh(self):
        """The process; a new one if the last has loaded. A first load that
        fails late takes what later ones use again."""
        if self.m is None:
            self.m = self.t.monitor(*self.args)
            self.m.api.get("/")
            with open(self.files.state, "rb") as f:
                state = bytearray(f.read())
            state[-1] ^= 1
            bad = Files(self.t, "bad")
            with open(bad.state, "wb") as f:
                f.write(state)
            self.m.api.refused("PUT", "/snapshot/load",
                               bad.load_body(self.files.mem))
        return self.m

    def try_load(self):
        """(status, answer)"""
        return self.m.api.call("PUT", "/snapshot/load",
                               self.files.load_body(resume_vm=True))

    def check_runs(self):
        """What was loaded goes on where it was; and the process ends."""
        self.m.wait_text(TICK)
        pause(self.m)
        check_lines(self.said_before + said(self.m))
        end(self.m)
        self.m = None


def load_points(loader, name):
    """The calls of a thread in one load."""
    m = loader.fresh()
    with traced(m, name):
        check_equal(loader.try_load()[0], 204, "status of a load")
    loader.check_runs()
    return calls(m.trace)


def load_fails_in(t, loader, name, of=45):
    """At each call of that thread: refused, and the process can try again."""
    points = share(failing(load_points(loader, name)), of)
    held = None
    for i, ((call, number), error) in enumerate(points):
        m = loader.fresh()
        with traced(m, name, *inject("error=" + error, call, number)):
            status, answer = loader.try_load()
        where = "%s: %s %d: %s: %s %s" % (name, call, number, error, status,
                                          answer)
        check(status in (204, 400), where)
        if status == 204:
            loader.check_runs()
            held = None
            continue
        check_equal(m.api.get("/")["state"], "Not started", where)
        now = figures(m)[0]
        check(held in (None, now), "%d descriptors, then %d, %s"
              % (held or 0, now, where))
        held = now
        if i % (1 if SOAK else 8) == 0:
            check_equal(loader.try_load()[0], 204, "again, after " + where)
            loader.check_runs()
            held = None
    return len(points)


def load_fails_at_each_call(t):
    """a load that fails at any call leaves a process that can try again"""
    chain = prepared(t, "Full")
    end(chain.m)
    loader = Loader(t, chain.files, chain.old, "--no-seccomp")
    for name in HELPER, MAIN:
        say("failed loads, " + name, load_fails_in(t, loader, name))


def load_killed_before_each_call(t):
    """a load that is killed at any call leaves the snapshot as it was"""
    chain = prepared(t, "Full")
    end(chain.m)
    before = chain.files.contents()
    loader = Loader(t, chain.files, chain.old)
    for name in HELPER, MAIN:
        points = share(load_points(loader, name), 6)
        for call, number in points:
            m = loader.fresh()
            with traced(m, name, *inject("signal=KILL", call, number)):
                was_killed = killed(m, loader.try_load)
            check(was_killed, "%s %d: not killed" % (call, number))
            end(m)
            loader.m = None
            check(chain.files.contents() == before, "%s %d: the files changed"
                  % (call, number))
        say("killed loads, " + name, len(points))
    end(chain.load())


TESTS = [
    create_fails_at_each_call, create_killed_before_each_call,
    diff_fails_at_each_call, diff_killed_before_each_call,
    live_fails_at_each_call, live_killed_before_each_call,
    load_fails_at_each_call, load_killed_before_each_call,
]
