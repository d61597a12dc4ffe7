#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Make jails, look at them from outside and inside, take them away. TAP.

usage: jailer.py [NAME...]     tests whose names hold one of the NAMEs

See monitor.py for the environment; further:
  JAILER       the jailer (build/bin/mayfly-jailer)
  JAIL_PROBE   the program that tries things (build/tests/jail_probe)

Needs root. Everything happens in a mount namespace of its own, in a temporary
folder and in cgroups called mayfly-test. Exit code 77: cannot run here.
"""
import concurrent.futures
import ctypes
import multiprocessing
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time

import monitor
from monitor import SOAK, Skip, TOP, check, check_equal, wait_for

JAILER = os.environ.get("JAILER", os.path.join(TOP, "build/bin/mayfly-jailer"))
PROBE = os.environ.get("JAIL_PROBE", os.path.join(TOP, "build/tests/jail_probe"))
MAYFLY = monitor.MAYFLY[-1]
UID, GID = 31001, 31002
LIBC = ctypes.CDLL(None, use_errno=True)
CLONE_NEWNS, MS_SHARED, MS_PRIVATE, MS_REC = 0x20000, 1 << 20, 1 << 18, 1 << 14
MS_BIND, MNT_DETACH, PR_SET_CHILD_SUBREAPER, RENAME_EXCHANGE = 4096, 2, 36, 2
CGROUP = "mayfly-test"


def syscall(result, what):
    """Its result, or the error it set."""
    if result < 0:
        raise OSError(ctypes.get_errno(), what)
    return result


def mount(source, target, kind=None, flags=0):
    """mount(2)"""
    enc = lambda s: s.encode() if s else None
    syscall(LIBC.mount(enc(source), enc(target), enc(kind),
                       ctypes.c_ulong(flags), None), "mount " + target)


def umount(target):
    """umount2(2), at once"""
    syscall(LIBC.umount2(target.encode(), MNT_DETACH), "umount " + target)


def mounts():
    """This namespace's mount table, without ids that count up."""
    with open("/proc/self/mounts", encoding="utf-8") as f:
        return f.read()


def read(path):
    """A file's text."""
    with open(path, encoding="utf-8", errors="replace") as f:
        return f.read()


def write(path, text):
    """A file with text."""
    with open(path, "w", encoding="utf-8") as f:
        f.write(text)


def listing(folder):
    """Everything about a tree: kinds, owners, contents."""
    found = []
    for path, dirs, files in os.walk(folder):
        for name in sorted(dirs + files):
            full = os.path.join(path, name)
            st = os.lstat(full)
            text = ""
            if stat.S_ISREG(st.st_mode):
                text = read(full)
            elif stat.S_ISLNK(st.st_mode):
                text = os.readlink(full)
            found.append((full, st.st_mode, st.st_uid, st.st_gid, st.st_nlink,
                          st.st_rdev, text))
    return sorted(found)


