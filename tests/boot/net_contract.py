#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Interfaces, vsock and metadata as the API has them. TAP output; it is $MAYFLY.

What is shown, what is refused and lost by nothing, starts that fail and are
tried again, configuration files. With TAPs where a network namespace can be
made.
"""
import os
import socket
import stat
import subprocess
import sys

import jailed
from contract import (KVM, Monitor, contains, main, messages, same,
                      test, wait_for)
from images import HALT, RESET, kernel
from monitor import Skip
from netns import LIBC, NetNs

CREATE = "Network config error: Could not create the network device: "
TAP = CREATE + "Open tap device failed: "
IFREQ = TAP + ("Error while creating ifreq structure: {}. Invalid TUN/TAP "
               "Backend provided by {}. Check our documentation on setting up "
               "the network devices.")
BACKEND = ("Vsock config error: Cannot create backend for vsock device: Error "
           "binding to the host-side Unix socket: ")
MMDS = "MMMDS config error: "
UNKNOWN_ID = (MMDS + "The list of network interface IDs provided contains at "
              "least one ID that does not correspond to any existing network "
              "interface.")
NOT_INITIALIZED = "MMDS error: The MMDS data store is not initialized."
TOO_LARGE = "The MMDS patch request doesn't fit."
START = {"action_type": "InstanceStart"}
PR_CAPBSET_DROP, CAP_NET_ADMIN = 24, 12
FILES = {"kernel": kernel(HALT), "disk": bytes(4096), "bad": b"#!/bin/sh\n"}
RATE = {"bandwidth": {"size": 1000, "one_time_burst": 5, "refill_time": 100},
        "ops": None}


def can_have_taps():
    """The reason why not, or None."""
    try:
        with NetNs():
            return None
    except Skip as e:
        return str(e)


TAPS = can_have_taps()


def without_net_admin():
    """For a process before its exec: what it may in a jail, where it is in
    none."""
    if LIBC.prctl(PR_CAPBSET_DROP, CAP_NET_ADMIN, 0, 0, 0):
        raise OSError("prctl")


def limit_files(m, soft, hard):
    """As the monitor's user: for others it takes a capability."""
    user = 0 if m.bare else jailed.UID
    subprocess.run(["prlimit", "--pid", str(m.process.pid),
                    f"--nofile={soft}:{hard}"], check=True, user=user,
                   group=user, extra_groups=[])


def iface(name, tap, **more):
    """The body of PUT /network-interfaces."""
    return {"iface_id": name, "host_dev_name": tap} | more


def shown(name, tap, **more):
    """What /vm/config shows of it."""
    return iface(name, tap, guest_mac=None, mtu=None, rx_rate_limiter=None,
                 tx_rate_limiter=None) | more


def listed(m, *want):
    """The interfaces are these."""
    same(m.ok("GET", "/vm/config")["network-interfaces"], list(want))


def put(m, name, tap, **more):
    """An interface that is taken."""
    m.ok("PUT", "/network-interfaces/" + name, iface(name, tap, **more))


def refused(m, text, name, tap, **more):
    """One that is not."""
    m.refused("PUT", "/network-interfaces/" + name, iface(name, tap, **more),
              text)


def descriptors(m):
    """What is open, by number; sockets of the API come and go."""
    folder = f"/proc/{m.process.pid}/fd"
    return {int(n): os.readlink(os.path.join(folder, n))
            for n in os.listdir(folder)}


# ---- interfaces ----

@test("interfaces: what is shown; one that comes again goes to the end", TAPS)
def _():
    with NetNs(), Monitor(bare="capabilities") as m:
        put(m, "a", "tap0", guest_mac="06:00:AC:10:00:02", mtu=68)
        put(m, "b", "new0", rx_rate_limiter=RATE, tx_rate_limiter={})
        a = shown("a", "tap0", guest_mac="06:00:ac:10:00:02", mtu=68)
        b = shown("b", "new0", rx_rate_limiter=RATE)
        listed(m, a, b)
        same(os.path.exists("/proc/self/net/dev") and
             socket.if_nametoindex("new0") > 0, True, "made where missing")
        put(m, "a", "tap0", mtu=65535)
        listed(m, b, shown("a", "tap0", mtu=65535))
        put(m, "a", "cut\0here")
        listed(m, b, shown("a", "cut"))
        put(m, "b", "tap%d")
        put(m, "c", "")


