# SPDX-License-Identifier: Apache-2.0
"""A program in place of the monitor tries to get out. Run by jailer.py.

What it tries is in tests/jailer/escape; what it must be answered is here, and
docs/security.md lists the same names.
"""
import contextlib
import errno
import os
import re
import shutil
import signal
import socket
import subprocess
import sys

from jail_host import (ESCAPE, GID, Jail, LIBC, MAYFLY, UID, has_landlock,
                       read, said, without_jail, write)
from jailer_ends import SECCOMP_ERRNO, filtered
from monitor import TOP, Skip, check, check_equal, wait_for

CTL = os.path.join(os.path.dirname(MAYFLY), "mayflyctl")
KEYCTL, ADD_KEY, JOIN_SESSION, SESSION_KEYRING = 250, 248, 1, -3
IPC_CREAT, IPC_RMID = 0o1000, 0
LANDLOCK_CREATE_RULESET = 444

# Refused by the root, the ids, the capabilities, the namespaces.
REFUSED = {
    "ENOENT": """open a host file by ..; open a host file by /proc/1/root;
        open the kernel's log; open /proc; open a new terminal;
        make a hard link to a host file; rename a host file;
        watch a host file; reach a host socket by ..;
        open a POSIX queue of the host; open a host file by io_uring""",
    "EPERM": """leave by chroot and a descriptor; open by handle;
        give a file away; give a file capabilities; make a file append-only;
        mount a file system; mount /proc; bind mount; remount; unmount;
        pivot_root; fsopen; open_tree; move_mount; mount_setattr; chroot;
        watch the whole mount; swap to a file; make a user namespace;
        make a user and a mount namespace; clone into a user namespace;
        make a mount namespace; make a network namespace;
        make a PID namespace; join the mounts of a host process;
        trace a host process; attach to a host process;
        read the memory of a host process; write the memory of a host process;
        take a descriptor of a host process; compare with a host process;
        signal a host process; signal a host process by pidfd;
        queue a signal to a host process; signal all processes;
        move the memory of a host process;
        read the robust list of a host process; limit a host process;
        place a host process; slow a host process;
        slow the I/O of a host process; be real-time; be real-time in I/O;
        become another user; become another group; join group 0;
        become another user for files; raise capabilities;
        raise inheritable capabilities; raise ambient capabilities;
        unlock the secure bits; keep capabilities; raise the limit of files;
        raise the limit of core files; move the program's own memory map;
        choose a process id; restart the host; set the time; adjust the time;
        name the host; name the domain; set the level of the log;
        stop accounting; hang up the terminal; load a BPF program;
        make a BPF map; stop the kernel at faults; move shared memory;
        load a module; load a module from a file; remove a module;
        load a kernel; load a kernel from a file; reach all ports;
        reach a port; see the frames of an interface; send raw packets;
        change an interface by netlink; change an interface by ioctl;
        make a TAP; mark packets; force buffers""",
    "EACCES": """advise on the memory of a host process;
        watch a host process by perf; watch a whole processor by perf;
        be nicer than nice; read a key of the caller""",
    "ENOKEY": "find a key of the caller",
    "EINVAL": "look at a message queue of the host",
    "ETXTBSY": "write to the running program"}
# By Landlock alone, or sooner by it.
LANDLOCK = {
    "EACCES": """make the node of a disk; make the node of memory;
        make a FIFO; make a symbolic link; make a folder; run a copy;
        run a set-user-id file; replace the program and run it;
        reach the host by TCP; listen on TCP""",
    "EPERM": "reach an abstract socket"}
# By nothing but the filters, which every monitor has.
FILTERED = """run from memory; send UDP to the host; read the routes;
    open a vsock"""
# The same for user 0, whose the host's processes are, where it sees them.
FILTERED_0 = "limit a host process"
# These fail outside, too: the answer is no proof. Kernels without modules,
# kexec or I/O ports refuse the rest of them to everybody.
SAME_OUTSIDE = """write to the running program; raise the limit of files;
    move the program's own memory map; signal all processes"""
KILLED = "SYS"


def listed(text):
    """The names."""
    return [" ".join(name.split()) for name in text.split(";")]


def answers(table):
    """{name: errno}"""
    return {name: code for code, text in table.items()
            for name in listed(text)}


