# SPDX-License-Identifier: Apache-2.0
"""Loads that must be refused, and say why; each leaves a process that loads
what is good. Run by nano_override.py."""
import os
import re
import struct

from monitor import check, check_equal, drive
from nano_snapshot import Files, figures, pause, write
from netns import NetNs
from state_file import (CPUID_ENTRY, MSRS_AT, State, TSC_KHZ_AT, XCR0_AT)

MIB = 1 << 20
QUEUE_AT = 7 * 4 + 8 # in a section VDEV, behind what the driver has accepted
MSR_NOBODYS, MSR_ASYNC_PF = 0xdead, 0x4b564d02


def made(t, net=None):
    """A snapshot of a guest of 2 vCPUs with two drives (and more devices)."""
    drives = [drive(t.file(n, MIB)) for n in ("one", "two")]
    more = {}
    if net:
        more = {"network-interfaces": [net.interface()],
                "vsock": {"guest_cid": 3, "uds_path": t.path("v.sock")}}
    m = t.boot_api("config=1,tick=0", drives, vcpus=2, **more)
    m.wait_text("^nano: config waits")
    files = Files(t)
    pause(m)
    files.create(m)
    m.kill()
    return files


def check_refused(m, body, pattern):
    """As the pattern says; nothing of it is left."""
    text = m.api.refused("PUT", "/snapshot/load", body)
    check(re.search(pattern, text), "%r does not match %r" % (text, pattern))
    check_equal(m.api.get("/")["state"], "Not started", "state")
    check_equal(figures(m)[0], m.descriptors, "descriptors after " + pattern)


def warm(t, files):
    """A monitor that has built a machine before, and how many descriptors it
    has since: fixed numbers are held from then on."""
    m = t.monitor()
    m.api.refused("PUT", "/snapshot/load", changed(t, files, refused_msr)[0])
    m.descriptors = figures(m)[0]
    return m


def changed(t, files, change):
    """(what loads a changed state, what its refusal says)"""
    state = State(files.state)
    why = change(state)
    write(t.path("bad"), state.pack())
    return {**files.load_body(), "snapshot_path": t.path("bad")}, why


def loads(m, body):
    """The same process, from what is good."""
    m.api.put("/snapshot/load", {**body, "resume_vm": True})
    check_equal(m.api.get("/")["state"], "Running", "state")
    m.alive()


# ---- the state, changed and with right checksums ----

def cpuid(state, leaf, subleaf):
    """Where the entry is in the section."""
    data = state[b"CPID", 0]
    for at in range(4, len(data), CPUID_ENTRY.size):
        if CPUID_ENTRY.unpack_from(data, at)[:2] == (leaf, subleaf):
            return at
    raise ValueError("no leaf 0x%x" % leaf)


def set_u16(data, at, value):
    """In place."""
    struct.pack_into("<H", data, at, value)


def set_u32(data, at, value):
    """In place."""
    struct.pack_into("<I", data, at, value)


def other_arch(s):
    """For 64-bit ARM."""
    s.arch = 183
    return "does not match arch: 183, this program reads 62"


def other_major(s):
    """Of a format to come."""
    s.major = 2
    return r"Invalid format version: 2\.0, this program reads 1\.x"


def other_vendor(s):
    """Of a maker unknown."""
    at = cpuid(s, 0, 0) + 16
    s[b"CPID", 0][at:at + 4] = b"Xy\n\xff"
    return r"of vendor 'Xy\?\?........', this host's of '[A-Za-z ]+'"


def more_cpuid(s):
    """With a feature that no host has."""
    at = cpuid(s, 7, 0) + 12
    data = s[b"CPID", 0]
    value, = struct.unpack_from("<I", data, at + 4)
    spare = next(1 << i for i in range(31, -1, -1) if not value >> i & 1)
    set_u32(data, at + 4, value | spare)
    return (r"CPUID leaf 0x7 subleaf 0x0 EBX bits 0x%x \(it is 0x%x there, "
            "0x%x here" % (spare, value | spare, value))