@test("interfaces: a PUT that fails leaves what was there", TAPS)
def _():
    with NetNs(more=["tap1"]), Monitor() as m:
        put(m, "a", "tap0", guest_mac="06:00:ac:10:00:02")
        put(m, "b", "tap1", guest_mac="06:00:ac:10:00:03")
        for text, tap, more in (
                (CREATE + "MTU 67 is out of range [68, 65535]", "tap0",
                 {"mtu": 67}),
                (TAP + "Invalid interface name", "a" * 16, {}),
                (IFREQ.format("Invalid argument (os error 22)", "lo"), "lo",
                 {}),
                (IFREQ.format("Resource busy (os error 16)", "tap1"), "tap1",
                 {}),
                ("Network config error: The MAC address is already in use: "
                 "06:00:ac:10:00:03", "tap0",
                 {"guest_mac": "06:00:AC:10:00:03"})):
            refused(m, text, "a", tap, **more)
            listed(m, shown("a", "tap0", guest_mac="06:00:ac:10:00:02"),
                   shown("b", "tap1", guest_mac="06:00:ac:10:00:03"))
        m.refused("PUT", "/network-interfaces/x", iface("a", "tap0"), "The id "
                  "from the path [x] does not match the id from the body [a]!")
        # It still holds its TAP, and can have it again.
        refused(m, IFREQ.format("Resource busy (os error 16)", "tap0"), "c",
                "tap0")
        put(m, "a", "tap0")


@test("interfaces: a TAP of somebody else is refused with what would help",
      TAPS or (os.getuid() and "not root"))
def _():
    with NetNs(), Monitor(started=False) as m:
        ours = "0" if m.bare else str(jailed.UID)
        for name, *user in (("theirs", "user", "1"), ("ours", "user", ours),
                            ("nobodys",)):
            subprocess.run(("ip", "tuntap", "add", name, "mode", "tap",
                            *user, "vnet_hdr"), check=True)
        m.before_exec = without_net_admin
        m.start()
        help_text = (" The interface must exist and have no owner, or the "
                     "user or the group of this process as its owner.")
        for tap in ("theirs", "missing"):
            refused(m, IFREQ.format("Operation not permitted (os error 1)",
                                    tap) + help_text, "n", tap)
        put(m, "n", "ours")
        put(m, "o", "nobodys")


@test("interfaces: more than start are taken, but not without end", TAPS)
def _():
    with NetNs(more=[f"t{n}" for n in range(33)]), Monitor(files=FILES) as m:
        for n in range(32):
            put(m, f"n{n}", f"t{n}")
        refused(m, CREATE[:-2] + ": No file descriptors available (os error "
                "24)", "n32", "t32")
        m.ok("PUT", "/boot-source", {"kernel_image_path": "kernel"})
        m.refused("PUT", "/actions", START, "Start microvm error: Could not "
                  "attach device: Error while registering ACPI with KVM: "
                  "VMClock: Could not allocate GSI: The requested resource "
                  "is not available.")
        m.alive()


# ---- vsock ----

