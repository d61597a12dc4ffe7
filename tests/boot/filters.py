#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""System call filters: what they allow, that they are on, files of a user's.

usage: filters.py [NAME...]     tests whose names hold one of the NAMEs

TAP output; see monitor.py for the environment. The programs beside the monitor
are $FILTER_PROBE (build/tests/filter_probe), $MAYFLYCTL (build/bin/mayflyctl)
and $CALLWATCH (build/bin/callwatch).
"""
import ctypes
import json
import os
import re
import signal
import struct
import subprocess
import sys

import jailed
import monitor
from monitor import TOP, Failed, Skip, check, check_equal, wait_for

TABLES = os.path.join(TOP, "base/filters")
LIBC = ctypes.CDLL(None)
SYS_TGKILL = 234
RETURN = 6  # an instruction of BPF


def program(variable, path):
    """A program of ours."""
    return os.environ.get(variable, os.path.join(TOP, path))


PROBE = program("FILTER_PROBE", "build/tests/filter_probe")
CTL = program("MAYFLYCTL", "build/bin/mayflyctl")
CALLWATCH = program("CALLWATCH", "build/bin/callwatch")


def run_tool(*args):
    """Exit code, output and errors."""
    done = subprocess.run(args, check=False, capture_output=True, text=True)
    return done.returncode, done.stdout, done.stderr


def exactly_the_tables(t):
    """every call number and wrong argument, in each role: the tables decide"""
    code, out, _ = run_tool(PROBE, TABLES)
    for line in out.splitlines():
        print("# " + line)
    check_equal((code, out.count("\nok ")), (0, 15), "the probe")


def counts(t):
    """the tables keep their limits; what is beside Firecracker's is printed"""
    code, out, _ = run_tool(CALLWATCH, "-t", TABLES, "-l")
    print("# " + out.strip())
    listed = run_tool(CTL, "seccomp-list")[1]
    calls = {}
    for part in listed.split("== ")[1:]:
        role, text = part.split(" ==", 1)
        calls[role] = {line.split()[0] for line in text.splitlines()[1:]
                       if line and line[0] != "#"}
    tight = [calls[role] for role in ("main", "helper", "vcpu", "pager")]
    print("# with the calls on paths: main %d, helper %d, vcpu %d, pager %d, "
          "union %d (Firecracker: vmm 50, api 31, vcpu 27, union 50)"
          % (*map(len, tight), len(set.union(*tight))))
    check_equal(code, 0, "limits")
    with open(os.path.join(TOP, "docs/security.md"), encoding="utf-8") as f:
        text = f.read()
    stated = re.findall(r"^\| (?:main|helper|vCPU|watch|all) .*?\| (\d+) \|",
                        text, re.MULTILINE)
    check_equal([int(n) for n in stated],
                [*map(len, tight), len(set.union(*tight))], "docs/security.md")
    check_equal(re.findall(r"all but (\d+) system calls", text), stated[-1:],
                "its list of layers")
    check(len(calls["vcpu"]) <= 8, "a vCPU has %d" % len(calls["vcpu"]))
    for line in listed.splitlines():
        check(not line or line[0] in "#=" or " # " in line,
              "no reason: " + line)


# What rows of a running guest's threads must say of these calls' arguments.
MATCHED = {"openat": r" 0=0xffffff9c 2=0x\w+ ", "ioctl": r" 1=\w+ ",
           "mmap": r" 2!&PROT_EXEC 4=0xffffffff ", "fcntl": r" 1=F_\w+ ",
           "socket": r" 0=AF_UNIX 1=", "futex": r" 1=FUTEX_",
           "tgkill": r" 2=34 ", "io_uring_enter": r" 0=FD_LOOP ",
           "epoll_ctl": r" 0=FD_LOOP ", "epoll_pwait2": r" 0=FD_LOOP "}
PATHS = {"openat", "newfstatat", "readlink", "getcwd", "rename", "unlink",
         "socket", "connect"}