class Jail:
    """One jail in the case's folder; removed, with force, at the end."""

    def __init__(self, case, name="vm", program=PROBE, uid=UID, base="base"):
        self.base = case.path(base)
        os.makedirs(self.base, exist_ok=True)
        self.name, self.program, self.uid = name, program, uid
        self.exec_name = os.path.basename(program)
        self.folder = os.path.join(self.base, self.exec_name, name)
        self.root = os.path.join(self.folder, "root")
        self.process = None
        self.out = case.path("out-" + name)
        case.monitors.append(self)

    def path(self, name):
        """Inside, seen from the host."""
        return os.path.join(self.root, name)

    def args(self, *flags, more=()):
        """The command line."""
        return [JAILER, "--id", self.name, "--uid", str(self.uid), "--gid",
                str(GID if self.uid else 0), "--exec-file", self.program,
                "--chroot-base-dir", self.base, *flags, "--", *more]

    def start(self, *flags, more=(), **popen):
        """Run it; the output goes to a file."""
        popen.setdefault("stdin", subprocess.DEVNULL)
        with open(self.out, "wb") as out:
            self.process = subprocess.Popen(
                self.args(*flags, more=more), stdout=out, stderr=out, **popen)
        return self

    def run(self, *flags, more=(), code=0, **popen):
        """Run it to its end; what it said."""
        self.start(*flags, more=more, **popen)
        done = self.process.wait(monitor.DEADLINE_S)
        check(done == code, "exit code %d, not %d: %s" % (done, code,
                                                          read(self.out)))
        return read(self.out)

    def remove(self, *flags, code=0):
        """--remove; what it said."""
        done = subprocess.run(
            [JAILER, "--remove", "--id", self.name, "--chroot-base-dir",
             self.base, "--exec-file", self.program, *flags],
            capture_output=True, text=True, check=False)
        check(done.returncode == code, "--remove: %d %s" % (done.returncode,
                                                            done.stderr))
        return done.stderr

    def pid(self):
        """That of the program, by the pid file."""
        wait_for(lambda: os.path.exists(self.path(self.exec_name + ".pid")) and
                 read(self.path(self.exec_name + ".pid")), "pid file")
        return int(read(self.path(self.exec_name + ".pid")))

    def api(self, sock="run/firecracker.socket"):
        """A connection to the monitor's API; the folder may be long."""
        wait_for(lambda: os.path.exists(self.path(sock)), "API socket")
        os.chdir(os.path.dirname(self.path(sock)))
        api = monitor.Api(os.path.basename(sock))
        wait_for(lambda: not connect_fails(api), "API")
        os.chdir("/")
        return api

    def kill(self):
        """End what runs."""
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        pid_file = self.path(self.exec_name + ".pid")
        if not os.path.isfile(pid_file):
            return
        try:
            pid = int(read(pid_file))
            same = os.stat("/proc/%d/root" % pid).st_ino == \
                os.stat(self.root).st_ino
            if same:
                os.kill(pid, signal.SIGKILL)
        except (OSError, ValueError):
            pass
        reap()

    def show(self):
        """What helps."""
        for line in (read(self.out) if os.path.exists(self.out)
                     else "").splitlines()[-40:]:
            print("# " + line)


def connect_fails(api):
    """Whether nobody listens yet."""
    try:
        api.connect()
    except (FileNotFoundError, ConnectionRefusedError):
        return True
    return False


def reap():
    """Children of children come here, this being their subreaper."""
    for _ in range(200):
        try:
            if os.waitpid(-1, os.WNOHANG)[0] == 0:
                return
        except ChildProcessError:
            return


def status(pid):
    """/proc/PID/status as a dictionary."""
    return dict(line.split(":", 1) for line in
                read("/proc/%d/status" % pid).splitlines())


def check_no_privileges(pid):
    """All five sets, the bits and the ids."""
    now = {k: v.strip() for k, v in status(pid).items()}
    for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        check_equal(int(now[name], 16), 0, name)
    check_equal(now["NoNewPrivs"], "1", "NoNewPrivs")
    check_equal(now["Groups"], "", "groups")
    return now


def owned(path, mode, uid=UID, gid=GID):
    """Owner and mode."""
    st = os.lstat(path)
    check_equal((oct(st.st_mode), st.st_uid, st.st_gid),
                (oct(mode), uid, gid), path)
    return st


def said(text):
    """The probe's lines."""
    return dict(line.split(": ", 1) for line in text.splitlines()
                if ": " in line)


# ---- what a jail is ----

