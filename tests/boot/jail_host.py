# SPDX-License-Identifier: Apache-2.0
"""Jails from outside: made, looked at, removed. For the tests of the jailer.

Environment, beside monitor.py's:
  JAILER       the jailer (build/bin/mayfly-jailer)
  JAIL_PROBE   the program that tells its state (build/tests/jail_probe)
  JAIL_ESCAPE  the program that tries to get out (build/tests/jail_escape)
"""
import ctypes
import os
import shutil
import signal
import stat
import subprocess

import monitor
from monitor import Failed, TOP, check, check_equal, wait_for

JAILER = os.environ.get("JAILER", os.path.join(TOP, "build/bin/mayfly-jailer"))
PROBE = os.environ.get("JAIL_PROBE",
                       os.path.join(TOP, "build/tests/jail_probe"))
ESCAPE = os.environ.get("JAIL_ESCAPE",
                        os.path.join(TOP, "build/tests/jail_escape"))
MAYFLY = os.path.abspath(monitor.MAYFLY[-1])
UID, GID = 31001, 31002
LIBC = ctypes.CDLL(None, use_errno=True)
CLONE_NEWNS, CLONE_NEWUTS = 0x20000, 0x4000000
MS_SHARED, MS_PRIVATE, MS_REC = 1 << 20, 1 << 18, 1 << 14
MS_BIND, MNT_DETACH, PR_SET_CHILD_SUBREAPER = 4096, 2, 36
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


def mounts(case):
    """This namespace's mount table, without what other tests, which run beside
    this one, mount and take away in their folders."""
    others = os.path.join(os.path.dirname(case.folder), "mayfly-")
    return [line for line in read("/proc/self/mounts").splitlines()
            if case.folder in line or others not in line]


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
        self.out = case.path("out-%d-%s" % (len(case.monitors), name))
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


def has_landlock():
    """Whether the kernel has it, with scopes."""
    return LIBC.syscall(444, None, 0, 1) >= 6


def cgroup_mounts(kind):
    """Mount points of a version's hierarchies, with their options."""
    return [(m[1], m[3].split(",")) for m in
            map(str.split, read("/proc/self/mounts").splitlines())
            if m[2] == kind]


def in_namespace(pid, action):
    """Carry it out in a process's mount namespace and root, as root."""
    child = os.fork()
    if child == 0:
        try:
            fd = os.open("/proc/%d/ns/mnt" % pid, os.O_RDONLY)
            root = os.open("/proc/%d/root" % pid, os.O_RDONLY)
            syscall(LIBC.setns(fd, CLONE_NEWNS), "setns")
            os.chdir(root)
            action()
        except (OSError, Failed) as e:
            os.write(2, ("%s\n" % e).encode())
            os._exit(1)
        os._exit(0)
    check_equal(os.waitpid(child, 0)[1], 0, "in the jail's namespace")


def stage(jail, name, source=None):
    """A copy of a file, or an empty one, in a jail's root, the user's."""
    os.makedirs(os.path.dirname(jail.path(name)), exist_ok=True)
    if source:
        shutil.copy(source, jail.path(name))
    else:
        write(jail.path(name), "")
    os.chown(jail.path(name), jail.uid, GID if jail.uid else 0)


def without_jail(*words, **popen):
    """What a program says that runs outside, in namespaces that spare the
    host what it changes."""
    def enter():
        syscall(LIBC.unshare(CLONE_NEWNS | CLONE_NEWUTS), "unshare")
        mount(None, "/", None, MS_REC | MS_PRIVATE)
    popen.setdefault("stdin", subprocess.DEVNULL)
    # pylint: disable=subprocess-popen-preexec-fn
    done = subprocess.run(words, capture_output=True, text=True, check=False,
                          preexec_fn=enter, **popen)
    check(done.returncode == 0, "%s: %s" % (words[0], done.stderr))
    return done.stdout
