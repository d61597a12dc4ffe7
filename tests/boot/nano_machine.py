# SPDX-License-Identifier: Apache-2.0
"""Boot, processors, memory, and how a machine ends. Run by nano.py."""
import errno
import os
import re
import subprocess
import sys

from monitor import MAYFLY, NANO, Failed, Skip, check, check_equal, drive

IO_URING = 425 # io_uring_setup()

HUGE_PAGES = "/proc/sys/vm/nr_hugepages"
HUGE_MIB = 64


def boots_by_the_64_bit_protocol(t):
    """an ELF kernel boots by the 64-bit Linux protocol"""
    t.boot("hello,clock").check_end().said("nano: hello by linux64")


def boots_by_pvh(t):
    """an ELF kernel with a PVH note boots by it"""
    t.boot("hello", kernel="nano-pvh.elf").check_end().said(
        "nano: hello by pvh")


def uring_errno():
    """What io_uring_setup() answers where the monitor runs."""
    probe = ("import ctypes; c = ctypes.CDLL(None, use_errno=True); "
             "c.syscall(%d, 1, None); print(ctypes.get_errno())" % IO_URING)
    return int(subprocess.run([*MAYFLY[:-1], sys.executable, "-c", probe],
                              check=True, capture_output=True).stdout)


def open_kinds(pid):
    """What its descriptors are."""
    folder = "/proc/%d/fd" % pid
    return [os.readlink(os.path.join(folder, fd)) for fd in os.listdir(folder)]


def uses_io_uring_where_it_may(t):
    """the event loop is io_uring, and epoll where that is forbidden"""
    m = t.boot_api("hello", words="nano.end=halt")
    m.wait_text("^nano: done")
    kinds = open_kinds(m.process.pid)
    forbidden = uring_errno() in (errno.EPERM, errno.ENOSYS)
    check_equal("anon_inode:[io_uring]" in kinds, not forbidden, "io_uring")
    check_equal("anon_inode:[eventpoll]" in kinds, forbidden, "epoll")


def boots_by_requests(t):
    """a guest that is configured and started by requests boots"""
    m = t.monitor()
    config = t.config("hello,blk=0:write:1:1", [drive(t.file("a", 1 << 20))])
    check_equal(m.api.get("/")["state"], "Not started", "state")
    m.api.put("/machine-config", config["machine-config"])
    m.api.put("/boot-source", config["boot-source"])
    m.api.put("/drives/a", config["drives"][0])
    m.api.put("/actions", {"action_type": "InstanceStart"})
    m.check_end()


def devices(m):
    """[(n, id, address, line)...] as the guest found them."""
    return re.findall(r"^nano: device n=(\d+) id=(\d+) gpa=(\w+) gsi=(\d+)$",
                      m.console(), re.MULTILINE)


def finds_devices_by_command_line_and_acpi(t):
    """the command line and ACPI alone name the same devices"""
    drives = [drive(t.file(name, 1 << 20)) for name in "abc"]
    found = {}
    for words in "", "acpi":
        for kernel in "nano.elf", "nano-pvh.elf":
            m = t.boot("devices,blk=2:write:1:1", drives, words=words,
                       kernel=kernel).check_end()
            found[words, kernel] = devices(m)
    first = found["", "nano.elf"]
    check_equal(len(first), 3, "number of devices")
    for how, what in found.items():
        check_equal(what, first, "devices by %s" % (how,))


def count_cpus(t, vcpus, **more):
    """MADT, MP table and the guest must agree."""
    m = t.boot("cpus", vcpus=vcpus, **more).check_end()
    counts = m.said(r"nano: cpus n=(\d+) madt=(\d+) mptable=(\d+)")
    check_equal(counts, (str(vcpus),) * 3, "processors")


def counts_processors(t):
    """1, 2, 3 and 32 vCPUs start and are in MADT and MP table"""
    for vcpus in 1, 2, 3, 32:
        count_cpus(t, vcpus)


def counts_threads(t):
    """4 and 32 vCPUs start with SMT on"""
    for vcpus in 4, 32:
        count_cpus(t, vcpus, machine={"smt": True})


def ram(m):
    """MiB below and from 4 GiB on."""
    total = [0, 0]
    for gpa, end in re.findall(
            r"^nano: mem gpa=(\w+) end=(\w+) type=1$", m.console(),
            re.MULTILINE):
        total[int(gpa, 16) >= 4 << 30] += int(end, 16) - int(gpa, 16)
    # A little below 1 MiB is reserved.
    return tuple((n + (1 << 20) - 1) >> 20 for n in total)


def has_its_ram(t):
    """RAM of 4 MiB to 5 GiB is in the memory map and holds what is written"""
    for mib, expected in ((4, (4, 0)), (128, (128, 0)), (3072, (3072, 0)),
                          (3073, (3072, 1)), (4096, (3072, 1024)),
                          (5120, (3072, 2048))):
        for kernel in "nano.elf", "nano-pvh.elf":
            m = t.boot("mem", mem=mib, kernel=kernel).check_end()
            check_equal(ram(m), expected, "MiB of RAM below and above 4 GiB")