def layout(case):
    """layout, owners, modes, pid file, name, limits, nothing of the host"""
    jail = Jail(case, program=MAYFLY)
    before = mounts()
    jail.start(more=("--api-sock", "api.sock"))
    pid = jail.pid()
    check_equal(pid, jail.process.pid, "the pid is the jailer's")
    jail.api("api.sock").get("/version")
    for name in ("", "dev", "dev/net", "run"):
        owned(jail.path(name), stat.S_IFDIR | 0o700)
    owned(jail.path(jail.exec_name), stat.S_IFREG | 0o755)
    check_equal(read(jail.path(jail.exec_name + ".pid")), str(pid), "pid file")
    for name, major, minor in (("kvm", 10, 232), ("net/tun", 10, 200),
                               ("urandom", 1, 9)):
        st = owned(jail.path("dev/" + name), stat.S_IFCHR | 0o600)
        check_equal(st.st_rdev, os.makedev(major, minor), name)
    owned(jail.folder, stat.S_IFDIR | 0o755, 0, 0)
    check_equal(read("/proc/%d/comm" % pid).strip(), jail.exec_name[:15],
                "thread name")
    check_equal(os.readlink("/proc/%d/cwd" % pid), "/", "working folder")
    limits = read("/proc/%d/limits" % pid)
    check("Max open files            2048                 2048" in limits
          and "Max core file size        0                    0" in limits,
          limits)
    inside = read("/proc/%d/mountinfo" % pid).splitlines()
    check(len(inside) == 1 and inside[0].split()[4] == "/", str(inside))
    check_equal(mounts(), before, "the host's mount table")
    check_equal(read("/proc/%d/environ" % pid), "", "environment")
    words = read("/proc/%d/cmdline" % pid).split("\0")
    check_equal(words[:4], ["/" + jail.exec_name, "--id", "vm",
                            "--start-time-us"], "command line")
    check_equal(words[-3:-1], ["--api-sock", "api.sock"], "command line")
    check_no_privileges(pid)


def boots(case):
    """a guest boots in a jail, from files staged before the start"""
    jail = Jail(case, program=MAYFLY)
    os.makedirs(jail.path("images"))
    shutil.copy(os.path.join(monitor.NANO, "nano.elf"), jail.path("images"))
    os.chown(jail.path("images"), UID, GID)
    jail.start()
    api = jail.api()
    api.put("/boot-source", {"kernel_image_path": "images/nano.elf",
                             "boot_args": "nano.run=hello"})
    api.put("/logger", {"log_path": "run/log"})
    api.put("/metrics", {"metrics_path": "/metrics"})
    api.put("/actions", {"action_type": "InstanceStart"})
    check_equal(jail.process.wait(monitor.DEADLINE_S), 0, "exit code")
    check("nano: done" in read(jail.out), "the guest was not done")
    check("Running" in read(jail.path("run/log")) or
          read(jail.path("run/log")), "no log")
    owned(jail.path("metrics"), stat.S_IFREG | 0o644)


PROBED = {
    "file made": "ok", "file removed": "ok", "socket bound": "ok",
    "kvm opened": "ok", "tun opened": "ok", "urandom opened": "ok",
    "root left": "ENOENT", "proc read": "ENOENT", "terminal opened": "ENOENT",
    "mounted": "EPERM", "root changed": "EPERM", "namespace made": "EPERM",
    "became user 0": "EPERM", "bits unlocked": "EPERM"}
LANDLOCKED = {
    "folder made": "EACCES", "link made": "EACCES", "fifo made": "EACCES",
    "node made": "EACCES", "copy executed": "EACCES", "tcp bound": "EACCES",
    "abstract socket reached": "EPERM", "parent signalled": "EPERM"}


def probes(case):
    """from inside: what a monitor needs works, the rest fails"""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(b"\0mayfly-test")
        listener.listen()
        for uid in (UID, 0):
            jail = Jail(case, "u%d" % uid, uid=uid)
            os.makedirs(jail.root)
            shutil.copy(PROBE, jail.path("staged"))
            text = said(jail.run())
            for name, result in (PROBED | (
                    LANDLOCKED if has_landlock() else {})).items():
                check_equal(text[name], result, "%s, user %d" % (name, uid))
            check_equal(text["host"], jail.name, "host name")


def has_landlock():
    """Whether the kernel has it, with scopes."""
    return LIBC.syscall(444, None, 0, 1) >= 6


