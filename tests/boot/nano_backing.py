# SPDX-License-Identifier: Apache-2.0
"""Restored nano guests whose memory is of huge pages, or in a memfd, or in a
file that is cut. Run by nano_pager.py."""
import contextlib
import fcntl
import json
import mmap
import os
import re

from monitor import Skip, check, check_equal, wait_for
from nano_snapshot import (MIB, TICK, Files, check_gapless, check_words, pause,
                           resume, said)
from nano_stuck import tool
from pager_env import (PAGE, SMALL, body, check_ended, load, noted, prepared,
                       serve)

HUGE = 2 << 20
HUGEPAGES = "/proc/sys/vm/nr_hugepages"


@contextlib.contextmanager
def huge_pages(n):
    """As many more of 2 MiB, and a folder of hugetlbfs files."""
    try:
        with open(HUGEPAGES, encoding="ascii") as f:
            old = int(f.read())
        with open(HUGEPAGES, "w", encoding="ascii") as f:
            f.write(str(old + n))
        with open(HUGEPAGES, encoding="ascii") as f:
            got = int(f.read()) - old
    except OSError as e:
        raise Skip("hugepages: %s" % e) from None
    try:
        if got < n:
            raise Skip("hugepages: %d of %d" % (got, n))
        yield
    finally:
        with open(HUGEPAGES, "w", encoding="ascii") as f:
            f.write(str(old))


@contextlib.contextmanager
def hugetlbfs(t):
    """A folder in the test's."""
    path = t.path("huge")
    os.mkdir(path)
    if not tool("mount", "-t", "hugetlbfs", "-o", "pagesize=2M,mode=0777",
                "none", path):
        raise Skip("hugepages: hugetlbfs cannot be mounted")
    try:
        yield path
    finally:
        for m in t.monitors:
            m.kill()
        wait_for(lambda: tool("umount", path), "umount")


def huge_bytes(m):
    """Of the process: Private_Hugetlb."""
    with open("/proc/%d/smaps_rollup" % m.process.pid, encoding="ascii") as f:
        return int(re.search(r"^Private_Hugetlb: +(\d+)", f.read(),
                             re.MULTILINE).group(1)) << 10


