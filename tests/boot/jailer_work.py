# SPDX-License-Identifier: Apache-2.0
"""Guests of jailed monitors: TAPs, vsock, drives, snapshots, logs. Run by
jailer.py."""
import json
import os
import subprocess

import monitor
from jail_host import GID, Jail, MAYFLY, UID, read, stage, write
from monitor import check, check_equal, drive, wait_for
from nano_drive import check_pattern
from netns import NetNs, call, take_frames
from vsock_host import check_pattern as check_stream
from vsock_host import connect, listen

PORT = 52
FRAMES, SIZE = 200, 600
STREAM = 1 << 20
MIB = 1 << 20
REFUSED = "The interface must exist and have no owner"


def machine(orders, **more):
    """A configuration that boots nano from its root."""
    return {"boot-source": {"kernel_image_path": "nano.elf",
                            "boot_args": "nano.run=" + orders},
            "drives": [], "machine-config": {"vcpu_count": 1,
                                             "mem_size_mib": 128}, **more}


def boots(jail, orders, flags=(), **more):
    """A jail in which a guest starts, with an API."""
    stage(jail, "nano.elf", os.path.join(monitor.NANO, "nano.elf"))
    write(jail.path("vm.json"), json.dumps(machine(orders, **more)))
    os.chmod(jail.path("vm.json"), 0o644)
    jail.start(*flags, more=("--config-file", "vm.json", "--log-path", "log",
                             "--api-sock", "api.sock"))
    return jail


def done(jail):
    """The guest was."""
    check_equal(jail.process.wait(monitor.DEADLINE_S), 0,
                "exit code; " + read(jail.out)[-400:])
    check("nano: done" in read(jail.out), read(jail.out)[-400:])


def taps(case):
    """a TAP of the user, of the group or of nobody; others are refused"""
    def tap(net, *owner):
        call("ip", "link", "delete", net.tap)
        call("ip", "tuntap", "add", net.tap, "mode", "tap", "vnet_hdr", *owner)
    with NetNs() as net:
        jail = Jail(case, program=MAYFLY).start()
        api = jail.api()
        for owner, allowed in (
                (("user", str(UID)), True), (("group", str(GID)), True),
                (("user", str(UID), "group", str(GID)), True), ((), True),
                (("user", str(UID + 1)), False),
                (("group", str(GID + 1)), False), (("user", "0"), False)):
            tap(net, *owner)
            status, answer = api.call(
                "PUT", "/network-interfaces/tap0", net.interface())
            check_equal(status, 204 if allowed else 400,
                        "%s: %s" % (owner, answer))
            if not allowed:
                check(REFUSED in answer["fault_message"], answer)
        call("ip", "link", "delete", net.tap)
        text = api.refused("PUT", "/network-interfaces/other", {
            "iface_id": "other", "host_dev_name": "none"})
        check(REFUSED in text, text)


def frames_in_a_namespace(case):
    """--netns: a guest's frames leave by the TAP that is the user's there"""
    with NetNs() as net:
        call("ip", "link", "delete", net.tap)
        call("ip", "tuntap", "add", net.tap, "mode", "tap", "vnet_hdr",
             "user", str(UID))
        net.set_up()
        raw = net.raw()
        path = case.path("netns")
        write(path, "")
        subprocess.run(["mount", "--bind", "/proc/thread-self/ns/net", path],
                       check=True)
        try:
            jail = boots(Jail(case, program=MAYFLY), "net=0:send:%d:%d:%d:"
                         "w64:d64" % (FRAMES, SIZE, SIZE), ("--netns", path),
                         **{"network-interfaces": [net.interface()]})
            net.wait_up()
            take_frames(raw, FRAMES, SIZE, SIZE, 16)
            done(jail)
        finally:
            subprocess.run(["umount", path], check=True)