def refuses_a_kernel_beyond_ram(t):
    """a kernel that does not fit 1 MiB of RAM is an error, and 4 MiB help"""
    m = t.monitor()
    config = t.config("hello", mem=1)
    m.api.put("/machine-config", config["machine-config"])
    m.api.put("/boot-source", config["boot-source"])
    start = {"action_type": "InstanceStart"}
    check("kernel" in m.api.refused("PUT", "/actions", start).lower(),
          "the message does not say that it is the kernel")
    m.api.put("/machine-config", {"vcpu_count": 1, "mem_size_mib": 4})
    m.api.put("/actions", start)
    m.check_end()


def read_number(path):
    """A file with one number."""
    with open(path, encoding="ascii") as f:
        return int(f.read())


def write_number(path, number):
    """The same."""
    with open(path, "w", encoding="ascii") as f:
        f.write(str(number))


def has_huge_pages(t):
    """huge_pages 2M puts RAM on huge pages"""
    before = read_number(HUGE_PAGES)
    try:
        write_number(HUGE_PAGES, before + HUGE_MIB // 2)
    except OSError as e:
        raise Skip("hugepages: %s" % e.strerror) from None
    try:
        if read_number(HUGE_PAGES) < before + HUGE_MIB // 2:
            raise Skip("hugepages: none can be reserved")
        m = t.boot_api("mem,touch=32", mem=HUGE_MIB, words="nano.end=halt",
                       machine={"huge_pages": "2M"})
        m.wait_text("^nano: done")
        with open("/proc/%d/smaps" % m.process.pid, encoding="ascii") as f:
            mapped = re.findall(r"^Private_Hugetlb: +(\d+) kB", f.read(),
                                re.MULTILINE)
        check_equal(sum(map(int, mapped)), HUGE_MIB << 10, "KiB huge")
        m.kill()
    finally:
        write_number(HUGE_PAGES, before)


def ends_by_reset_and_power_off(t):
    """i8042 reset and ACPI power-off end with 0"""
    for how in "reset", "acpi":
        t.boot("hello", words="nano.end=" + how).check_end(0)


def ends_by_triple_fault(t):
    """a triple fault ends with 1 and says so"""
    m = t.boot("hello", words="nano.end=triple").check_end(1)
    check("Received KVM_EXIT_SHUTDOWN signal" in m.log(),
          "the log does not say why")


def exception_in_the_guest_is_its_own_business(t):
    """an exception that the guest handles does not end it"""
    m = t.boot("fault=ud")
    check_equal(m.wait_exit(), 0, "exit code")
    m.said("nano: FAIL exception vector=6 .*")


def halt_is_not_an_end(t):
    """all vCPUs halted is not an end"""
    m = t.boot_api("cpus", vcpus=2, words="nano.end=halt")
    m.wait_text("^nano: done")
    try:
        code = m.wait_exit(0.5)
    except Failed:
        m.alive()
        return
    raise Failed("ended with %d" % code)


def types_ctrl_alt_del(t):
    """SendCtrlAltDel reaches the keyboard controller"""
    m = t.boot_api("hello,keys=4")
    m.wait_text("^nano: ok hello")
    m.api.put("/actions", {"action_type": "SendCtrlAltDel"})
    m.check_end()
    check_equal(re.findall("nano: key (0x[0-9a-f]+)", m.console()),
                ["0x14", "0x11", "0xe0", "0x71"], "keys")


def logs_the_boot_time(t):
    """the boot timer logs when the guest says so, and is off by default"""
    line = r"Guest-boot-time = +\d+ us \d+ ms, +\d+ CPU us \d+ CPU ms"
    on = t.boot("boottimer", args=("--no-api", "--boot-timer")).check_end()
    check(re.search(line, on.log()), "no boot time in the log")
    off = t.boot("boottimer").check_end()
    check("Guest-boot-time" not in off.log(), "a boot time without a timer")


def survives_what_nobody_owns(t):
    """ports and addresses of nobody read as ones, odd widths do no harm"""
    m = t.boot("fault=badio,fault=badmmio,blk=0:write:1:1",
               [drive(t.file("a", 1 << 20))]).check_end()
    check("nano: string output" in m.console(), "no string on the console")


TESTS = [
    boots_by_the_64_bit_protocol, boots_by_pvh, uses_io_uring_where_it_may,
    boots_by_requests,
    finds_devices_by_command_line_and_acpi, counts_processors, counts_threads,
    has_its_ram, refuses_a_kernel_beyond_ram, has_huge_pages,
    ends_by_reset_and_power_off, ends_by_triple_fault,
    exception_in_the_guest_is_its_own_business, halt_is_not_an_end,
    types_ctrl_alt_del, logs_the_boot_time, survives_what_nobody_owns,
]
