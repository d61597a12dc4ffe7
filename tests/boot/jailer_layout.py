# SPDX-License-Identifier: Apache-2.0
"""What a jail is, from outside and inside. Run by jailer.py."""
import os
import shutil
import stat
import subprocess

import monitor
from jail_host import (GID, JAILER, Jail, MAYFLY, MS_BIND, MS_SHARED, PROBE,
                       UID, check_no_privileges, in_namespace, mount, mounts,
                       owned, read, said, umount, write)
from monitor import check, check_equal, wait_for


def versions(_):
    """--version in both forms, --help"""
    run = lambda *a, **k: subprocess.run(
        a, capture_output=True, text=True, check=True, **k).stdout
    check(run(JAILER, "--version").startswith("mayfly-jailer v"), "own form")
    check_equal(run("jailer", "--version", executable=JAILER).split("\n")[0],
                "Jailer v1.16.1", "Firecracker's form")
    check("--parent-cgroup" in run(JAILER, "--help"), "help")


def layout(case):
    """layout, owners, modes, pid file, name, limits, nothing of the host"""
    jail = Jail(case, program=MAYFLY)
    before = mounts(case)
    jail.start(more=("--api-sock", "api.sock"))
    pid = jail.pid()
    check_equal(pid, jail.process.pid, "the pid is the jailer's")
    jail.api("api.sock").get("/version")
    for name in ("", "dev", "dev/net", "run"):
        owned(jail.path(name), stat.S_IFDIR | 0o700)
    owned(jail.path(jail.exec_name), stat.S_IFREG | 0o755)
    check_equal(read(jail.path(jail.exec_name + ".pid")), str(pid), "pid file")
    devices = [("kvm", 10, 232), ("net/tun", 10, 200), ("urandom", 1, 9)]
    if host_has("userfaultfd"):
        devices.append(("userfaultfd", 10, host_has("userfaultfd")))
    for name, major, minor in devices:
        st = owned(jail.path("dev/" + name), stat.S_IFCHR | 0o600)
        check_equal(st.st_rdev, os.makedev(major, minor), name)
    owned(jail.folder, stat.S_IFDIR | 0o755, 0, 0)
    check_equal(read("/proc/%d/comm" % pid).strip(), jail.exec_name[:15],
                "thread name")
    for name in "cwd", "root":
        check(os.path.samefile("/proc/%d/%s" % (pid, name), jail.root), name)
    limits = read("/proc/%d/limits" % pid)
    check("Max open files            2048                 2048" in limits
          and "Max core file size        0                    0" in limits,
          limits)
    inside = read("/proc/%d/mountinfo" % pid).splitlines()
    # The root, and what covers it (see change_root() in jailer/ns.c).
    check_equal([line.split()[4] for line in inside], ["/", "/"], "mounts")
    check_equal(mounts(case), before, "the host's mount table")
    check_equal(read("/proc/%d/environ" % pid), "", "environment")
    words = read("/proc/%d/cmdline" % pid).split("\0")
    check_equal(words[:4], ["/" + jail.exec_name, "--id", "vm",
                            "--start-time-us"], "command line")
    check_equal(words[-3:-1], ["--api-sock", "api.sock"], "command line")
    check_no_privileges(pid)


def named(case):
    """the first thread's name is the program's, however it was executed"""
    # A kernel before 6.14 names it by the descriptor: as by another file here.
    words = ["/firecracker", "--api-sock", case.path("sock")]
    with subprocess.Popen(words, executable=MAYFLY, stdout=subprocess.DEVNULL,
                          stdin=subprocess.DEVNULL) as p:
        try:
            wait_for(lambda: os.path.exists(case.path("sock")), "API socket")
            check_equal(read("/proc/%d/comm" % p.pid), "firecracker\n", "name")
        finally:
            p.kill()


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


PROBED = ["file made", "file removed", "socket bound", "kvm opened",
          "tun opened", "urandom opened"]


def needs(case):
    """what a monitor needs works inside, as a user and as root"""
    wanted = PROBED + (["userfaultfd opened"] if host_has("userfaultfd")
                       else [])
    for uid in (UID, 0):
        jail = Jail(case, "u%d" % uid, uid=uid)
        text = said(jail.run())
        for name in wanted:
            check_equal(text[name], "ok", "%s, user %d" % (name, uid))
        check_equal(text["host"], jail.name, "host name")


def host_has(device):
    """The number of one of the kernel's small devices, or None."""
    for line in read("/proc/misc").splitlines():
        number, name = line.split()
        if name == device:
            return int(number)
    return None


def verbatim(case):
    """arguments behind -- arrive as they are, in their order"""
    words = ["--api-sock", "a b", "", "--", "--id", "é\n", "-x=", "--help"]
    jail = Jail(case)
    text = jail.run(more=words)
    line = text[text.index("arguments:"):]
    check("".join(" [%s]" % w for w in words) in line, line)
    check("[/jail_probe] [--id] [vm] [--start-time-us] [" in line, line)


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


def mounts_arrive(case):
    """what the host mounts later arrives inside, unless told otherwise"""
    base = case.path("base")
    os.mkdir(base)
    mount("none", base, "tmpfs")
    try:
        mount(None, base, None, MS_SHARED)
        proc = os.open("/proc", os.O_RDONLY)
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
            # The program itself can open it, Landlock or not.
            status, _ = jail.api().call("PUT", "/boot-source", {
                "kernel_image_path": "target/drive"})
            check_equal(status, 204 if arrives else 400, "opened inside")
            in_namespace(pid, lambda n=int(arrives): check_copies(
                proc, "target", n))
            # The other way: a mount made inside stays there.
            table = mounts(case)
            in_namespace(pid, lambda: mount("none", "run", "tmpfs"))
            check_equal(mounts(case), table, "the host's mount table")
            jail.kill()
            # Nothing goes while the host's files are mounted there.
            said_so = jail.remove(code=1)
            check("Something is mounted at" in said_so, said_so)
            check(os.path.exists(jail.path(jail.exec_name)), "half removed")
            umount(jail.path("target"))
            umount(jail.path("early"))
            jail.remove()
            check_equal(read(case.path("late/drive")), "late", "host's file")
        os.close(proc)
    finally:
        umount(base)


def check_copies(proc, name, count):
    """How many mounts this process's namespace has there. proc: /proc, out of
    reach by now"""
    fd = os.open("self/mountinfo", os.O_RDONLY, dir_fd=proc)
    with open(fd, encoding="utf-8") as f:
        check_equal(sum(name in line.split()[4] for line in f), count,
                    "mounts inside")


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

TESTS = [versions, layout, named, boots, needs, verbatim, given_by_links,
         staged, mounts_arrive, refused_mount_flags]
