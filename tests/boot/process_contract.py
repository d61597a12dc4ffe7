#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What the monitor does as a process. TAP output; it is $MAYFLY.

Kernels, initrds and drives that are broken, logs and metrics, the
configuration file, exit codes.
"""
import json
import os
import signal
import struct
import sys
import time

from images import (HALT, LOAD_GPA, PT_LOAD, PT_NOTE, PVH_ENTRY, RESET,
                    UNDEFINED, bzimage, elf, kernel, note, pvh, segment)
from monitor import (Failed, KVM, Monitor, contains, main, messages, same,
                     test, wait_for)

START = {"action_type": "InstanceStart"}
CONFIG_FAILED = ("Failed to build MicroVM from Json: Configuration for VMM "
                 "from one single json failed: ")
START_FAILED = ("Failed to build MicroVM from Json: Could not Start MicroVM "
                "from one single json: ")
LOAD = ("System configuration error: Cannot load kernel due to invalid "
        "memory configuration or invalid kernel image: ")
ELF = LOAD + "Kernel Loader: failed to load ELF kernel image: Kernel Loader: "
BZ = LOAD + ("Kernel Loader: failed to load bzImage kernel image: Kernel "
             "Loader: ")
INITRD = ("Error with initrd initialization: Cannot load initrd due to an "
          "invalid ")
FILES = {"kernel": kernel(HALT), "reset": kernel(RESET),
         "triple": kernel(UNDEFINED), "disk": bytes(4096)}

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
    ("note of 4 GiB", kernel(HALT, struct.pack(
        "<III", 0xfffffffc, 0xfffffffc, 1) + b"Xen\0"), None),
    ("a loop of empty notes", elf(
        [CODE, segment(PT_NOTE, 0x2000, 0, 1 << 40)],
        HALT * 4 + bytes(1 << 20)), None),
    ("a PVH entry outside", kernel(HALT, pvh(0xfffffff0)), None),
    ("bzImage cut in its header", bzimage()[:0x230], None),
    ("bzImage cut in its setup", bzimage()[:1024], None),
    ("bzImage without a boot flag", bzimage(boot_flag=0), None),
    ("bzImage of an old protocol", bzimage(version=0x0204), None),
    ("bzImage of 255 sectors of setup", bzimage(255)[:4096], None),
    ("bzImage larger than RAM", bzimage(init_size=1 << 30), None),
    ("bzImage that goes to 2^64", bzimage(pref=(1 << 64) - 4096), None),
    ("bzImage that goes to 0", bzimage(pref=0), None),
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
            if not text and len(reply.fault()) < len(wanted) + 40:
                raise Failed(f"{what}: too short: {reply.fault()}")
        os.mkdir(m.file("folder"))
        configure(m, "folder")
        m.refused("PUT", "/actions", START, "Start microvm error: " + ELF +
                  "Unable to read elf header")
        m.boot()
        m.guest_ready()


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


# ---- logs and metrics ----

KEYS = ["utc_timestamp_ms", "api_server", "balloon", "block", "deprecated_api",
        "get_api_requests", "i8042", "uart", "latencies_us", "logger", "mmds",
        "net", "patch_api_requests", "put_api_requests", "seccomp", "vcpu",
        "vmm", "signals", "vsock", "entropy", "pmem", "interrupts",
        "memory_hotplug"]


@test("log lines: prefix, levels, module, file; requests and replies")
def _():
    with Monitor("--id", "x", "--log-path", "log", "--level", "Warn",
                 "--show-level", "--show-log-origin") as m:
        same(m.read("log") + m.output(), "")
        m.refused("GET", "/foo", None,
                  "Invalid request method and/or path: GET foo.")
        line = m.read("log")
        same(line[10] + line[19] + line[29:31], "T. [", line)
        contains(line, " [x:fc_api:ERROR:")
        contains(line, "Received Error. Status code: 400 Bad Request. "
                 "Message: Invalid request method and/or path: GET foo.")
        m.ok("PUT", "/logger", {"log_path": "log2", "show_level": False,
                                "show_log_origin": False})
        m.ok("GET", "/version")
        m.ok("PUT", "/drives/d", {"drive_id": "d", "is_root_device": False,
                                  "path_on_host": "/dev/null"})
        m.request("PUT", "/mmds", {"secret": 1})
        m.ok("PUT", "/cpu-config", {})
        same(messages(m.read("log2"))[1:7], [
            'The API server received a Get request on "/version".',
            "The request was executed successfully. Status code: 200 OK.",
            'The API server received a Put request on "/drives/d" with body '
            '"{\\"drive_id\\":\\"d\\",\\"is_root_device\\":false,'
            '\\"path_on_host\\":\\"/dev/null\\"}".',
            "The request was executed successfully. Status code: 204 No "
            "Content.",
            'The API server received a Put request on "/mmds".',
            messages(m.read("log2"))[6]])
        same("secret" in m.read("log2"), False, "is the secret logged?")
        contains(m.read("log2"), 'Put request on "/cpu-config". To view the '
                 "CPU template received by the API, configure log-level to "
                 "DEBUG.")
        contains(m.read("log2"), " [x:fc_api] ")
        m.ok("PUT", "/logger", {"level": "Off"})
        size = len(m.read("log2"))
        m.request("GET", "/foo")
        same(len(m.read("log2")), size, "silent")


@test("FIFOs without a reader hold nothing up; lines that do not fit count",
      KVM)
def _():
    with Monitor(files=FILES) as m:
        for name in ("log", "metrics"):
            os.mkfifo(m.file(name))
        m.ok("PUT", "/logger", {"log_path": "log"})
        m.ok("PUT", "/metrics", {"metrics_path": "metrics"})
        for _ in range(800):
            m.ok("GET", "/version")
        m.boot()
        fd = os.open(m.file("metrics"), os.O_RDONLY | os.O_NONBLOCK)
        data = b""
        deadline = time.monotonic() + 5
        while not data.endswith(b"\n") and time.monotonic() < deadline:
            try:
                data += os.read(fd, 1 << 16)
            except BlockingIOError:
                time.sleep(0.01)
        os.close(fd)
        missed = json.loads(data)["logger"]["missed_log_count"]
        same(missed > 100, True, f"{missed} missed")


@test("metrics: a line at the start, one a flush, one at the end; its keys",
      KVM)
def _():
    with Monitor("--metrics-path", "m", files=FILES) as m:
        m.ok("PUT", "/drives/d", {"drive_id": "d", "is_root_device": False,
                                  "path_on_host": "disk"})
        m.request("PUT", "/drives/e", {"drive_id": "e", "path_on_host": "no",
                                       "is_root_device": False})
        m.request("PUT", "/drives/e", "{")
        m.ok("GET", "/version")
        same(m.read("m"), "", "nothing before the start")
        m.boot()
        m.guest_ready()

        def lines():
            return [json.loads(x) for x in m.read("m").splitlines()]
        wait_for(lambda: len(lines()) == 1, "the first line")
        keys = KEYS[:3] + ["block_d"] + KEYS[3:]
        first = lines()[0]
        same(list(first), keys)
        same(first["put_api_requests"]["drive_count"], 3)
        same(first["put_api_requests"]["drive_fails"], 1)
        same(first["put_api_requests"]["actions_count"], 1)
        same(first["get_api_requests"]["vmm_version_count"], 1)
        for n in (2, 3):
            m.ok("PUT", "/actions", {"action_type": "FlushMetrics"})
            same(len(lines()), n)
        # Counts are those since the line before.
        same(lines()[2]["put_api_requests"]["drive_count"], 0)
        same(lines()[2]["put_api_requests"]["actions_count"], 1)
        m.process.send_signal(signal.SIGHUP)
        m.ends(156)
        same(len(lines()), 4)
        same(lines()[3]["signals"]["sighup"], 1)
        same(list(lines()[3]), keys)
    with Monitor("--metrics-path", "m", "--no-api", "--config-file", "c",
                 api=False, started=False,
                 files=FILES | {"c": config("reset")}) as m:
        m.start()
        m.ends(0)
        same(len(m.read("m").splitlines()), 2, "start and end")


# ---- configuration file, exit codes ----

def config(name="kernel", **more):
    """A configuration file's value."""
    return {"boot-source": {"kernel_image_path": name}, "drives": [],
            "machine-config": {"vcpu_count": 1, "mem_size_mib": 8}} | more