def inherited(case):
    """descriptors, environment, signals, umask, timers, closed stdio: clean"""
    def dirty():
        for _ in range(1000):
            os.dup(0)
        os.dup2(os.open("/", os.O_RDONLY), 4000)
        for fd in range(3, 1100):
            try:
                os.set_inheritable(fd, True)
            except OSError:
                pass
        os.set_inheritable(4000, True)
        os.umask(0)
        signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 64))
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
        signal.setitimer(signal.ITIMER_VIRTUAL, 1000)
    jail = Jail(case, "a")
    text = said(jail.run(preexec_fn=dirty, close_fds=False,
                         env={"SECRET": "x", "LD_PRELOAD": "y"}))
    check_equal(text["descriptors"], "0 1 2", "descriptors")
    check_equal(text["signals"], "0", "signals")
    check_equal(text["environment"], "0", "environment")
    check_equal(text["umask"], "22", "umask")

    def close_stdin():
        os.close(0)
    jail = Jail(case, "b")
    text = said(jail.run(preexec_fn=close_stdin))
    check_equal(text["descriptors"], "0 1 2", "descriptors")


def verbatim(case):
    """arguments behind -- arrive as they are, in their order"""
    words = ["--api-sock", "a b", "", "--", "--id", "é\n", "-x=", "--help"]
    jail = Jail(case)
    text = jail.run(more=words)
    line = text[text.index("arguments:"):]
    check("".join(" [%s]" % w for w in words) in line, line)
    check("[/jail_probe] [--id] [vm] [--start-time-us] [" in line, line)


# ---- flags ----

def user_zero(case):
    """--uid 0 --gid 0: a warning, and no capability either"""
    jail = Jail(case, program=MAYFLY, uid=0)
    jail.start()
    jail.api().get("/")
    now = check_no_privileges(jail.pid())
    check_equal(now["Uid"].split(), ["0"] * 4, "uid")
    check("Warning! The program runs with uid 0" in read(jail.out), "warning")


def pid_namespace(case):
    """--new-pid-ns: process 1; the jailer ends with 0 after the pid file"""
    jail = Jail(case, program=MAYFLY)
    jail.start("--new-pid-ns")
    check_equal(jail.process.wait(monitor.DEADLINE_S), 0, "exit code")
    pid = int(read(jail.path(jail.exec_name + ".pid")))
    check_equal(status(pid)["NSpid"].split(), [str(pid), "1"], "pids")
    jail.api().get("/version")
    check_no_privileges(pid)


def daemon(case):
    """--daemonize, alone and with --new-pid-ns: own session, /dev/null"""
    for flags in ((), ("--new-pid-ns",)):
        jail = Jail(case, "d%d" % len(flags), program=MAYFLY)
        jail.run("--daemonize", *flags)
        pid = jail.pid()
        jail.api().get("/version")
        check_equal(os.getsid(pid), pid, "session")
        fields = read("/proc/%d/stat" % pid).rsplit(")", 1)[1].split()
        check_equal(fields[4], "0", "terminal")
        for fd in range(3):
            check_equal(os.readlink("/proc/%d/fd/%d" % (pid, fd)),
                        "/dev/null", "stdio")
        check_no_privileges(pid)


def network(case):
    """the caller's network, that of --netns, or none by --new-net-ns"""
    jail = Jail(case, "a", program=MAYFLY).start()
    here = os.readlink("/proc/self/ns/net")
    net = lambda j: os.readlink("/proc/%d/ns/net" % j.pid())
    jail.api()
    check_equal(net(jail), here, "the caller's")
    jail = Jail(case, "b", program=MAYFLY).start("--new-net-ns")
    jail.api()
    check(net(jail) != here, "still the caller's")
    with subprocess.Popen(["unshare", "-n", "sleep", "600"]) as other:
        path = "/proc/%d/ns/net" % other.pid
        try:
            wait_for(lambda: os.readlink(path) != here, "namespace")
            os.symlink(path, case.path("net"))
            jail = Jail(case, "c", program=MAYFLY)
            jail.start("--netns", case.path("net"))
            jail.api()
            check_equal(net(jail), os.readlink(path), "the one given")
        finally:
            other.kill()