NEVER = {"io_uring_setup", "io_uring_register", "clone", "clone3", "execve",
         "execveat", "mprotect", "seccomp", "prctl", "ptrace", "bind"}


def arguments_are_matched(t):
    """rows say which flags, commands and descriptors; the helper has paths"""
    listed = run_tool(CTL, "seccomp-list")[1]
    for part in listed.split("== ")[1:]:
        role, text = part.split(" ==", 1)
        if role == "start":
            continue
        for row in text.splitlines()[1:]:
            name = row.split()[0] if row and row[0] != "#" else None
            rule = MATCHED.get(name)
            check(not rule or re.search(rule, row), role + ": " + row)
            check(name not in NEVER, role + ": " + row)
            check(name not in PATHS or role == "helper", role + ": " + row)


def threads(m):
    """{name: (mode of seccomp, number of filters, no_new_privs)}"""
    found = {}
    folder = "/proc/%d/task" % m.process.pid
    for tid in os.listdir(folder):
        with open("%s/%s/status" % (folder, tid), encoding="ascii") as f:
            status = dict(line.split(":\t", 1) for line in f if ":\t" in line)
        name = status["Name"].strip()
        if not name.startswith("kvm-"):  # the kernel's
            found[name] = tuple(int(status[key]) for key in (
                "Seccomp", "Seccomp_filters", "NoNewPrivs"))
    return found


def ticking(t, *args, **more):
    """A guest that runs until it is stopped."""
    m = t.boot_api("tick=0", vcpus=2, **more) if not args else t.boot(
        "tick=0", vcpus=2, args=args, **more)
    m.wait_text("nano: tick")
    return m


def own_filters():
    """How many this process has already."""
    with open("/proc/self/status", encoding="ascii") as f:
        return int(re.search(r"Seccomp_filters:\t(\d+)", f.read()).group(1))


def every_thread_has_two(t):
    """each thread has the first filter, and its role's when a guest runs"""
    base = own_filters()
    m = t.monitor()
    m.api.get("/")
    check_equal(threads(m), {name: (2, base + 1, 1)
                             for name in threads(m)}, "before the start")
    m.kill()
    m = ticking(t)
    # Those of vCPUs that have not run yet come with their first entry.
    wait_for(lambda: set(threads(m).values()) == {(2, base + 2, 1)},
             "two filters in each thread: %s" % threads(m), 5)
    check(len(threads(m)) == 4, "threads: %s" % threads(m))


def loaded_has_them_before_it_runs(t):
    """after a load, the loop and the helper are filtered; vCPUs as they run"""
    base = own_filters()
    m = ticking(t)
    m.api.patch("/vm", {"state": "Paused"})
    files = {"snapshot_path": t.path("state"), "mem_file_path": t.path("mem")}
    m.api.put("/snapshot/create", files)
    m.kill()
    m = t.monitor()
    m.api.put("/snapshot/load",
              {"snapshot_path": files["snapshot_path"],
               "mem_backend": {"backend_type": "File",
                               "backend_path": files["mem_file_path"]}})
    # Threads bear their maker's name until they run.
    wait_for(lambda: len(threads(m)) == 4, "threads", 5)
    now = threads(m)
    check_equal({name: n for name, (_, n, _) in now.items()},
                {name: base + (1 if "vcpu" in name else 2) for name in now},
                "filters")
    m.api.patch("/vm", {"state": "Resumed"})
    wait_for(lambda: {n for _, n, _ in threads(m).values()} == {base + 2},
             "second filter of the vCPUs", 5)