@test("vsock: the socket is there at once, and goes when another comes")
def _():
    with Monitor() as m:
        m.ok("PUT", "/vsock", {"guest_cid": 3, "uds_path": "v.sock"})
        mode = os.stat(m.file("v.sock")).st_mode
        same(stat.S_ISSOCK(mode) and mode & 0o777, 0o755, "its mode")
        before = os.stat(m.file("v.sock")).st_ino
        m.ok("PUT", "/vsock", {"guest_cid": 4, "uds_path": "./v.sock"})
        same(os.stat(m.file("v.sock")).st_ino, before, "the same stays")
        os.unlink(m.file("v.sock"))
        m.ok("PUT", "/vsock", {"guest_cid": 4, "uds_path": "v.sock"})
        m.ok("PUT", "/vsock", {"guest_cid": 5, "uds_path": "w.sock"})
        same(os.path.exists(m.file("v.sock")), False, "v.sock")
        # What has come in its place is not ours to remove.
        os.unlink(m.file("w.sock"))
        m.write("w.sock", b"mine")
        reply = m.request("PUT", "/vsock", {"guest_cid": 6, "uds_path": "",
                                            "vsock_id": "x"})
        same((reply.code, "Deprecation: true" in reply.headers), (204, True))
        same(m.read("w.sock"), "mine")
        same(m.ok("GET", "/vm/config")["vsock"],
             {"guest_cid": 6, "uds_path": ""})


@test("vsock: a PUT that fails leaves what was there")
def _():
    with Monitor(files=FILES) as m:
        m.ok("PUT", "/vsock", {"guest_cid": 3, "uds_path": "v.sock"})
        for path, text in (
                ("disk", "Address in use (os error 98)"),
                ("none/v", "No such file or directory (os error 2)"),
                ("a" * 108, "path must be shorter than SUN_LEN"),
                ("v\0w", "paths must not contain interior null bytes")):
            m.refused("PUT", "/vsock", {"guest_cid": 7, "uds_path": path},
                      BACKEND + text)
        same(m.ok("GET", "/vm/config")["vsock"],
             {"guest_cid": 3, "uds_path": "v.sock"})
        with socket.socket(socket.AF_UNIX) as s:
            s.connect(m.file("v.sock"))


@test("vsock: max_connections has limits, and the limit on open files is one")
def _():
    body = {"guest_cid": 3, "uds_path": "v.sock"}
    with Monitor() as m:
        for n in (0, 65536):
            m.refused("PUT", "/vsock", body | {"max_connections": n},
                      f"Vsock config error: max_connections is {n}, it must "
                      "be from 1 to 65535")
        same(os.path.exists(m.file("v.sock")), False, "nothing is made")
        limit_files(m, 400, 2000)
        for n in (1, 1000):
            m.ok("PUT", "/vsock", body | {"max_connections": n})
            same(m.ok("GET", "/vm/config")["vsock"]["max_connections"], n)
        reply = m.request("PUT", "/vsock", body | {"max_connections": 2000})
        same(reply.code, 400)
        contains(reply.fault(), "Vsock config error: max_connections 2000 "
                 "needs a limit on open files (RLIMIT_NOFILE) of ")
        contains(reply.fault(), ", it is 2000")
        m.ok("PUT", "/vsock", body | {"max_connections": None})
        same("max_connections" in m.ok("GET", "/vm/config")["vsock"], False)


# ---- metadata ----

@test("metadata: versions, addresses, lists of interfaces", TAPS)
def _():
    config = {"version": "V1", "network_interfaces": ["n"],
              "ipv4_address": "169.254.169.254", "imds_compat": False}
    with NetNs(more=["tap1"]), Monitor() as m:
        m.refused("PUT", "/mmds/config", {"network_interfaces": ["n"]},
                  UNKNOWN_ID)
        put(m, "n", "tap0")
        put(m, "o", "tap1")
        reply = m.request("PUT", "/mmds/config", {"network_interfaces": ["n"]})
        same((reply.code, "Deprecation: true" in reply.headers), (204, True))
        m.refused("PUT", "/mmds/config", {"network_interfaces": []}, MMDS +
                  "The list of network interface IDs that allow forwarding "
                  "MMDS requests is empty.")
        m.refused("PUT", "/mmds/config", {"network_interfaces": ["n", "x"]},
                  UNKNOWN_ID)
        for ip in ("169.254.0.255", "169.254.255.0", "10.0.0.1"):
            m.refused("PUT", "/mmds/config",
                      {"network_interfaces": ["o"], "ipv4_address": ip},
                      MMDS + "The MMDS IPv4 address is not link local.")
        same(m.ok("GET", "/vm/config")["mmds-config"], config)
        for ip in ("169.254.1.0", "169.254.254.255"):
            reply = m.request("PUT", "/mmds/config", {
                "version": "V2", "network_interfaces": ["o", "n", "o"],
                "ipv4_address": ip, "imds_compat": True})
            same((reply.code, "Deprecation: true" in reply.headers),
                 (204, False))
            same(m.ok("GET", "/vm/config")["mmds-config"],
                 {"version": "V2", "network_interfaces": ["n", "o"],
                  "ipv4_address": ip, "imds_compat": True})
        # An interface that comes again is a new one.
        put(m, "n", "tap0")
        same(m.ok("GET", "/vm/config")["mmds-config"]["network_interfaces"],
             ["o"])
        m.refused("PUT", "/mmds/x", {}, "Unrecognized PUT request path `x`.")