def vsock(case):
    """vsock both ways, its socket named relative to the root"""
    device = {"vsock": {"guest_cid": 3, "uds_path": "v.sock"}}
    jail = boots(Jail(case, "in", program=MAYFLY),
                 "vsock=listen:%d:1:echo:0" % PORT, **device)
    uds = jail.path("v.sock")
    wait_for(lambda: "nano: vsock cid=3" in read(jail.out), "guest")
    s, _ = connect(uds, PORT)
    s.sendall(b"there")
    check_equal(s.recv(100), b"there", "echo")
    s.close()
    done(jail)
    jail = Jail(case, "out", program=MAYFLY)
    os.makedirs(jail.root)
    path = jail.path("v.sock")
    with listen(path, PORT) as host:
        os.chown("%s_%d" % (path, PORT), UID, GID)
        boots(jail, "vsock=connect:%d:1:send:%d" % (PORT, STREAM), **device)
        s, _ = host.accept()
        check_stream(s, STREAM)
        s.close()
        done(jail)


def patched(case):
    """PATCH of a drive to a file that came into the root after the start"""
    jail = Jail(case, program=MAYFLY)
    for name, size in ("old", MIB), ("new", 2 * MIB):
        stage(jail, "disks/" + name)
        os.truncate(jail.path("disks/" + name), size)
    boots(jail, "blk=0:write:1:1,blk=0:waitcap,blk=0:write:2:2",
          drives=[{**drive("disks/old"), "drive_id": "disk"}])
    wait_for(lambda: "blk waits for a capacity" in read(jail.out), "guest")
    api = jail.api("api.sock")
    api.refused("PATCH", "/drives/disk", {
        "drive_id": "disk", "path_on_host": "/../../../../etc/passwd"})
    api.patch("/drives/disk", {"drive_id": "disk",
                               "path_on_host": "disks/new"})
    done(jail)
    check_pattern(jail.path("disks/old"), 1, range(2048))
    check_pattern(jail.path("disks/new"), 2, range(4096))


def snapshots(case):
    """a snapshot written in one jail is loaded in another; logs, metrics"""
    first = boots(Jail(case, "a", program=MAYFLY), "tick=0",
                  metrics={"metrics_path": "metrics"})
    wait_for(lambda: "nano: tick 3" in read(first.out), "ticks")
    api = first.api("api.sock")
    api.patch("/vm", {"state": "Paused"})
    files = {"snapshot_path": "state", "mem_file_path": "mem"}
    api.put("/snapshot/create", files)
    api.put("/actions", {"action_type": "FlushMetrics"})
    check("create" in read(first.path("metrics")), "metrics")
    check("Running" in read(first.path("log")), "log")
    for name in "state", "mem", "log", "metrics":
        check_equal(os.stat(first.path(name)).st_uid, UID, name)
    second = Jail(case, "b", program=MAYFLY)
    for name in "state", "mem":
        stage(second, "images/" + name, first.path(name))
    first.kill()
    first.remove()
    check(not os.path.exists(first.folder), "the first is left")
    second.start("--new-pid-ns")
    api = second.api()
    api.put("/logger", {"log_path": "run/log"})
    api.put("/snapshot/load", {
        "snapshot_path": "images/state", "resume_vm": True, "mem_backend": {
            "backend_type": "File", "backend_path": "images/mem"}})
    wait_for(lambda: "nano: tick" in read(second.out), "ticks")
    check("tick 1\r" not in read(second.out), "it began anew")


def fifos(case):
    """log and metrics go to FIFOs that are linked into the root later"""
    jail = Jail(case, program=MAYFLY)
    stage(jail, "nano.elf", os.path.join(monitor.NANO, "nano.elf"))
    api = jail.start().api()
    for name, path, body in (("log", "/logger", "log_path"),
                             ("metrics", "/metrics", "metrics_path")):
        os.mkfifo(case.path(name))
        os.link(case.path(name), jail.path(name + ".fifo"))
        os.chown(jail.path(name + ".fifo"), UID, GID)
        api.put(path, {body: name + ".fifo"})
    readers = [os.open(case.path(name), os.O_RDONLY | os.O_NONBLOCK)
               for name in ("log", "metrics")]
    try:
        api.put("/boot-source", {"kernel_image_path": "nano.elf",
                                 "boot_args": "nano.run=hello"})
        api.put("/actions", {"action_type": "InstanceStart"})
        done(jail)
        log, metrics = (os.read(fd, 1 << 16) for fd in readers)
        check(b"InstanceStart" in log, log)
        check(metrics.startswith(b"{"), metrics)
    finally:
        for fd in readers:
            os.close(fd)


TESTS = [taps, frames_in_a_namespace, vsock, patched, snapshots, fifos]