def limits(case):
    """--resource-limit sets both, hard and soft"""
    jail = Jail(case, program=MAYFLY)
    jail.start("--resource-limit", "fsize=123456", "--resource-limit",
               "no-file=700")
    jail.api()
    text = read("/proc/%d/limits" % jail.pid()).split("\n")
    find = lambda n: [x for x in text if x.startswith(n)][0].split()[-3:-1]
    check_equal(find("Max file size"), ["123456"] * 2, "file size")
    check_equal(find("Max open files"), ["700"] * 2, "open files")


def cgroup_mounts(kind):
    """Mount points of a version's hierarchies, with their options."""
    return [(m[1], m[3].split(",")) for m in
            (line.split() for line in mounts().splitlines()) if m[2] == kind]


def cgroup_v1(case):
    """version 1: values, membership, removal"""
    where = {c: m for m, options in cgroup_mounts("cgroup") for c in options}
    if not {"pids", "cpuset", "memory"} <= set(where):
        raise Skip("cgroup: no version 1 with pids, cpuset and memory")
    for flags in ((), ("--new-pid-ns",)):
        jail = Jail(case, "c%d" % len(flags), program=MAYFLY)
        jail.start("--cgroup", "pids.max=77", "--cgroup", "cpuset.cpus=0",
                   "--cgroup", "memory.limit_in_bytes=64M", "--parent-cgroup",
                   CGROUP + "/above", *flags)
        jail.api()
        own = "/%s/above/%s" % (CGROUP, jail.name)
        for name, file, value in (
                ("pids", "pids.max", "77"), ("cpuset", "cpuset.cpus", "0"),
                ("memory", "memory.limit_in_bytes", str(64 << 20))):
            check_equal(read(where[name] + own + "/" + file).strip(), value,
                        file)
            check_equal(read(where[name] + own + "/cgroup.procs").split(),
                        [str(jail.pid())], name)
        jail.remove("--parent-cgroup", CGROUP + "/above", code=1)
        jail.kill()
        jail.remove("--parent-cgroup", CGROUP + "/above")
        for name in ("pids", "cpuset", "memory"):
            check(not os.path.exists(where[name] + own), name + " is left")
            check(os.path.exists(os.path.dirname(where[name] + own)),
                  "the parent is gone")


def cgroup_v2(case):
    """version 2, by its one controller that may be here: hugetlb"""
    found = [m for m, _ in cgroup_mounts("cgroup2")]
    if not found or "hugetlb" not in read(
            found[0] + "/cgroup.controllers").split():
        raise Skip("cgroup: no version 2 with hugetlb")
    jail = Jail(case, program=MAYFLY)
    jail.start("--cgroup", "hugetlb.2MB.max=4194304", "--parent-cgroup",
               CGROUP)
    jail.api()
    own = "%s/%s/vm" % (found[0], CGROUP)
    check_equal(read(own + "/hugetlb.2MB.max").strip(), "4194304", "value")
    check_equal(read(own + "/cgroup.procs").split(), [str(jail.pid())], "in")
    jail.kill()
    jail.remove("--parent-cgroup", CGROUP)
    check(not os.path.exists(own), "it is left")
    # Without values the jail goes into the parent itself, if that is there.
    plain = "%s/%s/plain" % (found[0], CGROUP)
    os.mkdir(plain)
    for name in ("plain", "none"):
        jail = Jail(case, name, program=MAYFLY)
        jail.start("--cgroup-version", "2", "--parent-cgroup",
                   CGROUP + "/" + name)
        jail.api()
        check_equal(str(jail.pid()) in read(plain + "/cgroup.procs").split(),
                    name == "plain", name)


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
    before = mounts()
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
    check_equal(mounts(), before, "the host's mount table")
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


# ---- names that are there already ----

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