@test("metadata: what fits; a guest that cannot ask has none", KVM or TAPS)
def _():
    for with_mmds in (True, False):
        with NetNs(), Monitor("--mmds-size-limit", "20", files=FILES) as m:
            same(m.ok("GET", "/mmds"), {})
            m.refused("PATCH", "/mmds", {"a": 1}, NOT_INITIALIZED)
            m.ok("PUT", "/mmds", {"a": "x" * 12})
            for method in ("PUT", "PATCH"):
                reply = m.request(method, "/mmds", {"a": "x" * 13})
                same((reply.code, reply.fault()), (
                    413, "MMDS limit exceeded error: " + TOO_LARGE))
            m.ok("PATCH", "/mmds", {"a": None, "b": 1})
            put(m, "n", "tap0")
            if with_mmds:
                m.ok("PUT", "/mmds/config", {"network_interfaces": ["n"]})
            m.boot()
            m.guest_ready()
            if with_mmds:
                same(m.ok("GET", "/mmds"), {"b": 1})
                m.ok("PUT", "/mmds", {"c": 1})
                continue
            m.refused("PUT", "/mmds", "{", "An error occurred when "
                      "deserializing the json body of a request: EOF while "
                      "parsing an object at line 1 column 1.")
            m.refused("PUT", "/mmds", {"a": 1}, NOT_INITIALIZED)
            m.refused("PATCH", "/mmds", {"a": 1}, NOT_INITIALIZED)
            m.refused("GET", "/mmds", None, NOT_INITIALIZED)


# ---- starts ----

@test("a start that fails can be tried again, and nothing is left open",
      KVM or TAPS)
def _():
    with NetNs(more=["tap1"]), Monitor(files=FILES) as m:
        put(m, "n", "tap0")
        put(m, "o", "tap1")
        m.ok("PUT", "/mmds/config", {"network_interfaces": ["o"]})
        m.ok("PUT", "/vsock", {"guest_cid": 3, "uds_path": "v.sock"})
        m.ok("PUT", "/drives/d", {"drive_id": "d", "is_root_device": False,
                                  "path_on_host": "disk"})
        m.ok("PUT", "/boot-source", {"kernel_image_path": "bad"})
        m.ok("PUT", "/machine-config", {"vcpu_count": 1, "mem_size_mib": 8})
        seen = []
        for _ in range(3):
            same(m.request("PUT", "/actions", START).code, 400)
            seen.append(descriptors(m))
        same(seen[2], seen[1])
        put(m, "n", "tap0", mtu=1400)
        m.ok("PUT", "/vsock", {"guest_cid": 4, "uds_path": "v.sock"})
        m.boot()
        m.guest_ready()
        # One descriptor each is left of what was opened.
        left = [name for name in descriptors(m).values()
                if name.endswith("/dev/net/tun")]
        same(len(left), 2)
        m.refused("PUT", "/network-interfaces/n", iface("n", "tap0"),
                  "PCI is not enabled")
        m.refused("DELETE", "/network-interfaces/n", None,
                  "PCI is not enabled")
        m.refused("PUT", "/vsock", {"guest_cid": 4, "uds_path": "w"}, "The "
                  "requested operation is not supported after starting the "
                  "microVM.")