class Host:
    """What the program could reach: a file, a socket, a process, ..."""

    def __init__(self, case, stack):
        outside = case.path("outside")
        os.mkdir(outside)
        write(outside + "/file", "secret")
        unix = stack.enter_context(socket.socket(socket.AF_UNIX))
        unix.bind(outside + "/file.sock")
        abstract = stack.enter_context(socket.socket(socket.AF_UNIX))
        abstract.bind(b"\0mayfly-test")
        tcp = stack.enter_context(socket.socket())
        tcp.bind(("127.0.0.1", 0))
        for s in unix, abstract, tcp:
            s.listen()
        LIBC.syscall(KEYCTL, JOIN_SESSION, None)
        key = LIBC.syscall(ADD_KEY, b"user", b"mayfly-test", b"secret", 6,
                           SESSION_KEYRING)
        queue = LIBC.msgget(0, 0o600 | IPC_CREAT)
        stack.callback(LIBC.msgctl, queue, IPC_RMID, None)
        LIBC.mq_open(b"/mayfly-test", os.O_RDWR | os.O_CREAT, 0o600, None)
        stack.callback(LIBC.mq_unlink, b"/mayfly-test")
        self.victim = stack.enter_context(victim())
        self.words = ["outside=%s/file" % outside,
                      "victim=%d" % self.victim.pid, "key=%d" % key,
                      "queue=%d" % queue, "port=%d" % tcp.getsockname()[1]]

    def signals(self):
        """How many have reached the process so far."""
        os.kill(self.victim.pid, signal.SIGCONT)
        os.kill(self.victim.pid, signal.SIGUSR1)
        return int(self.victim.stdout.readline())


@contextlib.contextmanager
def victim():
    """A process of root that counts a signal, and tells by another."""
    code = """import signal
n = 0
def count(*_):
    global n
    n += 1
signal.signal(signal.SIGWINCH, count)
signal.signal(signal.SIGUSR1, lambda *_: print(n, flush=True))
print("ready", flush=True)
while True:
    signal.pause()"""
    with subprocess.Popen([sys.executable, "-c", code], text=True,
                          stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE) as process:
        try:
            process.stdout.readline()
            yield process
        finally:
            process.kill()


def stage(folder):
    """What an attempt wants to find in a root."""
    shutil.copy(ESCAPE, folder + "/set-uid")
    os.chmod(folder + "/set-uid", 0o4755)


def outside(case, host):
    """The answers that root gets who is in no jail."""
    root = case.path("no-jail")
    for name in "run", "dev/net":
        os.makedirs(os.path.join(root, name))
    os.mknod(root + "/dev/net/tun", 0o20600, os.makedev(10, 200))
    stage(root)
    program = shutil.copy(ESCAPE, root)
    return said(without_jail(program, *host.words, "root=" + root))


def inside(case, host, uid, flags=(), code=None, name="u", **popen):
    """The answers in a jail, under a filter of this code if there is one."""
    jail = Jail(case, "%s%d%s" % (name, uid, "f" if code else ""),
                program=ESCAPE, uid=uid)
    os.makedirs(jail.root)
    stage(jail.root)
    words = list(host.words)
    if code:
        shutil.copy(code, jail.path("filter"))
        os.chown(jail.path("filter"), uid, GID if uid else 0)
        words.append("filter=/filter")
    jail.run(*flags, more=words, **popen)
    wait_for(lambda: "\nend: ok" in read(jail.out), "end of attempts")
    return said(read(jail.out))


def check_answers(got, wanted, who):
    """Each as it should be, or by a kernel that has no such call."""
    wrong = ["%s: %s, not %s" % (name, got.get(name), code)
             for name, code in wanted.items()
             if got.get(name) not in (code, "ENOSYS")]
    check(not wrong, "%s: %s" % (who, "; ".join(wrong)))


def escapes(case):
    """more than 60 attempts to get out fail, and would not outside"""
    wanted = answers(REFUSED)
    if has_landlock():
        wanted |= answers(LANDLOCK)
    open_ones = set(listed(FILTERED))
    with contextlib.ExitStack() as stack:
        host = Host(case, stack)
        for uid in (UID, 0):
            got = inside(case, host, uid)
            check_equal(set(got) - open_ones - set(answers(LANDLOCK)) -
                        {"end", "Warning"}, set(answers(REFUSED)), "attempts")
            theirs = dict(wanted)
            if uid == 0:
                del theirs[FILTERED_0]
            check_answers(got, theirs, "user %d" % uid)
        check_equal([host.signals() for _ in range(5)], [0] * 5,
                    "signals that got out")
        free = outside(case, host)
        wait_for(lambda: host.signals() > 0, "signal outside")
    same = {name for name in wanted if free[name] == wanted[name]
            and free[name] != "ENOSYS"}
    check(same <= set(listed(SAME_OUTSIDE)), "fails outside, too: %s" % same)
    proven = [name for name in wanted
              if free[name] not in (wanted[name], "ENOSYS")]
    check(len(proven) >= 60, "%d are proven" % len(proven))
    print("# %d attempts, %d of which are answered otherwise outside"
          % (len(wanted), len(proven)))