def tests_run_in_jails(t):
    """monitors of tests have a root and a user of their own, no capability"""
    m = ticking(t)
    if not isinstance(m.jail, jailed.Jail):
        raise Skip("jail: none")
    with open("/proc/%d/status" % m.process.pid, encoding="ascii") as f:
        status = f.read()
    for line in (r"Uid:(\t%d){4}" % jailed.UID, r"Gid:(\t%d){4}" % jailed.GID,
                 r"CapPrm:\t0+", r"CapBnd:\t0+", "Seccomp:\t2"):
        check(re.search("^%s$" % line, status, re.MULTILINE), "no " + line)
    root = "/proc/%d/root/" % m.process.pid
    check_equal(sorted(os.listdir(root)), sorted(os.listdir(m.jail.root)),
                "root folder")
    check(not os.path.exists(root + "proc"), "it sees the host's /proc")
    with open("/proc/self/mounts", encoding="utf-8") as f:
        check("mayfly-jail" not in f.read(), "its mounts are the host's, too")


def none_and_loud(t):
    """--no-seccomp: no filter, and the log says so"""
    m = ticking(t, "--no-seccomp")
    check_equal({n for _, n, _ in threads(m).values()}, {own_filters()},
                "filters")
    check("WITHOUT system call filters: --no-seccomp" in m.log(), m.log())


def violation_kills(t):
    """a call outside kills the whole process by SIGSYS: here the reader's"""
    rules = json.loads(run_tool(CTL, "seccomp-list", "--json")[1])
    rules["vcpu"]["filter"] = [r for r in rules["vcpu"]["filter"]
                               if r["syscall"] != "write"]
    m = t.boot("hello", args=("--no-api", "--seccomp-filter",
                              compiled(t, rules)))
    m.may_violate = True
    check_equal(m.wait_exit(), -signal.SIGSYS, "exit code")
    check(re.search("SIGSYS.*: system call (1|unknown.*)$", m.ending()),
          m.ending())


def faults_are_reported(t):
    """a thread that faults tells so under its filter: exit code 150"""
    for name in ("fc_vcpu 0", "fc_api"):
        m = ticking(t)
        folder = "/proc/%d/task" % m.process.pid
        for tid in os.listdir(folder):
            with open("%s/%s/comm" % (folder, tid), encoding="ascii") as f:
                if f.read().strip() != name:
                    continue
            LIBC.syscall(SYS_TGKILL, m.process.pid, int(tid), signal.SIGSEGV)
            break
        check_equal(m.wait_exit(), 150, "exit code of " + name)
        check("intercepting signal 11" in m.log(), m.log())


def compiled(t, rules, name="user"):
    """A filter file of rules."""
    source, out = t.path(name + ".json"), t.path(name + ".filter")
    with open(source, "w", encoding="ascii") as f:
        json.dump(rules, f)
    code, _, errors = run_tool(CTL, "seccomp-compile", "-o", out, source)
    check(code == 0, errors)
    return out


def own_rules(t):
    """our tables in JSON, compiled and given back, do as the built-in ones"""
    rules = json.loads(run_tool(CTL, "seccomp-list", "--json")[1])
    t.boot("hello", args=("--no-api", "--seccomp-filter",
                          compiled(t, rules))).check_end()


def json_is_checked(t):
    """what is wrong in a JSON filter is refused, with its place"""
    good = {"default_action": "trap", "filter_action": "allow", "filter": []}
    rule = {"syscall": "read"}
    arg = {"index": 0, "type": "dword", "op": "eq", "val": 1}

    def with_rule(r):
        return {"vmm": {**good, "filter": [r]}, "api": good, "vcpu": good}

    compiled(t, with_rule({**rule, "comment": "c", "args": [
        {**arg, "op": op, "index": i}
        for i, op in enumerate(("ge", "gt", "le", "lt", "ne"))]}))
    compiled(t, with_rule({**rule, "args": [
        {**arg, "type": "qword", "op": {"masked_eq": 2 ** 64 - 1},
         "val": 2 ** 64 - 1}]}))
    compiled(t, {**with_rule(rule), "api": {**good,
                                            "default_action": {"errno": 1}}})
    for bad, why in (
            ([], "not an object"), ({"vmm": good}, "missing field `api`"),
            ({**with_rule(rule), "x": good}, "unknown field"),
            (with_rule({"syscall": "raed"}), "no such system call"),
            (with_rule({**rule, "args": [{**arg, "index": 6}]}), "too large"),
            (with_rule({**rule, "args": [{**arg, "val": 2 ** 32}]}),
             "too large"),
            (with_rule({**rule, "args": [{**arg, "val": -1}]}),
             "without sign"),
            (with_rule({**rule, "args": [{**arg, "op": "is"}]}),
             "unknown word"),
            (with_rule({**rule, "args": [{**arg, "type": "word"}]}),
             "unknown word"),
            (with_rule({**rule, "args": [arg, arg]}), "two conditions"),
            ({**with_rule(rule), "vmm": {**good, "default_action": "no"}},
             "unknown word")):
        try:
            compiled(t, bad, "bad")
        except Failed as e:
            check(why in str(e) and "line 1 column" in str(e) and
                  "bad.json" in str(e), "%s: not '%s'" % (e, why))
        else:
            raise Failed("taken: %s" % bad)