def huge_from_a_server(t):
    """a guest of 2 MiB pages gets them from a server"""
    with huge_pages(2 * SMALL // 2):
        files, text = prepared(t, machine={"huge_pages": "2M"})
        server = serve(t, files)
        m = load(t, files, server)
        m.wait_text(TICK)
        told, = json.loads(server.message())
        check_equal((told["page_size"], told["page_size_kib"], told["size"]),
                    (HUGE, HUGE, SMALL * MIB), "message")
        check_equal(told["base_host_virt_addr"] % HUGE, 0, "alignment")
        check_equal(m.api.get("/vm/config")["machine-config"]["huge_pages"],
                    "2M", "huge_pages")
        check(huge_bytes(m) > 0, "no huge pages")
        pause(m)
        again = Files(t, "again")
        again.create(m)
        check_words(again.mem, SMALL)
        check_gapless(text + said(m))
        before = noted(t, m)
        server.kill()
        check_ended(t, m, before)


def copy_huge(source, to):
    """Files of hugetlbfs are written by mappings alone."""
    with open(source, "rb") as f, open(to, "wb+") as g:
        data = f.read()
        g.truncate(len(data))
        with mmap.mmap(g.fileno(), len(data)) as there:
            there[:] = data


def huge_from_a_file(t):
    """a memory file on hugetlbfs gives huge pages, an ordinary one does not"""
    with huge_pages(3 * SMALL // 2), hugetlbfs(t) as folder:
        files, text = prepared(t, machine={"huge_pages": "2M"})
        plain = files.load(t)
        plain.wait_text(TICK)
        check_equal(plain.api.get("/vm/config")["machine-config"][
            "huge_pages"], "None", "huge_pages")
        check_equal(len(lines(plain, "pages of 4 KiB")), 1, "lines of the log")
        plain.kill()
        template = os.path.join(folder, "mem")
        copy_huge(files.mem, template)
        for _ in range(2):
            m = t.monitor()
            m.api.put("/snapshot/load",
                      files.load_body(template, resume_vm=True))
            m.wait_text(TICK)
            check_equal(m.api.get("/vm/config")["machine-config"][
                "huge_pages"], "2M", "huge_pages")
            check(huge_bytes(m) > 0, "no huge pages")
            pause(m)
            again = Files(t, "again")
            again.create(m)
            check_words(again.mem, SMALL)
            check_gapless(text + said(m))
            m.kill()
        again.load(t).wait_text(TICK)


def too_few_huge_pages(t):
    """without enough huge pages a start or load is refused, none dies later"""
    with huge_pages(SMALL // 2), hugetlbfs(t) as folder:
        files, _ = prepared(t, machine={"huge_pages": "2M"})
        template = os.path.join(folder, "mem")
        # It takes all there are; each guest sets its own aside.
        copy_huge(files.mem, template)
        m = t.monitor()
        for text in (
                m.api.refused("PUT", "/snapshot/load",
                              files.load_body(template)),
                m.api.refused("PUT", "/snapshot/load",
                              body(files, serve(t, files)))):
            check("Out of memory (os error 12)" in text, text)
        m.api.put("/snapshot/load", files.load_body())
        boot = t.boot("tick=0", mem=SMALL, machine={"huge_pages": "2M"})
        check_equal(boot.wait_exit(), 1, "exit code")
        check("Out of memory (os error 12)" in boot.log(), boot.log())


def in_memory(t):
    """a memory file may be in memory: on tmpfs, a memfd, a sealed one"""
    files, text = prepared(t)
    with open(files.mem, "rb") as f:
        data = f.read()
    fd = os.memfd_create("mem", os.MFD_ALLOW_SEALING)
    os.write(fd, data)
    for seals in (0, fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK |
                  fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE):
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seals)
        # Descriptors above 2 are not inherited, and a jail has no /proc.
        for path in ("/proc/%d/fd/%d" % (os.getpid(), fd), "/dev/fd/0"):
            m = t.monitor(bare="memfd", stdin=fd)
            m.api.put("/snapshot/load", files.load_body(path, resume_vm=True))
            m.wait_text(TICK)
            pause(m)
            again = Files(t, "again")
            again.create(m)
            check_words(again.mem, SMALL)
            check_gapless(text + said(m))
            m.kill()
    os.close(fd)
    folder = t.path("tmpfs")
    os.mkdir(folder)
    if not tool("mount", "-t", "tmpfs", "-o", "mode=0777", "none", folder):
        raise Skip("tmpfs: no mount")
    try:
        path = os.path.join(folder, "mem")
        with open(path, "wb") as f:
            f.write(data)
        m = t.monitor()
        m.api.put("/snapshot/load", files.load_body(path, resume_vm=True))
        m.wait_text(TICK)
        m.kill()
    finally:
        for m in t.monitors:
            m.kill()
        wait_for(lambda: tool("umount", folder), "umount")


def lines(m, pattern):
    """Of the log."""
    return [line for line in m.log().splitlines() if re.search(pattern, line)]


def a_cut_file_ends_the_guest(t):
    """a memory file that is cut short under a guest ends it, with a reason"""
    files, _ = prepared(t, orders="mem,tick=0")
    m = files.load(t, resume=False)
    os.truncate(files.mem, PAGE)
    resume(m)
    code = m.wait_exit()
    check(code in (1, 149), "exit code %s" % code)
    said_why = lines(m, "memory file was cut|signal 7, code 2")
    check_equal(len(said_why), 1, "reasons in the log: %s" % m.log()[-400:])


TESTS = [
    huge_from_a_server, huge_from_a_file, too_few_huge_pages, in_memory,
    a_cut_file_ends_the_guest,
]
