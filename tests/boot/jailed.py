# SPDX-License-Identifier: Apache-2.0
"""Monitors of tests run in jails, as users' do: made by mayfly-jailer.

Environment:
  JAILER       the jailer (mayfly-jailer beside the monitor)
  MAYFLY_JAIL  0: start the monitor itself

A jail's root is a folder of its own. What a test names by absolute path is
mounted into it at the same path, in a mount namespace that ends with the
monitor: nothing is to be unmounted, and no other process sees it. Files that
tests make are everybody's (umask 0): the jail's user is not root.

Where there can be no jails, monitors run without, and add_point() says why.
"""
import ctypes
import os
import re
import resource
import subprocess
import tempfile

UID = GID = 30001
CLONE_NEWNS = 0x20000
MS_RDONLY, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 1, 32, 4096, 16384, 1 << 18
ST_NODEV, ST_NOEXEC = 4, 8
LIBC = ctypes.CDLL(None, use_errno=True)

# What is tested without a jail, and why. Monitors that a test starts bare name
# a reason; bare are, too, the families of transcripts in golden/run.py that
# its list BARE names.
BARE = {
    "command line": "the jailer passes words of its own; its own way of ending "
                    "is Firecracker's jailer's, not this program's",
    "capabilities": "TAPs that are missing are made by whom the host allows "
                    "it, which is nobody in a jail",
    "memfd": "descriptors of other processes are reached by /proc, which no "
             "jail has",
    "traced": "callwatch reads system calls from the first line of main() on, "
              "and takes the jailer's for the monitor's; filters would kill "
              "before it sees",
}


def mount(source, target, flags):
    """mount(2)"""
    source = source and os.fsencode(source)
    if LIBC.mount(source, os.fsencode(target), None, ctypes.c_ulong(flags),
                  None):
        raise OSError(ctypes.get_errno(), "mount", target)


def split(command):
    """(launchers, monitor, its flags) of a command such as $MAYFLY."""
    at = max(i for i, word in enumerate(command) if not word.startswith("-"))
    return command[:at], os.path.abspath(command[at]), command[at + 1:]


def jailer(monitor):
    """The jailer that goes with a monitor."""
    return os.path.abspath(os.environ.get("JAILER") or os.path.join(
        os.path.dirname(os.path.realpath(monitor)), "mayfly-jailer"))


def why_not(command):
    """Why there can be no jail for this command, or None."""
    _, monitor, _ = split(command)
    if os.environ.get("MAYFLY_JAIL") == "0":
        return "MAYFLY_JAIL is 0"
    if os.geteuid() != 0:
        return "needs root"
    if not os.path.exists(jailer(monitor)):
        return jailer(monitor) + " is missing"
    with open(monitor, "rb") as f:
        if b"/ld-linux" in f.read(4096):
            return monitor + " is linked dynamically"
    if os.statvfs(tempfile.gettempdir()).f_flag & (ST_NODEV | ST_NOEXEC):
        return tempfile.gettempdir() + " is mounted with nodev or noexec"
    pid = os.fork()
    if pid == 0:
        os._exit(1 if LIBC.unshare(CLONE_NEWNS) else 0)
    return "no mount namespaces" if os.waitpid(pid, 0)[1] else None


WHY_NOT = {}


def possible(command):
    """Whether this command runs in jails; what is found is kept."""
    key = tuple(command)
    if key not in WHY_NOT:
        WHY_NOT[key] = why_not(command)
        # Files are anybody's; their folder, which Jail.show() gives away, not.
        if not WHY_NOT[key]:
            os.umask(0)
    return not WHY_NOT[key]


def add_point(points):
    """One more point of TAP, a skip, if monitors ran without a jail that
    should have had one; the number of points then."""
    reasons = sorted({why for why in WHY_NOT.values() if why})
    if not reasons:
        return points
    print("ok %d - in jails # SKIP jail: %s" % (points + 1,
                                                "; ".join(reasons)))
    return points + 1


def violation(pid):
    """What is told of a process that a filter has ended."""
    log = subprocess.run(["dmesg"], check=False, capture_output=True,
                         text=True).stdout
    calls = re.findall(r"type=1326 .* pid=%d .* sig=31 .*syscall=(\d+)" % pid,
                       log)
    return "ended by its filters (SIGSYS): system call %s" % (
        calls[-1] if calls else "unknown, see the host's audit log")


class Bare:
    """No jail: the command as it is."""

    def __init__(self, command):
        self.command = command

    def words(self, instance, args):
        """The command line; an instance of None has no id."""
        return [*self.command, *(["--id", instance] if instance else []),
                *args]

    @staticmethod
    def enter():
        """In the child, before it executes that."""
        os.umask(0o022)

    def close(self):
        """Nothing is left."""


class Jail:
    """One jail, below a folder that is empty, or of its own."""

    def __init__(self, command, folder=None, instance="test"):
        self.launchers, self.monitor, self.first = split(command)
        self.made = None
        if not folder:
            # pylint: disable=consider-using-with
            self.made = tempfile.TemporaryDirectory(prefix="mayfly-jail-")
            folder = self.made.name
        self.base, self.instance = folder, instance
        self.root = os.path.join(folder, os.path.basename(self.monitor),
                                 instance, "root")
        os.makedirs(self.root)
        self.mounts = []

    def show(self, path, read_only=False):
        """Make a folder visible inside, at its path; it may be the root. One
        that is not read-only becomes the user's."""
        target = self.root + os.path.abspath(path)
        os.makedirs(target, exist_ok=True)
        self.mounts.append((path, target, read_only))
        if not read_only:
            os.chown(path, UID, GID)

    def words(self, instance, args):
        """The command line."""
        files = max(2048, resource.getrlimit(resource.RLIMIT_NOFILE)[0])
        assert instance in (None, self.instance)
        return [*self.launchers, jailer(self.monitor), "--id", self.instance,
                "--exec-file", self.monitor, "--uid", str(UID), "--gid",
                str(GID), "--chroot-base-dir", self.base, "--resource-limit",
                "no-file=%d" % files, "--", *self.first, *args]

    def enter(self):
        """In the child, before it executes that."""
        if LIBC.unshare(CLONE_NEWNS):
            raise OSError(ctypes.get_errno(), "unshare")
        mount(None, "/", MS_REC | MS_PRIVATE)
        for path, target, read_only in self.mounts:
            mount(path, target, MS_BIND | (
                0 if path == self.root else MS_REC))
            if read_only:
                mount(None, target, MS_BIND | MS_REMOUNT | MS_RDONLY)

    def close(self):
        """Remove what it was made of."""
        if self.made:
            self.made.cleanup()


def place(command, bare, folders, read_only=()):
    """A jail that shows these folders; none for a reason of BARE, or where
    there can be none."""
    assert bare is None or bare in BARE
    if bare or not possible(command):
        return Bare(command)
    jail = Jail(command)
    for folder in folders:
        jail.show(folder)
    for folder in read_only:
        if os.path.isdir(folder):
            jail.show(folder, True)
    return jail