def other_files(t):
    """a file that is none of ours is refused, and named"""
    rules = json.loads(run_tool(CTL, "seccomp-list", "--json")[1])
    with open(compiled(t, rules), "rb") as f:
        good = f.read()
    flipped = bytearray(good)
    flipped[-1] ^= 1
    for name, data, why in (
            ("empty", b"", "Not a filter file"),
            ("json", b'{"vmm": {}}', "Not a filter file"),
            ("short", good[:-8], "wrong lengths"),
            ("long", good + bytes(8), "wrong lengths"),
            ("flipped", bytes(flipped), "wrong checksum"),
            ("version", good[:8] + struct.pack("<I", 2) + good[12:],
             "version 2"),
            ("huge", good[:16] + struct.pack("<I", 2 ** 32 - 1) + good[20:],
             "wrong lengths")):
        path = t.path(name)
        with open(path, "wb") as f:
            f.write(data)
        m = t.boot("hello", args=("--no-api", "--seccomp-filter", path))
        check_equal(m.wait_exit(), 1, "exit code")
        check(path in m.console() and why in m.console(),
              "%s: %s" % (why, m.console()))
    m = t.boot("hello", args=("--no-api", "--seccomp-filter",
                              t.path("missing")))
    check_equal(m.wait_exit(), 1, "exit code")
    check("missing': No such file" in m.console(), m.console())


def bad_instructions(t):
    """instructions of any role that the kernel refuses: no guest runs"""
    allow, bad = (struct.pack("<HBBI", op, 0, 0, 0x7fff0000)
                  for op in (RETURN, 0xffff))
    for role, why in (("main", "Failed to add filters"),
                      ("helper", "Failed to add filters"),
                      ("vcpu", "Failed to add the system call filter")):
        body = struct.pack("<IIII", 1, 1, 1, 0) + b"".join(
            bad if r == role else allow for r in ("main", "helper", "vcpu"))
        with open(t.path(role), "wb") as f:
            f.write(b"MFFILTER" + struct.pack("<II", 1, crc32c(body)) + body)
        m = t.boot("hello", args=("--no-api", "--seccomp-filter",
                                  t.path(role)))
        check_equal(m.wait_exit(), 1, "exit code")
        check(why in m.console() + m.log(), m.console() + m.log())
        check("nano" not in m.console(), "the guest ran")


def crc32c(data):
    """The slow way."""
    crc = 0xffffffff
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82f63b78 if crc & 1 else 0)
    return crc ^ 0xffffffff


TESTS = [
    exactly_the_tables, counts, arguments_are_matched, every_thread_has_two,
    loaded_has_them_before_it_runs, tests_run_in_jails, none_and_loud,
    violation_kills,
    faults_are_reported, own_rules, json_is_checked, other_files,
    bad_instructions,
]

if __name__ == "__main__":
    for needed in (PROBE, CTL, CALLWATCH):
        if not os.path.exists(needed):
            print("build: %s is missing" % needed)
            sys.exit(77)
    sys.exit(monitor.main(TESTS))
