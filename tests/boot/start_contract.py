#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What a start makes of good and bad files. TAP output; it is $MAYFLY.

Kernels, initrds, memory, devices, drives and their locks.
"""
import os
import struct
import sys
import time

from contract import (KVM, Monitor, contains, main, messages, same, test,
                      wait_for)
from images import (HALT, LOAD_GPA, PT_LOAD, PT_NOTE, PVH_ENTRY, RESET,
                    SAY_CMDLINE, bzimage, elf, kernel, note, pvh, segment)

START = {"action_type": "InstanceStart"}
START_FAILED = ("Failed to build MicroVM from Json: Could not Start MicroVM "
                "from one single json: ")
LOAD = ("System configuration error: Cannot load kernel due to invalid "
        "memory configuration or invalid kernel image: ")
ELF = LOAD + "Kernel Loader: failed to load ELF kernel image: Kernel Loader: "
BZ = LOAD + ("Kernel Loader: failed to load bzImage kernel image: Kernel "
             "Loader: ")
INITRD = ("Error with initrd initialization: Cannot load initrd due to an "
          "invalid ")
FILES = {"kernel": kernel(HALT), "disk": bytes(4096)}

CODE = segment(PT_LOAD, 0x1000, LOAD_GPA, 16)
# What is wrong with a kernel, the kernel, what is said of it.
KERNELS = [
    ("empty", b"", ELF + "Unable to read elf header"),
    ("short", FILES["kernel"][:63], ELF + "Unable to read elf header"),
    ("text", b"#!/bin/sh\n" * 100, ELF + "Invalid Elf magic number"),
    ("zeros", bytes(4096), ELF + "Invalid Elf magic number"),
    ("32-bit", elf([CODE], HALT * 4, cls=1), None),
    ("another machine", elf([CODE], HALT * 4, machine=183), None),
    ("headers cut off", elf([CODE], HALT * 4)[:100],
     ELF + "Unable to read program header"),
    ("headers behind the end", elf([CODE], HALT * 4, phoff=1 << 62), None),
    ("65535 headers", elf([CODE], HALT * 4, phnum=65535), None),
    ("headers of one byte", elf([CODE], HALT * 4, phentsize=1), None),
    ("code cut off", elf([CODE], HALT * 4)[:-1],
     ELF + "Unable to read kernel image"),
    ("larger than RAM", elf([segment(PT_LOAD, 0x1000, LOAD_GPA, 16,
                                     1 << 30)], HALT * 4), None),
    ("wraps around", elf([segment(PT_LOAD, 0x1000, (1 << 64) - 8, 16)],
                         HALT * 4), None),
    ("over the boot data", elf([segment(PT_LOAD, 0x1000, 0x7000, 16)],
                               HALT * 4, entry=0x7000), None),
    ("more in the file than in memory",
     elf([segment(PT_LOAD, 0x1000, LOAD_GPA, 16, 8)], HALT * 4), None),
    ("overlapping segments",
     elf([CODE, segment(PT_LOAD, 0x1000, LOAD_GPA + 8, 8)], HALT * 4), None),
    ("entry outside", elf([CODE], HALT * 4, entry=LOAD_GPA + 0x1000), None),
    ("entry above everything", elf([CODE], HALT * 4, entry=1 << 63), None),
    ("note that ends early", kernel(HALT, note(
        b"Xen\0", PVH_ENTRY, b"\0\0")), None),
    ("note longer than its segment", kernel(
        HALT, struct.pack("<III", 4, 1 << 31, PVH_ENTRY) + b"Xen\0"), None),
    ("a loop of empty notes", elf(
        [CODE, segment(PT_NOTE, 0x2000, 0, 1 << 40)],
        HALT * 4 + bytes(1 << 20)), None),
    ("a PVH entry outside", kernel(HALT, pvh(0xfffffff0)), None),
    ("bzImage cut in its header", bzimage()[:0x230], BZ),
    ("bzImage cut in its setup", bzimage()[:1024], BZ),
    ("bzImage without a boot flag", bzimage(boot_flag=0), BZ),
    ("bzImage of an old protocol", bzimage(version=0x0204), BZ),
    ("bzImage of 255 sectors of setup", bzimage(255)[:4096], BZ),
    ("bzImage larger than RAM", bzimage(init_size=1 << 30), BZ),
    ("bzImage that goes to 2^64", bzimage(pref=(1 << 64) - 4096), BZ),
]
# What is odd about kernels that boot nevertheless.
ODD_KERNELS = [
    ("a foreign note that is longer than the file", kernel(HALT, struct.pack(
        "<III", 0xfffffffc, 0xfffffffc, 1) + b"Xen\0")),
    ("no note at all", kernel(HALT, b"")),
    ("a segment without bytes in the file", elf(
        [CODE, segment(PT_LOAD, 1 << 40, LOAD_GPA + 0x1000, 0, 0x1000)],
        HALT * 4)),
    ("bzImage that would go to 0", bzimage(pref=0)),
]


def configure(m, kernel_name="bad", **more):
    """All but the start."""
    m.ok("PUT", "/machine-config", {"vcpu_count": 1, "mem_size_mib": 8})
    m.ok("PUT", "/boot-source", {"kernel_image_path": kernel_name} | more)


@test("broken kernels are refused, the process lives and boots a good one",
      KVM)
def _():
    with Monitor(files=FILES) as m:
        for what, data, text in KERNELS:
            m.write("bad", data)
            configure(m)
            reply = m.request("PUT", "/actions", START)
            same(reply.code, 400, what)
            wanted = "Start microvm error: " + (text or LOAD)
            same(reply.fault()[:len(wanted)], wanted, what)
            # Where no literal text is demanded, there must be one.
            same(text not in (None, BZ) or reply.fault() != wanted, True,
                 what)
        os.mkdir(m.file("folder"))
        configure(m, "folder")
        m.refused("PUT", "/actions", START, "Start microvm error: " + ELF +
                  "Unable to read elf header")
        m.boot()
        m.guest_ready()


@test("odd kernels that harm no one boot", KVM)
def _():
    for what, data in ODD_KERNELS:
        with Monitor(files={"bad": data}) as m:
            configure(m)
            same(m.request("PUT", "/actions", START).code, 204, what)
            time.sleep(0.02)
            m.alive()


@test("broken initrds are refused, the process lives", KVM)
def _():
    with Monitor(files=FILES | {"empty": b"", "large": bytes(8 << 20)}) as m:
        for name, text in (
                ("empty", "memory configuration.."),
                ("large", "memory configuration.."),
                (".", "image: Is a directory (os error 21).")):
            configure(m, "kernel", initrd_path=name)
            m.refused("PUT", "/actions", START,
                      "Start microvm error: " + INITRD + text)
        configure(m, "kernel", initrd_path="disk")
        m.ok("PUT", "/actions", START)
        m.guest_ready()


@test("the command line: ours after the user's words, before those of init", KVM)
def _():
    files = FILES | {"kernel": kernel(SAY_CMDLINE + RESET)}
    for root, word in (({}, "root=/dev/vda rw"),
                       ({"is_read_only": True}, "root=/dev/vda ro"),
                       ({"partuuid": "0eaa91a0-01", "is_read_only": True},
                        "root=PARTUUID=0eaa91a0-01 ro")):
        with Monitor(files=files) as m:
            m.ok("PUT", "/boot-source", {"kernel_image_path": "kernel",
                                         "boot_args": "a b -- c"})
            m.ok("PUT", "/drives/x", {"drive_id": "x", "path_on_host": "disk",
                                      "is_root_device": False})
            m.ok("PUT", "/drives/r", {"drive_id": "r", "path_on_host": "disk",
                                      "is_root_device": True, **root})
            m.ok("PUT", "/actions", START)
            m.ends(0)
            contains(m.output(), "\x16a b pci=off " + word +
                     " virtio_mmio.device=4K@0xc0001000:5"
                     " virtio_mmio.device=4K@0xc0002000:6 -- c")


@test("memory and command lines that cannot be are refused at the start", KVM)
def _():
    with Monitor(files=FILES) as m:
        configure(m, "kernel")
        m.ok("PATCH", "/machine-config", {"mem_size_mib": 1 << 43})
        m.refused("PUT", "/actions", START, "Start microvm error: Invalid "
                  "Memory Configuration: Total sum of memory regions exceeds "
                  "largest possible file offset")
        m.ok("PATCH", "/machine-config", {"mem_size_mib": 1 << 27})
        m.refused("PUT", "/actions", START, "Start microvm error: Invalid "
                  "Memory Configuration: Cannot create mmap region: Out of "
                  "memory (os error 12)")
        configure(m, "kernel", boot_args="a" * 2047)
        m.refused("PUT", "/actions", START, "Start microvm error: Invalid "
                  "kernel command line: Inserting string would make command "
                  "line too long.")
        m.ok("PUT", "/serial", {"serial_out_path": "none/out"})
        configure(m, "kernel")
        m.refused("PUT", "/actions", START, "Start microvm error: Failed to "
                  "create device manager: Error with EventFd: No such file "
                  "or directory (os error 2)")
        m.ok("PUT", "/serial", {"serial_out_path": "serial"})
        m.ok("PUT", "/actions", START)
        wait_for(lambda: m.read("serial") == "\x16", "the guest's byte")
        same("\x16" in m.output(), False, "on stdout, too")


@test("17 devices start, 18 do not", KVM)
def _():
    with Monitor(files=FILES) as m:
        configure(m, "kernel")
        for i in range(18):
            m.ok("PUT", f"/drives/d{i}", {
                "drive_id": f"d{i}", "is_root_device": False,
                "path_on_host": "disk"})
            if i == 16:
                with Monitor(files=FILES) as n:
                    configure(n, "kernel")
                    for k in range(17):
                        n.ok("PUT", f"/drives/d{k}", {
                            "drive_id": f"d{k}", "is_root_device": False,
                            "path_on_host": "disk"})
                    n.ok("PUT", "/actions", START)
        m.refused("PUT", "/actions", START, "Start microvm error: Could not "
                  "attach device: Error while registering ACPI with KVM: "
                  "VMClock: Could not allocate GSI: The requested resource "
                  "is not available.")


@test("drives: placeholders and odd sizes are taken, with one warning")
def _():
    sizes = {"none": 0, "one": 1, "odd": 1000, "even": 1024}
    with Monitor(files={k: bytes(v) for k, v in sizes.items()}) as m:
        for name in sizes:
            m.ok("PUT", "/drives/" + name, {
                "drive_id": name, "is_root_device": False,
                "path_on_host": name})
        warned = [x for x in messages(m.output()) if "multiple" in x]
        same(warned, [
            f"Disk size {sizes[name]} of '{name}' is not a multiple of "
            "sector size 512; the remainder will not be visible to the "
            "guest." for name in ("one", "odd")])


@test("a drive that another process has: a warning, or an error on request")
def _():
    def drive(m, **more):
        return {"drive_id": "d", "is_root_device": False,
                "path_on_host": m.file("disk")} | more
    with Monitor(files=FILES) as m, Monitor(sees=m) as n:
        m.ok("PUT", "/drives/d", drive(m))
        m.ok("PUT", "/drives/e", drive(m, drive_id="e"))
        same([x for x in messages(m.output()) if "in use" in x], [])
        n.ok("PUT", "/drives/d", drive(m))
        same([x for x in messages(n.output()) if "in use" in x],
             [f"The file '{m.file('disk')}' is in use by another process: "
              "data may be lost"])
        n.refused("PUT", "/drives/d", drive(m, exclusive=True), "Drive "
                  "config error: Unable to create the virtio block device: "
                  "Virtio backend error: Error manipulating the backing "
                  "file: Resource busy (os error 16) " + m.file("disk"))


@test("a drive stays locked when the same file is patched in", KVM)
def _():
    drive = {"drive_id": "d", "is_root_device": False, "path_on_host": "disk"}
    with Monitor(files=FILES) as m, Monitor(sees=m) as n:
        m.ok("PUT", "/drives/d", drive)
        m.boot()
        for _ in range(2):
            m.ok("PATCH", "/drives/d", {"drive_id": "d",
                                        "path_on_host": "disk"})
            reply = n.request("PUT", "/drives/d", drive | {
                "exclusive": True, "path_on_host": m.file("disk")})
            contains(reply.fault(), "Resource busy (os error 16)")


def config(name="kernel", **more):
    """A configuration file's value."""
    return {"boot-source": {"kernel_image_path": name}, "drives": [],
            "machine-config": {"vcpu_count": 1, "mem_size_mib": 8}} | more


@test("a kernel, initrd or too much memory from a file ends it with 1", KVM)
def _():
    cases = [(config("bad"), LOAD, data) for _, data, _ in KERNELS] + [
        (config(**{"boot-source": {"kernel_image_path": "kernel",
                                   "initrd_path": "bad"}}), INITRD, b""),
        (config(**{"machine-config": {"vcpu_count": 1, "mem_size_mib":
                                      1 << 43}}), "Invalid Memory", b"")]
    for value, text, data in cases:
        with Monitor("--no-api", "--config-file", "c", api=False,
                     started=False,
                     files=FILES | {"c": value, "bad": data}) as m:
            m.start()
            m.ends(1, data[:99])
            line = messages(m.output())[1]
            wanted = "RunWithoutApiError error: " + START_FAILED + text
            contains(line.replace("Start microvm error: ", ""), wanted)


if __name__ == "__main__":
    sys.exit(main())