def given_by_links(case):
    """program and base may be links; the program is called as it was given"""
    os.symlink(PROBE, case.path("firecracker"))
    os.mkdir(case.path("real"))
    os.symlink(case.path("real"), case.path("base"))
    jail = Jail(case, program=case.path("firecracker"))
    text = jail.run()
    check("[/firecracker]" in text, text)
    check(os.path.isfile(case.path("real/firecracker/vm/root/firecracker")),
          "no copy")
    check(os.path.exists(jail.path("firecracker.pid")), "no pid file")
    jail.remove()
    check(not os.path.exists(jail.folder), "it is left")


def staged(case):
    """folders and files that are there are used, and stay"""
    jail = Jail(case)
    os.makedirs(jail.path("dev/net"))
    os.makedirs(jail.path("run"))
    write(jail.path("run/mine"), "mine")
    write(jail.path("disk"), "disk")
    jail.run()
    check_equal(read(jail.path("run/mine")), "mine", "staged file")
    for name in ("", "dev", "dev/net", "run"):
        owned(jail.path(name), stat.S_IFDIR | 0o700)
    owned(jail.path("disk"), stat.S_IFREG | 0o644, 0, 0)


# ---- mounts ----

def mounts_arrive(case):
    """what the host mounts later arrives inside, unless told otherwise"""
    base = case.path("base")
    os.mkdir(base)
    mount("none", base, "tmpfs")
    try:
        mount(None, base, None, MS_SHARED)
        os.mkdir(case.path("late"))
        write(case.path("late/drive"), "late")
        for flags, arrives in (((), True), (("--private-mounts",), False)):
            jail = Jail(case, "m%d" % len(flags), program=MAYFLY)
            os.makedirs(jail.path("target"))
            os.makedirs(jail.path("early"))
            mount(case.path("late"), jail.path("early"), None, MS_BIND)
            jail.start(*flags)
            pid = jail.pid()
            jail.api()
            inside = "/proc/%d/root/" % pid
            check_equal(read(inside + "early/drive"), "late", "staged mount")
            mount(case.path("late"), jail.path("target"), None, MS_BIND)
            check_equal(os.path.exists(inside + "target/drive"), arrives,
                        "mount inside with %s" % (flags,))
            # The other way: a mount made inside stays there.
            table = mounts()
            subprocess.run(
                ["nsenter", "-t", str(pid), "-m", "--", "/bin/true"],
                check=False, capture_output=True)
            in_namespace(pid, lambda: mount("none", "/run", "tmpfs"))
            check_equal(mounts(), table, "the host's mount table")
            jail.kill()
            # Nothing goes while the host's files are mounted there.
            said_so = jail.remove(code=1)
            check("Something is mounted at" in said_so, said_so)
            check(os.path.exists(jail.path(jail.exec_name)), "half removed")
            umount(jail.path("target"))
            umount(jail.path("early"))
            jail.remove()
            check_equal(read(case.path("late/drive")), "late", "host's file")
    finally:
        umount(base)


def in_namespace(pid, action):
    """Carry it out in a process's mount namespace, as root."""
    child = os.fork()
    if child == 0:
        try:
            fd = os.open("/proc/%d/ns/mnt" % pid, os.O_RDONLY)
            syscall(LIBC.setns(fd, CLONE_NEWNS), "setns")
            action()
        except OSError as e:
            os.write(2, ("%s\n" % e).encode())
            os._exit(1)
        os._exit(0)
    check_equal(os.waitpid(child, 0)[1], 0, "in the jail's namespace")


def refused_mount_flags(case):
    """a base on a nodev or noexec file system is refused by name"""
    base = case.path("base")
    os.mkdir(base)
    for flag, name in ((4, "nodev"), (8, "noexec")):
        mount("none", base, "tmpfs", flag)
        try:
            text = Jail(case, name).run(code=1)
            check("mounted with " + name in text, text)
        finally:
            umount(base)


# ---- ends ----

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