def escapes_in_namespaces(case):
    """user 0 with --new-pid-ns and --new-net-ns sees nothing of the host"""
    with contextlib.ExitStack() as stack:
        host = Host(case, stack)
        got = inside(case, host, 0, ("--new-pid-ns", "--new-net-ns"))
        left = {name for name, answer in got.items() if answer == "ok"}
        check(left <= {"end", "run from memory", "read the routes",
                       "open a vsock"} | (set() if has_landlock() else
                                          set(answers(LANDLOCK))), left)
        for name in "trace", "signal", "limit":
            check_equal(got[name + " a host process"], "ESRCH", name)
        check_equal(got["send UDP to the host"], "ENETUNREACH", "UDP")
        check_equal(host.signals(), 0, "signals that got out")


def escapes_filtered(case):
    """under the widest filter none gets out, and most end the program"""
    table = case.path("table")
    with open(table, "w", encoding="utf-8") as f:
        subprocess.run([CTL, "seccomp-list", "--json"], stdout=f, check=True)
    code = case.path("code")
    subprocess.run([CTL, "seccomp-compile", "-o", code, table], check=True)
    wanted = answers(REFUSED) | answers(LANDLOCK) | {
        name: KILLED for name in listed(FILTERED)}
    with contextlib.ExitStack() as stack:
        host = Host(case, stack)
        for uid in (UID, 0):
            got = inside(case, host, uid, code=code)
            wrong = {name: got[name] for name, answer in wanted.items()
                     if got[name] not in (answer, KILLED)}
            check(not wrong, "user %d: %s" % (uid, wrong))
            check_equal(got[FILTERED_0], KILLED, FILTERED_0)
            check(sum(a == KILLED for a in got.values()) > 100, "killed")


def older_landlock(case):
    """kernels with less of Landlock, or none: what they have is used"""
    if not has_landlock():
        raise Skip("landlock: not all of it")
    einval, enosys = (SECCOMP_ERRNO | e for e in (errno.EINVAL, errno.ENOSYS))
    # Without scopes; without network, too: the rule set is shorter.
    scopes = filtered(LANDLOCK_CREATE_RULESET, 24, einval, 1)
    network = filtered(LANDLOCK_CREATE_RULESET, 16, einval, 1)
    all_of_it = filtered(LANDLOCK_CREATE_RULESET, None, enosys)
    tcp = {"reach the host by TCP", "listen on TCP"}
    files = set(answers(LANDLOCK)) - tcp - {"reach an abstract socket"}
    with contextlib.ExitStack() as stack:
        host = Host(case, stack)
        for name, lacks, still in (("a", (scopes,), files | tcp),
                                   ("b", (scopes, network), files),
                                   ("c", (all_of_it,), ())):
            got = inside(case, host, UID, name=name, preexec_fn=lambda
                         lacks=lacks: [lack() for lack in lacks])
            check_answers(got, answers(REFUSED) | {
                x: answers(LANDLOCK)[x] for x in still}, name)
            for x in tcp | {"make a folder", "run a copy",
                            "reach an abstract socket"}:
                check_equal(got[x] == "ok", x not in still, name + ": " + x)


def escapes_listed(_):
    """docs/security.md names each attempt and what stops it, and no other"""
    text = read(os.path.join(TOP, "docs/security.md"))
    part = re.search(r"\n## Attempts\n(.*?)\n## ", text, re.S)
    check(part, "no list")
    named = {}
    for kind, names in re.findall(r"^\* \*\*(.*?)\*\*: (.*?)(?=^\*|\Z|^$)",
                                  part[1], re.M | re.S):
        named[kind] = sorted(listed(names.strip().rstrip(".")))
    check_equal(named, {
        "By the jail": sorted(answers(REFUSED)),
        "By Landlock": sorted(answers(LANDLOCK)),
        "By the filters": sorted(listed(FILTERED))}, "docs/security.md")
    total = re.search(r"(\d+) attempts", part[1])
    check_equal(int(total[1]), sum(map(len, named.values())), "their number")


TESTS = [escapes, escapes_in_namespaces, escapes_filtered, older_landlock,
         escapes_listed]
