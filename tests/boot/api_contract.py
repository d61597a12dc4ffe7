#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What the API answers, literally. TAP output; the monitor is $MAYFLY.

Each endpoint: methods, fields, defaults, limits, texts, phases.
"""
import os
import sys

from contract import (KVM, Monitor, contains, main, request_bytes, same,
                      test)
from images import HALT, kernel

E = "An error occurred when deserializing the json body of a request: "
EARLY = "The requested operation is not supported before starting the microVM."
LATE = "The requested operation is not supported after starting the microVM."
DRIVE = ("Drive config error: Unable to create the virtio block device: ")
FILE = DRIVE + "Virtio backend error: Error manipulating the backing file: "
MACHINE = {"vcpu_count": 1, "mem_size_mib": 128, "smt": False,
           "track_dirty_pages": False, "huge_pages": "None"}
CONFIG = {
    "balloon": None, "drives": [],
    "boot-source": {"kernel_image_path": "", "initrd_path": None,
                    "boot_args": None},
    "cpu-config": None, "logger": None, "machine-config": MACHINE,
    "metrics": None, "mmds-config": None, "network-interfaces": [],
    "vsock": None, "entropy": None, "pmem": [], "memory-hotplug": None}
FILES = {"kernel": kernel(HALT), "disk": bytes(4096), "disk2": bytes(8192)}


# ---- paths and methods ----

@test("each path has its methods; others and bodies out of place are refused")
def _():
    known = {"": "GET", "version": "GET", "vm": "PATCH",
             "vm/config": "GET PATCH", "machine-config": "GET PUT PATCH",
             "boot-source": "PUT", "cpu-config": "PUT", "logger": "PUT",
             "metrics": "PUT", "serial": "PUT", "actions": "PUT",
             "drives/d": "PUT PATCH DELETE", "vsock": "PUT",
             "network-interfaces/n": "PUT PATCH DELETE",
             "mmds": "GET PUT PATCH", "foo": "", "balloon": "",
             "entropy": "", "pmem/p": "", "hotplug/memory": "", "version/x":
             "GET"}
    with Monitor() as m:
        for path, methods in known.items():
            first = path.split("/")[0]
            for method in ("GET", "PUT", "PATCH", "DELETE"):
                body = "[" if method in ("PUT", "PATCH") else None
                fault = f"Invalid request method and/or path: {method} " \
                        f"{first}."
                reply = m.request(method, "/" + path, body)
                got = reply.code == 400 and reply.fault() == fault
                same(got, method not in methods.split(), f"{method} {path}")
            m.refused("PUT", "/" + path, None, "Empty PUT request.")
            m.refused("PATCH", "/" + path, None, "Empty PATCH request.")
            m.refused("GET", "/" + path, "{}",
                      "GET request cannot have a body.")
            m.refused("DELETE", "/" + path, "{}", "Empty Delete request.")
        m.refused("PUT", "/drives", "{}", "The ID cannot be empty.")
        m.refused("PUT", "/drives/", "{}", "The ID cannot be empty.")
        for name in ("a-b", "a.b", "%41", "\u00e9"):
            reply = m.client
            reply.send(request_bytes("PUT", "/drives/" + name, "{}"))
            same(reply.reply().fault(), "API Resource IDs can only contain "
                 "alphanumeric characters and underscores.", name)


# ---- bodies ----

# Endpoint, body, what is wrong with it.
BODIES = [
    ("PUT /actions", "{}", "missing field `action_type` at line 1 column 2."),
    ("PUT /actions", '{"action_type":"x"}', "unknown variant `x`, expected "
     "one of `FlushMetrics`, `InstanceStart`, `SendCtrlAltDel` at line 1 "
     "column 18."),
    ("PUT /actions", '{"action_type":7}',
     "expected value at line 1 column 16."),
    ("PUT /actions", '{"payload":1}', "unknown field `payload`, expected "
     "`action_type` at line 1 column 10."),
    ("PUT /boot-source", "{}",
     "missing field `kernel_image_path` at line 1 column 2."),
    ("PUT /boot-source", '{"kernel_image_path":1}',
     "invalid type: integer `1`, expected a string at line 1 column 22."),
    ("PUT /boot-source", '{"x":1}', "unknown field `x`, expected one of "
     "`kernel_image_path`, `initrd_path`, `boot_args` at line 1 column 4."),
    ("PUT /boot-source", '{"boot_args":1}',
     "invalid type: integer `1`, expected a string at line 1 column 14."),
    ("PUT /drives/d", "{}", "missing field `drive_id` at line 1 column 2."),
    ("PUT /drives/d", '{"drive_id":"d"}',
     "missing field `is_root_device` at line 1 column 16."),
    ("PUT /drives/d", '{"is_root_device":"x"}', 'invalid type: string "x", '
     "expected a boolean at line 1 column 21."),
    ("PUT /drives/d", '{"cache_type":"x"}', "unknown variant `x`, expected "
     "`Unsafe` or `Writeback` at line 1 column 17."),
    ("PUT /drives/d", '{"io_engine":"x"}', "unknown variant `x`, expected "
     "`Async` or `Sync` at line 1 column 16."),
    ("PUT /drives/d", '{"rate_limiter":1}', "invalid type: integer `1`, "
     "expected struct RateLimiterConfig at line 1 column 17."),
    ("PUT /drives/d", '{"x":1}', "unknown field `x`, expected one of "
     "`drive_id`, `partuuid`, `is_root_device`, `cache_type`, "
     "`is_read_only`, `path_on_host`, `rate_limiter`, `io_engine`, `socket` "
     "at line 1 column 4."),
    ("PATCH /drives/d", '{"is_read_only":true}', "unknown field "
     "`is_read_only`, expected one of `drive_id`, `path_on_host`, "
     "`rate_limiter` at line 1 column 15."),
    ("PUT /logger", '{"level":"x"}',
     "Invalid LevelFilter at line 1 column 13."),
    ("PUT /logger", '{"log_path":1}', "invalid type: integer `1`, expected "
     "path string at line 1 column 13."),
    ("PUT /metrics", "{}",
     "missing field `metrics_path` at line 1 column 2."),
    ("PUT /metrics", '{"metrics_path":1}', "invalid type: integer `1`, "
     "expected path string at line 1 column 17."),
    ("PUT /serial", '{"serial_out_path":1}', "invalid type: integer `1`, "
     "expected path string at line 1 column 20."),
    ("PUT /machine-config", "{}",
     "missing field `vcpu_count` at line 1 column 2."),
    ("PUT /machine-config", '{"vcpu_count":1}',
     "missing field `mem_size_mib` at line 1 column 16."),
    ("PUT /machine-config", '{"vcpu_count":"x"}', 'invalid type: string '
     '"x", expected u8 at line 1 column 17.'),
    ("PUT /machine-config", '{"vcpu_count":256}', "invalid value: integer "
     "`256`, expected u8 at line 1 column 17."),
    ("PUT /machine-config", '{"mem_size_mib":-1}', "invalid value: integer "
     "`-1`, expected usize at line 1 column 18."),
    ("PUT /machine-config", '{"mem_size_mib":1.0}', "invalid type: floating "
     "point `1.0`, expected usize at line 1 column 19."),
    ("PUT /machine-config", '{"huge_pages":"1G"}', "unknown variant `1G`, "
     "expected `None` or `2M` at line 1 column 18."),
    ("PUT /machine-config", '{"vcpu_count":1,"vcpu_count":1}',
     "duplicate field `vcpu_count` at line 1 column 28."),
    ("PUT /machine-config", "{", "EOF while parsing an object at line 1 "
     "column 1."),
    ("PUT /machine-config", "x", "expected value at line 1 column 1."),
    ("PUT /machine-config", '{"smt":tru}',
     "expected ident at line 1 column 11."),
    ("PUT /machine-config", '{"vcpu_count":1,"mem_size_mib":8}x',
     "trailing characters at line 1 column 34."),
    ("PATCH /machine-config", '{"smt":1}', "invalid type: integer `1`, "
     "expected a boolean at line 1 column 8."),
    ("PATCH /vm", "{}", "missing field `state` at line 1 column 2."),
    ("PATCH /vm", '{"state":"x"}', "unknown variant `x`, expected `Paused` "
     "or `Resumed` at line 1 column 12."),
    ("PUT /cpu-config", '{"msr_modifiers":1}', "invalid type: integer `1`, "
     "expected a sequence at line 1 column 18."),
]


@test("bodies that lack a field, know one too much or have it wrong")
def _():
    with Monitor() as m:
        for where, body, text in BODIES:
            method, path = where.split()
            m.refused(method, path, body, E + text)
        m.refused("PATCH", "/machine-config", "{}", "Empty PATCH request.")
        m.refused("PATCH", "/machine-config", '{"vcpu_count":null}',
                  "Empty PATCH request.")
        same(m.ok("GET", "/vm/config"), CONFIG, "refused bodies change")
        m.ok("PUT", "/metrics", {"metrics_path": "m", "unknown": 1})


@test("/machine-config: defaults, limits, PATCH, Deprecation")
def _():
    vcpus = ("Machine config error: The number of vCPUs must be greater than "
             "0, less than 32 and must be 1 or an even number if SMT is "
             "enabled.")
    memory = ("Machine config error: The memory size (MiB) is either 0, or "
              "not a multiple of the configured page size.")
    with Monitor() as m:
        def put(**fields):
            return {"vcpu_count": 1, "mem_size_mib": 8} | fields
        same(m.ok("GET", "/machine-config"), MACHINE)
        for count in (0, 33, 255):
            m.refused("PUT", "/machine-config", put(vcpu_count=count), vcpus)
        m.refused("PUT", "/machine-config", put(vcpu_count=3, smt=True),
                  vcpus)
        m.refused("PUT", "/machine-config", put(mem_size_mib=0), memory)
        m.refused("PUT", "/machine-config",
                  put(mem_size_mib=7, huge_pages="2M"), memory)
        same(m.ok("GET", "/machine-config"), MACHINE, "refused")
        for good in (put(vcpu_count=32), put(vcpu_count=2, smt=True),
                     put(mem_size_mib=1 << 43), put(huge_pages="2M")):
            m.ok("PUT", "/machine-config", good)
            same(m.ok("GET", "/machine-config"), MACHINE | good)
        m.ok("PATCH", "/machine-config", {"track_dirty_pages": True})
        m.ok("PATCH", "/machine-config", {"vcpu_count": 4})
        same(m.ok("GET", "/machine-config"),
             MACHINE | put(vcpu_count=4, track_dirty_pages=True,
                           huge_pages="2M"))
        deprecated = "Deprecation: true"
        for body, code, named in (
                (put(cpu_template="None"), 204, True),
                (put(cpu_template="T2"), 204, True),
                (put(cpu_template="T2", vcpu_count=0), 400, True),
                (put(cpu_template=None), 204, False), (put(), 204, False)):
            reply = m.request("PUT", "/machine-config", body)
            same(reply.code, code, body)
            same(deprecated in reply.headers, named, f"{body} {deprecated}")


@test("/boot-source: files are looked at at once, a refusal keeps the old one")
def _():
    with Monitor(files=FILES) as m:
        m.ok("PUT", "/boot-source", {"kernel_image_path": "kernel",
                                     "boot_args": "a b"})
        shown = {"kernel_image_path": "kernel", "initrd_path": None,
                 "boot_args": "a b"}
        m.refused("PUT", "/boot-source", {"kernel_image_path": "none"},
                  "Boot source error: The kernel file cannot be opened: No "
                  "such file or directory (os error 2)")
        m.refused("PUT", "/boot-source", {"kernel_image_path": "kernel",
                                          "initrd_path": "none"},
                  "Boot source error: The initrd file cannot be opened due "
                  "to invalid path or invalid permissions. No such file or "
                  "directory (os error 2)")
        m.refused("PUT", "/boot-source", {"kernel_image_path": "kernel",
                                          "boot_args": "a" * 2048},
                  "Boot source error: The kernel command line is invalid: "
                  "Invalid cmdline capacity provided.")
        same(m.ok("GET", "/vm/config"), CONFIG | {"boot-source": shown})
        m.ok("PUT", "/boot-source", {"kernel_image_path": "kernel",
                                     "initrd_path": "disk",
                                     "boot_args": "a" * 2047})
        m.ok("PUT", "/boot-source", {"kernel_image_path": "."})


@test("/drives: what is shown, what is refused, the root drive is first")
def _():
    def drive(name, root=False, path="disk", **more):
        return {"drive_id": name, "is_root_device": root,
                "path_on_host": path} | more

    def shown(name, root=False, path="disk", **more):
        return {"drive_id": name, "partuuid": None, "is_root_device": root,
                "cache_type": "Unsafe", "is_read_only": False,
                "path_on_host": path, "rate_limiter": None,
                "io_engine": "Sync", "socket": None} | more
    rate = {"bandwidth": {"size": 1000, "one_time_burst": 5,
                          "refill_time": 100}, "ops": None}
    with Monitor(files=FILES) as m:
        m.ok("PUT", "/drives/a", drive("a"))
        m.ok("PUT", "/drives/b", drive("b", partuuid="u", is_read_only=True,
                                       cache_type="Writeback",
                                       io_engine="Async"))
        m.ok("PUT", "/drives/r", drive("r", True, "disk2"))
        b = shown("b", partuuid="u", is_read_only=True,
                  cache_type="Writeback", io_engine="Async")
        r = shown("r", True, "disk2")

        def listed(*want):
            same(m.ok("GET", "/vm/config")["drives"], list(want))
        listed(r, shown("a"), b)
        m.refused("PUT", "/drives/r2", drive("r2", True),
                  "Drive config error: A root block device already exists!")
        m.refused("PUT", "/drives/a", drive("a", path="none"),
                  FILE + "No such file or directory (os error 2) none")
        m.refused("PUT", "/drives/a", drive("a", path="."),
                  FILE + "Is a directory (os error 21) .")
        m.refused("PUT", "/drives/a", drive("a", path="disk\0x"),
                  FILE + "file name contained an unexpected NUL byte "
                  "disk")
        for path in ("\u00e9" * 999, "x" + "\u00e9" * 999):
            reply = m.request("PUT", "/drives/a", drive("a", path=path))
            contains(reply.fault(), "\u00e9" * 99)      # still UTF-8
        m.refused("PUT", "/drives/a", {"drive_id": "a",
                                       "is_root_device": False},
                  DRIVE + "Invalid block config.")
        m.refused("PUT", "/drives/a", drive("a", socket="s"),
                  DRIVE + "Invalid block config.")
        m.refused("PUT", "/drives/x", drive("a"), "The id from the path does "
                  "not match the id from the body!")
        listed(r, shown("a"), b)
        m.ok("PUT", "/drives/a", drive("a", path="disk2", rate_limiter=rate))
        listed(r, shown("a", path="disk2", rate_limiter=rate), b)
        m.ok("PUT", "/drives/a", drive("a", rate_limiter={
            "ops": {"size": 0, "refill_time": 0, "unknown": 1}}))
        m.ok("PUT", "/drives/r", drive("r", False))
        m.ok("PUT", "/drives/a", drive("a", True))
        listed(shown("a", True), shown("r"), b)
        m.ok("PUT", "/drives/n", drive("n", path="/dev/urandom"))


@test("/logger, /metrics and /serial before the start")
def _():
    logger = "Logger error: Failed to open target file: "
    metrics = ("Metrics error: Cannot initialize the metrics system due to "
               "bad user input: ")
    with Monitor() as m:
        m.refused("PUT", "/logger", {"log_path": "none/log"},
                  logger + "No such file or directory (os error 2)")
        m.refused("PUT", "/logger", {"log_path": "."},
                  logger + "Is a directory (os error 21)")
        for level in ("off", "TRACE", "Warning", "warn", "eRRor", "Debug"):
            m.ok("PUT", "/logger", {"level": level})
        m.ok("PUT", "/logger", {})
        m.refused("PUT", "/metrics", {"metrics_path": "none/m"},
                  metrics + "No such file or directory (os error 2)")
        m.ok("PUT", "/metrics", {"metrics_path": "m"})
        m.refused("PUT", "/metrics", {"metrics_path": "m2"},
                  metrics + "Reinitialization of metrics not allowed.")
        same(os.path.exists(m.file("m2")), True, "the second is opened")
        m.ok("PUT", "/serial", {"serial_out_path": "none/out"})
        same(m.ok("GET", "/vm/config"), CONFIG)


@test("/cpu-config: templates that pass, and that do not")
def _():
    leaf = {"leaf": "0x1", "subleaf": "0x0", "flags": 0, "modifiers": [
        {"register": "ecx", "bitmap": "0bxx1_0"}]}
    with Monitor() as m:
        m.ok("PUT", "/cpu-config", {})
        m.ok("PUT", "/cpu-config", {
            "kvm_capabilities": ["!171"], "cpuid_modifiers": [leaf],
            "msr_modifiers": [{"addr": "0x10a", "bitmap": "1", "x": 1}]})
        for body in ({"kvm_capabilities": ["x"]}, {"unknown": []},
                     {"msr_modifiers": [{"addr": "0x10a"}]},
                     {"cpuid_modifiers": [leaf | {"leaf": "y"}]},
                     {"msr_modifiers": [{"addr": "0x1", "bitmap": "2"}]}):
            contains(m.request("PUT", "/cpu-config", body).fault(), E)


# ---- phases ----

MACHINE_8 = {"vcpu_count": 1, "mem_size_mib": 8}
ROOT = {"drive_id": "d", "is_root_device": False, "path_on_host": "disk"}
BEFORE_ONLY = [
    ("PUT", "/machine-config", MACHINE_8),
    ("PATCH", "/machine-config", {"smt": False}),
    ("PUT", "/boot-source", {"kernel_image_path": "kernel"}),
    ("PUT", "/cpu-config", {}), ("PUT", "/logger", {}),
    ("PUT", "/metrics", {"metrics_path": "m"}), ("PUT", "/serial", {}),
    ("PUT", "/actions", {"action_type": "InstanceStart"})]
AFTER_ONLY = [
    ("PATCH", "/vm", {"state": "Paused"}),
    ("PATCH", "/vm", {"state": "Resumed"}),
    ("PATCH", "/drives/d", {"drive_id": "d"}), ("DELETE", "/drives/d", None),
    ("PUT", "/actions", {"action_type": "FlushMetrics"}),
    ("PUT", "/actions", {"action_type": "SendCtrlAltDel"})]


@test("what is refused before the start; start without a kernel")
def _():
    with Monitor("--id", "x-1", files=FILES) as m:
        for method, path, body in AFTER_ONLY:
            m.refused(method, path, body, EARLY)
        m.refused("PUT", "/actions", {"action_type": "InstanceStart"},
                  "Start microvm error: Cannot start microvm without kernel "
                  "configuration.")
        same(m.ok("GET", "/"), {
            "id": "x-1", "state": "Not started", "vmm_version": "1.16.1",
            "app_name": "Firecracker"})


@test("what is refused while it runs and while it is paused", KVM)
def _():
    patch = "Drive config error: Unable to patch the block device: "
    verify = " Please verify the request arguments."
    with Monitor(files=FILES) as m:
        m.ok("PUT", "/drives/d", ROOT)
        m.boot()
        m.guest_ready()
        for state in ("Running", "Paused"):
            if state == "Paused":
                m.ok("PATCH", "/vm", {"state": "Paused"})
                m.ok("PATCH", "/vm", {"state": "Paused"})
            same(m.ok("GET", "/")["state"], state)
            same(m.ok("GET", "/version"), {"firecracker_version": "1.16.1"})
            same(m.ok("GET", "/machine-config"), MACHINE | MACHINE_8)
            for method, path, body in BEFORE_ONLY:
                m.refused(method, path, body, LATE)
            m.refused("PUT", "/drives/d", ROOT, "PCI is not enabled")
            m.refused("DELETE", "/drives/d", None, "PCI is not enabled")
            m.refused("PATCH", "/drives/x", {"drive_id": "x",
                                             "path_on_host": "disk"},
                      patch + "Failed perform action on device: Device not "
                      "found" + verify)
            m.refused("PATCH", "/drives/d", {"drive_id": "d"},
                      patch + "Block: Running method expected different "
                      "backend." + verify)
            reply = m.request("PATCH", "/drives/d", {
                "drive_id": "d", "path_on_host": "none"})
            contains(reply.fault(), "Error manipulating the backing file: No "
                     "such file or directory (os error 2) none")
            m.ok("PATCH", "/drives/d", {"drive_id": "d",
                                        "path_on_host": "disk2"})
            same(m.ok("GET", "/vm/config")["drives"][0]["path_on_host"],
                 "disk2")
            m.ok("PATCH", "/drives/d", {"drive_id": "d",
                                        "path_on_host": "disk"})
            m.ok("PUT", "/actions", {"action_type": "FlushMetrics"})
        m.ok("PATCH", "/vm", {"state": "Resumed"})
        m.ok("PATCH", "/vm", {"state": "Resumed"})
        same(m.ok("GET", "/")["state"], "Running")
        same(m.ok("GET", "/vm/config"), CONFIG | {
            "drives": m.ok("GET", "/vm/config")["drives"],
            "boot-source": CONFIG["boot-source"] | {
                "kernel_image_path": "kernel"},
            "machine-config": MACHINE | MACHINE_8})


@test("the fifth Ctrl-Alt-Del that no guest reads is refused", KVM)
def _():
    press = ("PUT", "/actions", {"action_type": "SendCtrlAltDel"})
    with Monitor(files=FILES) as m:
        m.boot()
        for _ in range(4):
            m.ok(*press)
        m.refused(*press, "Internal VMM error: I8042 error: i8042 internal "
                  "buffer full.")


if __name__ == "__main__":
    sys.exit(main())