def loop(case):
    """many jails are made and removed, 8 at a time; nothing is left over"""
    rounds = 1000 if SOAK else 24
    before = mounts()
    where = [m for m, options in cgroup_mounts("cgroup") if "pids" in options]
    flags = ("--cgroup", "pids.max=99", "--parent-cgroup", CGROUP) \
        if where else ()
    spaces = lambda: {os.readlink("/proc/%s/ns/mnt" % p)
                      for p in os.listdir("/proc") if p.isdigit()
                      and os.path.exists("/proc/%s/ns/mnt" % p)}

    def one(n):
        jail = Jail(case, "n%d" % n)
        for _ in range(2):
            out = subprocess.run(
                jail.args(*flags, *(("--new-pid-ns",) if n % 2 else ())),
                capture_output=True, text=True, check=False)
            check(out.returncode == 0, out.stderr)
            wait_for(lambda: "in use" not in removed(jail, flags), "removal")
        return n

    def removed(jail, flags):
        done = subprocess.run(
            [JAILER, "--remove", "--id", jail.name, "--chroot-base-dir",
             jail.base, *flags], capture_output=True, text=True, check=False)
        check(done.returncode == 0 or "in use" in done.stderr or
              "busy" in done.stderr, done.stderr)
        return done.stderr
    at_first = spaces()
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        check_equal(sorted(pool.map(one, range(rounds))), list(range(rounds)),
                    "jails")
    reap()
    check_equal(os.listdir(case.path("base/jail_probe")), [], "left over")
    if where:
        check_equal([x for x in os.listdir(where[0] + "/" + CGROUP)
                     if x.startswith("n") and x[1:].isdigit()], [], "cgroups")
    check_equal(mounts(), before, "the host's mount table")
    check(len(spaces() - at_first) <= 2, "mount namespaces are left")


def swap_names(folder, spare, targets, going, turns):
    """Exchange names that the jailer makes for links, and back, for ever."""
    def link(target, path):
        subprocess.run(["rm", "-rf", path], check=False, capture_output=True)
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
        check(self.turns.value > 100, "%d swaps only" % self.turns.value)
        check_equal(listing(self.outside), self.before, "outside")


def clear(folder):
    """Whatever the swapper has made of it."""
    subprocess.run(["rm", "-rf", folder], check=False, capture_output=True)


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


def versions(_):
    """--version in both forms, --help"""
    run = lambda *a, **k: subprocess.run(
        a, capture_output=True, text=True, check=True, **k).stdout
    check(run(JAILER, "--version").startswith("mayfly-jailer v"), "own form")
    check_equal(run("jailer", "--version", executable=JAILER).split("\n")[0],
                "Jailer v1.16.1", "Firecracker's form")
    check("--parent-cgroup" in run(JAILER, "--help"), "help")


TESTS = [versions, layout, boots, probes, inherited, verbatim, user_zero,
         pid_namespace, daemon, network, limits, cgroup_v1, cgroup_v2,
         refusals, not_root, planted, given_by_links, staged, mounts_arrive,
         refused_mount_flags, restart, loop, swapped, removal_swapped]


def sweep_cgroups():
    """What tests leave: parents, which the jailer keeps."""
    for point, _ in cgroup_mounts("cgroup") + cgroup_mounts("cgroup2"):
        for path, _, _ in os.walk(os.path.join(point, CGROUP), topdown=False):
            try:
                os.rmdir(path)
            except OSError as e:
                print("# %s: %s" % (path, e))


def main():
    """All of them."""
    if os.geteuid() != 0:
        print("root: needs root")
        return 77
    with open(MAYFLY, "rb") as f:
        if b"/ld-linux" in f.read(4096):
            print("static: %s is linked dynamically" % MAYFLY)
            return 77
    os.chdir("/")
    syscall(LIBC.unshare(CLONE_NEWNS), "unshare")
    mount(None, "/", None, MS_REC | MS_PRIVATE)
    syscall(LIBC.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0), "prctl")
    try:
        return monitor.main(TESTS)
    finally:
        sweep_cgroups()


if __name__ == "__main__":
    sys.exit(main())