@test("a configuration that is refused ends it with 1 and the line")
def _():
    def drive(path):
        return [{"drive_id": "a-b", "is_root_device": False,
                 "path_on_host": path}]
    cases = [
        ({}, "Invalid JSON: missing field `drives` at line 1 column 2"),
        (b"{", "Invalid JSON: EOF while parsing an object at line 1 column "
         "1"),
        (config("none"), "Boot source error: The kernel file cannot be "
         "opened: No such file or directory (os error 2)"),
        (config(drives=drive("none")), "Block device error: Unable to create "
         "the virtio block device: Virtio backend error: Error manipulating "
         "the backing file: No such file or directory (os error 2) none"),
        (config(drives=drive(".")), "Block device error: Unable to create "
         "the virtio block device: Virtio backend error: Error manipulating "
         "the backing file: Is a directory (os error 21) ."),
        (config(**{"machine-config": {"vcpu_count": 0, "mem_size_mib": 8}}),
         "VM config error: The number of vCPUs must be greater than 0, less "
         "than 32 and must be 1 or an even number if SMT is enabled."),
        (config(logger={"log_path": "none/log"}), "Logger error: Failed to "
         "open target file: No such file or directory (os error 2)"),
        (config(metrics={"metrics_path": "none/m"}), "Metrics error: Cannot "
         "initialize the metrics system due to bad user input: No such file "
         "or directory (os error 2)"),
        (config(**{"cpu-config": "none"}),
         "File operation error: No such file or directory (os error 2)"),
        (config(entropy={}),
         "The section `entropy` is not supported by this version."),
    ]
    for value, text in cases:
        with Monitor("--no-api", "--config-file", "c", api=False,
                     started=False, files=FILES | {"c": value}) as m:
            m.start()
            m.ends(1, text)
            same(messages(m.output())[1:], [
                "RunWithoutApiError error: " + CONFIG_FAILED + text,
                "Firecracker exiting with error. exit_code=1"])
    with Monitor("--config-file", "c", api=False, started=False,
                 files={"c": {}}) as m:
        m.args += ["--api-sock", "s"]
        m.start()
        m.ends(1)
        contains(m.output(), "RunWithApiError error: " + CONFIG_FAILED)
        same(os.path.exists(m.file("s")), True, "the socket stays")


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