@test("the limiters of an interface are patched while it runs", KVM or TAPS)
def _():
    ops = {"size": 7, "one_time_burst": None, "refill_time": 9}
    with NetNs(), Monitor(files=FILES) as m:
        put(m, "n", "tap0", rx_rate_limiter=RATE)
        m.boot()
        m.guest_ready()
        m.ok("PATCH", "/network-interfaces/n", {"iface_id": "n"})
        m.ok("PATCH", "/network-interfaces/n",
             {"iface_id": "n", "rx_rate_limiter": {"ops": ops},
              "tx_rate_limiter": {"ops": ops}})
        m.refused("PATCH", "/network-interfaces/x", {"iface_id": "x"},
                  "Network config error: Unable to update the net device: "
                  "Failed perform action on device: Device not found")
        listed(m, shown("n", "tap0", rx_rate_limiter=RATE | {"ops": ops},
                        tx_rate_limiter={"bandwidth": None, "ops": ops}))
        m.ok("PATCH", "/network-interfaces/n", {
            "iface_id": "n", "rx_rate_limiter": {
                kind: {"size": 0, "refill_time": 0}
                for kind in ("bandwidth", "ops")}})
        same(m.ok("GET", "/vm/config")["network-interfaces"][0]
             ["rx_rate_limiter"], None)


@test("a configuration file with all sections, and --metadata", KVM or TAPS)
def _():
    config = {
        "boot-source": {"kernel_image_path": "kernel"}, "drives": [],
        "machine-config": {"vcpu_count": 1, "mem_size_mib": 8},
        "network-interfaces": [iface("n-1", "tap0"), iface("o", "tap1")],
        "vsock": {"guest_cid": 3, "uds_path": "v.sock",
                  "max_connections": 5},
        "mmds-config": {"network_interfaces": ["n-1"], "version": "V2"},
        "metrics": {"metrics_path": "m"}}
    with NetNs(more=["tap1"]), Monitor(
            "--config-file", "c", "--metadata", "d",
            files=FILES | {"c": config, "d": {"a": [1]}}) as m:
        m.guest_ready()
        contains(messages(m.output()),
                 "Successfully added metadata to mmds from file")
        got = m.ok("GET", "/vm/config")
        same(got["network-interfaces"], [shown("n-1", "tap0"),
                                         shown("o", "tap1")])
        same(got["vsock"], config["vsock"])
        same(got["mmds-config"]["network_interfaces"], ["n-1"])
        same(m.ok("GET", "/mmds"), {"a": [1]})
        contains(m.read("m"), '"net_n-1":{"activate_fails":0,')
    for option, text in (
            ("c", "Failed to build MicroVM from Json: Configuration for VMM "
             "from one single json failed: MMDS error: " + TOO_LARGE),
            (None, "Failed to build MicroVM: Populating MMDS from file "
             "failed: " + TOO_LARGE + "..")):
        with Monitor("--metadata", "d", "--mmds-size-limit", "3",
                     *(["--config-file", option] if option else []),
                     started=False,
                     files=FILES | {"c": config, "d": {"a": [1]}}) as m:
            m.api = False
            m.start()
            m.ends(1, text)
            contains(messages(m.output()), "RunWithApiError error: " + text)


@test("a guest's reset with every device ends with 0", KVM or TAPS)
def _():
    with NetNs(), Monitor(files=FILES | {"kernel": kernel(RESET)}) as m:
        put(m, "n", "tap0")
        m.ok("PUT", "/mmds/config", {"network_interfaces": ["n"]})
        m.ok("PUT", "/vsock", {"guest_cid": 3, "uds_path": "v.sock"})
        m.ok("PUT", "/metrics", {"metrics_path": "m"})
        m.boot()
        m.ends(0)
        wait_for(lambda: m.read("m").count("\n") == 2, "two lines")
        same(os.path.exists(m.file("v.sock")), True, "its socket stays")


if __name__ == "__main__":
    sys.exit(main())