def other_xcr0(s):
    """With state that no host has."""
    s[b"VCPU", 1][XCR0_AT + 7] = 0x40
    return "XCR0 of the snapshot is 0x4[0-9a-f]{15}, this host can have 0x"


def other_tsc(s):
    """At half the rate."""
    khz, = struct.unpack_from("<I", s[b"VCPU", 1], TSC_KHZ_AT)
    set_u32(s[b"VCPU", 1], TSC_KHZ_AT, khz // 2)
    return ("TSC of the snapshot runs at %d kHz, that of this host at %d kHz"
            % (khz // 2, khz))


def unknown_msr(s):
    """One that nobody saves."""
    set_u32(s[b"VCPU", 0], MSRS_AT + 4, MSR_NOBODYS)
    return "sets MSR 0x%x, which no snapshot may" % MSR_NOBODYS


def refused_msr(s):
    """A value that KVM does not take."""
    data = s[b"VCPU", 0]
    count, = struct.unpack_from("<I", data, MSRS_AT)
    for at in range(MSRS_AT + 4, MSRS_AT + 4 + 12 * count, 12):
        if struct.unpack_from("<I", data, at) == (MSR_ASYNC_PF,):
            struct.pack_into("<Q", data, at + 4, 0x30)
    return "this host refuses MSR 0x%x = 0x30" % MSR_ASYNC_PF


def unknown_capability(s):
    """Of a KVM to come."""
    count, = struct.unpack_from("<I", s[b"CAPS", 0])
    set_u32(s[b"CAPS", 0], 4 * count, 9999)
    return r"capability of KVM that this host lacks: unnamed \(9999\)"


def too_many_capabilities(s):
    """More than there is room for."""
    s[b"CAPS", 0][:] = struct.pack("<I", 65) + bytes(4 * 65)
    return "KVM capabilities 0 is missing or broken"


def too_much_by_template(s):
    """The same of CPUID."""
    s[b"FORC", 0][:] = struct.pack("<I", 257) + bytes(28 * 257)
    return "CPUID by template 0 is missing or broken"


def more_vcpus(s):
    """The configuration has more."""
    c = s.config()
    c["machine-config"]["vcpu_count"] = 32
    s.set_config(c)
    return "The state has 2 vCPUs, its configuration 32"


def fewer_vcpus(s):
    """The configuration has fewer."""
    c = s.config()
    c["machine-config"]["vcpu_count"] = 1
    s.set_config(c)
    return "The state has 2 vCPUs, its configuration 1"


def vcpu_elsewhere(s):
    """Two vCPUs, but not 0 and 1."""
    s.sections[b"VCPU", 7] = s.sections.pop((b"VCPU", 1))
    return "The section of vCPU 1 is missing or broken"


def more_memory(s):
    """The configuration has more."""
    c = s.config()
    c["machine-config"]["mem_size_mib"] *= 2
    s.set_config(c)
    return "The state is of %d bytes, the machine of %d MiB" % (
        s.mem_bytes, s.mem_bytes // MIB * 2)


def fewer_devices(s):
    """The configuration has one less."""
    c = s.config()
    c["drives"].pop()
    s.set_config(c)
    return "The state has 2 virtio devices, its configuration 1"


def more_devices(s):
    """The configuration has many more."""
    c = s.config()
    c["drives"] += [{**c["drives"][0], "drive_id": "d%d" % i}
                    for i in range(16)]
    s.set_config(c)
    return "has 18 virtio devices, at most 17 are possible"


def drive_twice(s):
    """Two devices of one name."""
    c = s.config()
    c["drives"][1] = c["drives"][0]
    s.set_config(c)
    return "The configuration has drive 'one' twice, or not in its place"


def root_behind(s):
    """A root drive that is not the first, as a PUT would make it."""
    c = s.config()
    c["drives"][1]["is_root_device"] = True
    s.set_config(c)
    return "The configuration has drive 'two' twice, or not in its place"


def interface_twice(s):
    """The same of interfaces, in place of the drives."""
    c = s.config()
    c["drives"] = []
    c["network-interfaces"] = 2 * [{"iface_id": "a\n2026 b",
                                    "host_dev_name": "none"}]
    s.set_config(c)
    return "The configuration has interface 'a\n2026 b' twice, or not in its "


def no_device(s):
    """The state has one less."""
    del s.sections[b"VDEV", 0]
    return "The state has 1 virtio devices, its configuration 2"


def empty_device(s):
    """One that says nothing."""
    s[b"VDEV", 1][:] = b""
    return "The section of device 1 is missing or broken"


def cut_device(s):
    """One whose end is missing."""
    s[b"VDEV", 1].pop()
    return "The section of device 1 is missing or broken"


def big_queue(s):
    """A queue that no driver may set up."""
    set_u32(s[b"VDEV", 0], QUEUE_AT, 65536)
    s[b"VDEV", 0][QUEUE_AT + 4] = 1
    return "virtio device at 0xc0001000 has a wrong queue"


def wrong_index(s):
    """A request that was never answered."""
    set_u16(s[b"VDEV", 0], len(s[b"VDEV", 0]) - 6, 1)
    return "virtio device at 0xc0001000 has a wrong index of a queue"


def wrong_features(s):
    """Features that were never offered."""
    s[b"VDEV", 0][QUEUE_AT - 8 + 1] |= 0x80
    return "virtio device at 0xc0001000 has a wrong accepted features"


def wrong_serial(s):
    """More in the FIFO than it holds."""
    set_u32(s[b"COM1", 0], len(s[b"COM1", 0]) - 4, 65)
    return "serial port 0 is missing or broken"


def wrong_keyboard(s):
    """The same of the keyboard."""
    set_u32(s[b"8042", 0], len(s[b"8042", 0]) - 4, 1 << 31)
    return "keyboard controller 0 is missing or broken"


def wrong_host(s):
    """A name that is not for a log."""
    s[b"HOST", 0][0] = 10
    return "The section of host 0 is missing or broken"


def wrong_limits(s):
    """Those of another device."""
    s[b"RATE", 0].pop()
    return "The section of the limits of device 0 is missing or broken"


def wrong_file(s):
    """Less than is needed of a drive."""
    s[b"DRIV", 1].pop()
    return "The section of the file of drive 1 is missing or broken"


CHANGES = [
    other_arch, other_major, other_vendor, more_cpuid, other_xcr0, other_tsc,
    unknown_msr, refused_msr, unknown_capability, too_many_capabilities,
    too_much_by_template, more_vcpus, fewer_vcpus, vcpu_elsewhere, more_memory,
    fewer_devices,
    more_devices, drive_twice, root_behind, interface_twice, no_device,
    empty_device, cut_device, big_queue, wrong_index,
    wrong_features, wrong_serial, wrong_keyboard, wrong_host, wrong_limits,
    wrong_file,
]


def states_are_refused_by_name(t):
    """what a state says wrongly is named; the process loads what is good"""
    files = made(t)
    good = files.contents()[0]
    m = warm(t, files)
    for change in CHANGES:
        check_refused(m, *changed(t, files, change))
    check(State(files.state).pack() == good, "a state put together again")
    # No name in a state makes a line of the log of its own.
    check(not re.search("^(?!.*\\[test:)", m.log().rstrip(), re.MULTILINE),
          "lines in the log that are not ours")
    loads(m, files.load_body())


def each_refusal_leaves_a_process_that_loads(t):
    """a load works as the next one after each kind of refusal"""
    files = made(t)
    for change in other_vendor, other_tsc, refused_msr, big_queue, no_device:
        m = warm(t, files)
        check_refused(m, *changed(t, files, change))
        loads(m, files.load_body())
        m.kill()


def optional_sections_may_be_missing(t):
    """a state of a program that knew of fewer checks is loaded"""
    files = made(t)
    state = State(files.state)
    for tag in b"CAPS", b"FORC", b"HOST", b"DRIV", b"VCFG", b"RATE":
        check(state.indexes(tag), "no section " + tag.decode())
        for index in state.indexes(tag):
            del state.sections[tag, index]
    write(t.path("older"), state.pack())
    loads(t.monitor(), {**files.load_body(), "snapshot_path": t.path("older")})


def other_sections_are_left_alone(t):
    """logs, metrics and templates that a state names are not opened"""
    files = made(t)
    state = State(files.state)
    state.set_config({**state.config(), "cpu-config": t.path("none"),
                      "logger": {"log_path": t.path("l")},
                      "metrics": {"metrics_path": t.path("m")}})
    m = t.monitor()
    loads(m, {**files.load_body(), "snapshot_path": state.write(t.path("s"))})
    for name in "lm":
        check(not os.path.exists(t.path(name)), name + " was made")
    # One guest is all that a process has.
    check("not supported after starting" in m.api.refused(
        "PUT", "/snapshot/load", files.load_body()), "a second load")
    check_equal(m.api.get("/")["state"], "Running", "state")


def swapped(files, path, a, b):
    """A state in which two devices have changed places."""
    state = State(files.state)
    s = state.sections
    s[b"VDEV", a], s[b"VDEV", b] = s[b"VDEV", b], s[b"VDEV", a]
    write(path, state.pack())
    return {**files.load_body(), "snapshot_path": path}


def overrides_are_refused_by_name(t):
    """overrides of what is not there, or cannot be, are refused by name"""
    with NetNs() as net:
        files = made(t, net)
        m = warm(t, files)
        name = {"iface_id": net.tap, "host_dev_name": net.tap}
        for body, why in (
                ({"drive_overrides": [{"drive_id": "three"}]},
                 r"Unknown Block Device: 'three'\.$"),
                ({"drive_overrides": [{"drive_id": "two",
                                       "path_on_host": t.path("none")}]},
                 "Block: .*No such file or directory.* " + t.path("none")),
                ({"drive_overrides": [{"drive_id": "one", "path": "x"}]},
                 "unknown field `path`, expected one of `drive_id`"),
                ({"drive_overrides": [{}]}, "missing field `drive_id`"),
                ({"network_overrides": [{**name, "iface_id": "x"}]},
                 r"Unknown Network Device\.$"),
                ({"network_overrides": [{"iface_id": net.tap}]},
                 "missing field `host_dev_name`"),
                ({"network_overrides": [{**name, "guest_mac": "1:2"}]},
                 "The provided MAC address is invalid"),
                ({"network_overrides": [{**name, "rx_rate_limiter": {
                    "ops": {"size": 1}}}]}, "missing field `refill_time`"),
                ({"vsock_override": {"guest_cid": 9}},
                 "missing field `uds_path`"),
                ({"vsock_override": {"uds_path": t.path("w"),
                                     "guest_cid": 1 << 32}},
                 "invalid value: integer `4294967296`, expected u32"),
                ({"mmds": {"a": 1}}, "Unknown MMDS: the snapshot has no "),
                ({"none": 1}, "unknown field `none`, expected one of .*"
                 "`clock_realtime` at")):
            check_refused(m, files.load_body(**body), why)
        for a, b, why in ((1, 2, "Device 1 of the state is of virtio's type 1, "
                           "that of its configuration of type 2"),
                          (2, 3, "Device 2 of the state is of virtio's type "
                           "19, that of its configuration of type 1")):
            check_refused(m, swapped(files, t.path("bad"), a, b), why)
        # One that was made for a machine that then was none goes with it.
        body, why = changed(t, files, refused_msr)
        check_refused(m, {**body, "vsock_override": {"uds_path": t.path("w")}},
                      why)
        # The socket of the origin, which was killed, is still there.
        check_refused(m, files.load_body(), "Address in use")
        loads(m, files.load_body(vsock_override={"uds_path": t.path("w")}))


TESTS = [
    states_are_refused_by_name, each_refusal_leaves_a_process_that_loads,
    optional_sections_may_be_missing, other_sections_are_left_alone,
    overrides_are_refused_by_name,
]