@test("exit codes of the guest's ends: reset 0, triple fault 1, halt none",
      KVM)
def _():
    with Monitor(files=FILES) as m:
        m.boot("reset")
        m.ends(0)
        said = messages(m.output())
        contains(said, "Vmm is stopping.")
        same(said[-1], "Firecracker exiting successfully. exit_code=0")
        same(os.path.exists(m.file("api.sock")), True, "the socket stays")
    with Monitor(files=FILES) as m:
        m.boot("triple")
        m.ends(1)
        same(messages(m.output())[-2:], [
            "RunWithApiError error: MicroVM stopped with an error: "
            "GenericError", "Firecracker exiting with error. exit_code=1"])
    for name, code, line in (
            ("reset", 0, "Firecracker exiting successfully. exit_code=0"),
            ("triple", 1, "RunWithoutApiError error: MicroVMStopped without "
             "an error: GenericError")):
        with Monitor("--no-api", "--config-file", "c", api=False,
                     started=False,
                     files=FILES | {"c": config(name)}) as m:
            m.start()
            m.ends(code, name)
            contains(messages(m.output()), line)
    with Monitor("--config-file", "c",
                 files=FILES | {"c": config()}) as m:
        m.guest_ready()
        contains(m.output(), "Successfully started microvm that was "
                 "configured from one single json")
        time.sleep(0.1)
        m.alive()


@test("exit codes of signals, before the start and while a guest runs")
def _():
    ends = {"SIGBUS": 149, "SIGSEGV": 150, "SIGXFSZ": 151, "SIGXCPU": 154,
            "SIGHUP": 156, "SIGILL": 157, "SIGTERM": -15, "SIGINT": -2,
            "SIGQUIT": -3, "SIGSYS": -31}
    survived = ("SIGPIPE", "SIGCHLD", "SIGWINCH", "SIGURG")
    for running in (False, True) if not KVM else (False,):
        for name, code in ends.items():
            with Monitor(files=FILES) as m:
                if running:
                    m.boot()
                    m.guest_ready()
                m.process.send_signal(getattr(signal, name))
                m.ends(code, name)
                if code > 0:
                    contains(m.output(), "Shutting down VM after "
                             "intercepting signal "
                             f"{getattr(signal, name).value}, code 0.")
                same(os.path.exists(m.file("api.sock")), True, name)
        with Monitor(files=FILES) as m:
            if running:
                m.boot()
            for name in survived:
                m.process.send_signal(getattr(signal, name))
            m.alive()


@test("command lines: exit codes and lines")
def _():
    arguments = "Arguments parsing error: "
    help_line = "\\n\\nFor more information try --help."
    for args, code, line in (
            (["--version"], 0, "Firecracker exiting successfully. "
             "exit_code=0"),
            (["--help"], 0, None),
            (["--foo"], 153, arguments + "Found argument 'foo' which wasn't "
             "expected, or isn't valid in this context."),
            (["--id"], 153, arguments + "The argument 'id' requires a value, "
             "but none was supplied."),
            (["--no-api"], 153, arguments + "Argument 'config-file' "
             "required, but not found."),
            (["--id", "a", "--id", "b"], 153, arguments + "The argument "
             "'id' was provided more than once."),
            (["--no-seccomp", "--seccomp-filter", "f"], 153, arguments +
             "Argument 'seccomp-filter' cannot be used together with argument "
             "'no-seccomp'."),
            (["--id", "a_b"], -6, None), (["--id", ""], -6, None),
            (["--id", "\u00e9"], -6, None),
            (["--config-file", "none", "--no-api"], -6, None),
            (["--http-api-max-payload-size", "x"], -6, None),
            (["--level", "foo"], 152, None),
            (["--enable-pci"], 153, None),
            (["--api-sock", "none/s"], 1, "RunWithApiError error: Failed to "
             "bind and run the HTTP server: IO error: No such file or "
             "directory (os error 2)"),
            (["--api-sock", "a" * 108], 1, "RunWithApiError error: Failed to "
             "bind and run the HTTP server: IO error: path must be shorter "
             "than SUN_LEN"),
            (["--api-sock", "used"], 1, "RunWithApiError error: Failed to "
             "open the API socket at: used. Check that it is not already "
             "used."),
            (["--metadata", "used"], 1, None),
            (["--seccomp-filter", "used"], 1, None)):
        with Monitor(*args, api=False, started=False,
                     files={"used": b"{}"}) as m:
            m.start()
            m.ends(code, args)
            if line:
                said = " ".join(messages(m.output())).replace(
                    " " + help_line, "").replace(help_line, "")
                contains(said, line)


if __name__ == "__main__":
    sys.exit(main())
