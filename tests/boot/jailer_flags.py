# SPDX-License-Identifier: Apache-2.0
"""Flags of the jailer. Run by jailer.py."""
import os
import subprocess

import monitor
from jail_host import (CGROUP, Jail, MAYFLY, cgroup_mounts,
                       check_no_privileges, read, status)
from monitor import Skip, check, check_equal, wait_for


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


def sweep_cgroups():
    """What tests leave: parents, which the jailer keeps."""
    for point, _ in cgroup_mounts("cgroup") + cgroup_mounts("cgroup2"):
        for path, _, _ in os.walk(os.path.join(point, CGROUP), topdown=False):
            try:
                os.rmdir(path)
            except OSError as e:
                print("# %s: %s" % (path, e))


TESTS = [user_zero, pid_namespace, daemon, network, limits, cgroup_v1,
         cgroup_v2]
