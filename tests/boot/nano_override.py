#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Snapshots loaded with other names, files and limits than they were made
with, onto other hosts, and with states that are not to be trusted.

usage: nano_override.py [NAME...]     tests whose names hold one of the NAMEs
"""
import os
import re
import shutil
import sys
import time

import monitor
import nano_clones
import nano_refuse
from monitor import check, check_equal, drive, wait_for
from nano_snapshot import Files, pause, resume, said, write
from netns import GUEST_MAC, NetNs, make_tap
from state_file import State
from vsock_host import check_pattern, connect, send_pattern

MIB = 1 << 20
SECTOR = 512
OTHER_MAC = "02:fc:00:00:00:99"
OTHER_CID = 77
LIMIT = {"bandwidth": {"size": 1000000, "one_time_burst": None,
                       "refill_time": 100}, "ops": None}
DIFFERS = r"The file '(.*)' of drive '(.*)' is not as it was .*: (.*)"


def snapshot(t, m, name="snap"):
    """Of a guest, which ends by it."""
    files = Files(t, name)
    pause(m)
    files.create(m)
    m.said_before = said(m)
    m.kill()
    return files


def told(m, n, value):
    """The guest got an interrupt for device n, and read the new value."""
    m.wait_text("^nano: config n=%d id=[0-9]+ value=0x%x told=yes\r?$"
                % (n, value))


def shown(m, kind, key, name):
    """The item of that name in /vm/config."""
    return next(i for i in m.api.get("/vm/config")[kind] if i[key] == name)


def differences(m):
    """[(path, id, what)] of the warnings about drives."""
    return re.findall(DIFFERS, m.log())


def drives_have_other_files(t):
    """a drive goes on with another file, whose size the guest is told of"""
    old, new = t.file("old", MIB), t.file("new", 2 * MIB)
    ro = t.file("ro", MIB)
    m = t.boot_api("config=99", [drive(old), drive(ro, read_only=True)])
    m.wait_text("^nano: config waits")
    files = snapshot(t, m)
    os.unlink(old)
    m = files.load(t, drive_overrides=[
        {"drive_id": "old", "path_on_host": new}])
    told(m, 0, 2 * MIB // SECTOR)
    check("config n=1" not in m.console(), "the other drive has changed, too")
    is_now = shown(m, "drives", "drive_id", "old")
    check_equal((is_now["path_on_host"], is_now["is_read_only"],
                 is_now["is_root_device"]), (new, False, False), "drive")
    # Another file is not the one that it was; only its size is told.
    check_equal(differences(m), [(new, "old", "%d bytes, were %d"
                                  % (2 * MIB, MIB))], "warnings")
    # What a snapshot of it says is where it is now.
    files = snapshot(t, m, "again")
    check_equal(State(files.state).config()["drives"][0]["path_on_host"], new,
                "path in the state")


def data_are_those_of_the_other_file(t):
    """the guest reads what is in the file that was named at the load"""
    way = "1:8:d4"
    old, new = t.file("old", 16 * MIB), t.path("new")
    m = t.boot_api("blk=0:write:%s,generation=1,blk=0:verify:%s" % (way, way),
                   [drive(old)])
    m.wait_text("^nano: generation")
    files = snapshot(t, m)
    shutil.copyfile(old, new)
    write(old, bytes(16 * MIB))
    m = files.load(t, drive_overrides=[
        {"drive_id": "old", "path_on_host": new}])
    m.check_end()
    check("nano: ok blk=0:verify" in m.console(), "not verified")


def changed_drives_are_named(t):
    """a drive that is not as it was is one warning, and is loaded"""
    paths = [t.file(n, MIB) for n in ("same", "grown", "newer", "moved")]
    m = t.boot_api("config=99", [drive(p) for p in paths])
    m.wait_text("^nano: config waits")
    files = snapshot(t, m)
    m = files.load(t)
    m.alive()
    check_equal(differences(m), [], "warnings about what is unchanged")
    m.kill()
    before = [os.stat(p) for p in paths]
    os.truncate(paths[1], 3 * MIB)
    os.utime(paths[1], ns=(0, before[1].st_mtime_ns))
    os.utime(paths[2], ns=(0, 1234567890000000005))
    os.rename(paths[3], paths[3] + ".old")
    shutil.copy2(paths[3] + ".old", paths[3])
    m = files.load(t)
    told(m, 1, 3 * MIB // SECTOR)
    check_equal(differences(m), [
        (paths[1], "grown", "%d bytes, were %d" % (3 * MIB, MIB)),
        (paths[2], "newer", "changed at 1234567890.000000005, was at %d.%09d"
         % divmod(before[2].st_mtime_ns, 10 ** 9)),
        (paths[3], "moved", "inode %d, was %d"
         % (os.stat(paths[3]).st_ino, before[3].st_ino))], "warnings")


def interfaces_have_other_names(t):
    """an interface goes on with another TAP, MAC and limits"""
    with NetNs() as net:
        m = t.boot_api("config=99", **{"network-interfaces": [net.interface()]})
        m.wait_text("^nano: config waits")
        files = snapshot(t, m)
        mac = int.from_bytes(bytes.fromhex(GUEST_MAC.replace(":", "")),
                             "little")
        check("value=0x%x told=no" % mac in m.said_before, "MAC at first")
        make_tap("tap9")
        m = files.load(t, network_overrides=[
            {"iface_id": net.tap, "host_dev_name": "tap9",
             "guest_mac": OTHER_MAC, "rx_rate_limiter": LIMIT,
             "something": "else"}])
        told(m, 0, int.from_bytes(bytes.fromhex(OTHER_MAC.replace(":", "")),
                                  "little"))
        check_equal(shown(m, "network-interfaces", "iface_id", net.tap), {
            "iface_id": net.tap, "host_dev_name": "tap9",
            "guest_mac": OTHER_MAC, "mtu": None, "rx_rate_limiter": LIMIT,
            "tx_rate_limiter": None}, "interface")


def reads(count):
    """The order to read so often, and the line that it ends with."""
    order = "blk=0:bench:read:1:1:4096:%d" % count
    return order, "^nano: ok %s\r?$" % order


def limits_are_those_of_the_load(t):
    """a drive's limiter is merged as by PATCH, and holds"""
    path = t.file("disk", 16 * MIB)
    old = {"bandwidth": {"size": 1 << 40, "refill_time": 1000},
           "ops": {"size": 1000000, "refill_time": 1000}}
    order, done = reads(20)
    m = t.boot_api("generation=1," + order, [drive(path, rate_limiter=old)])
    m.wait_text("^nano: generation")
    files = snapshot(t, m)
    ops = {"size": 10, "refill_time": 1000, "one_time_burst": None}
    m = files.load(t, resume=False, drive_overrides=[
        {"drive_id": "disk", "rate_limiter": {"ops": ops}}])
    is_now = shown(m, "drives", "drive_id", "disk")["rate_limiter"]
    check_equal((is_now["ops"], is_now["bandwidth"]["size"]), (ops, 1 << 40),
                "limiter")
    before = time.monotonic()
    resume(m)
    m.wait_text(done)
    took_s = time.monotonic() - before
    check(took_s > 0.9, "20 requests at 10 a second took %.2f s" % took_s)


def copies_have_what_was_left(t):
    """tokens that the origin has spent, its copies do not have"""
    path = t.file("disk", 16 * MIB)
    ops = {"size": 40, "refill_time": 400000, "one_time_burst": 3}
    first, spent = reads(43)
    second, done = reads(1)
    m = t.boot_api(",".join([first, "generation=1", second]),
                   [drive(path, rate_limiter={"ops": ops})])
    m.wait_text(spent + "(.*\n)+nano: generation")
    files = snapshot(t, m)
    m = files.load(t)
    m.wait_text("^nano: generation")
    time.sleep(1.5)
    check(not re.search(done, m.console(), re.MULTILINE),
          "a request within 1.5 s, though one takes 10 s")
    m.kill()
    # What the load says itself is new.
    m = files.load(t, drive_overrides=[{"drive_id": "disk", "rate_limiter": {
        "ops": {"size": 41, "refill_time": 400000}}}])
    m.wait_text(done)


def sockets_have_other_numbers(t):
    """a guest learns its new CID, and talks by it"""
    uds = {n: t.path(n) for n in ("a.sock", "b.sock")}
    m = t.boot_api("vsock=listen:52:1:echo:0", mem=256, vsock={
        "guest_cid": 3, "uds_path": uds["a.sock"]})
    m.wait_text("^nano: vsock cid=3")
    files = snapshot(t, m)
    m = files.load(t, vsock_override={"uds_path": uds["b.sock"],
                                      "guest_cid": OTHER_CID})
    m.wait_text("^nano: vsock event id=0 bytes=4 cid=%d" % OTHER_CID)
    check_equal(m.api.get("/vm/config")["vsock"], {
        "guest_cid": OTHER_CID, "uds_path": uds["b.sock"]}, "vsock")
    s, _ = connect(uds["b.sock"], 52)
    send_pattern(s, 100000)
    check_pattern(s, 100000)
    s.close()
    m.check_end()


def metadata_are_those_of_the_load(t):
    """the document of the metadata service comes with the load"""
    with NetNs() as net:
        m = t.boot_api("config=99", **{
            "network-interfaces": [net.interface()],
            "mmds-config": {"network_interfaces": [net.tap]}})
        m.wait_text("^nano: config waits")
        m.api.put("/mmds", {"a": "secret of the first"})
        files = snapshot(t, m)
        m = files.load(t, mmds={"b": ["secret", {"c": None}]})
        check_equal(m.api.get("/mmds"), {"b": ["secret", {"c": None}]},
                    "document")
        check("secret" not in m.log(), "metadata are in the log")
        m.kill()
        # What is refused leaves what was there, which a load may follow.
        m = t.monitor("--mmds-size-limit", "20")
        m.api.put("/mmds", {"old": 1})
        text = m.api.refused("PUT", "/snapshot/load",
                             files.load_body(mmds={"b": "x" * 20}))
        check("mmds: " in text, text)
        check_equal(m.api.get("/mmds"), {"old": 1}, "old document")
        m.api.put("/snapshot/load", files.load_body())
        check_equal(m.api.get("/mmds"), {"old": 1}, "old document")


def uptimes(text):
    """kvmclock as the guest has printed it, ns; of whole lines."""
    return [int(n) for n in re.findall(r"^nano: uptime ns=(\d+)\r?\n", text,
                                       re.MULTILINE)]


def time_stands_still_unless_asked(t):
    """kvmclock goes on where it was; with clock_realtime where it would be"""
    away_s = 3
    m = t.boot_api("uptime=1000000")
    m.wait_text("^nano: uptime ns=[0-9]+\r?\n(.*\n)+nano: uptime ns=[0-9]+")
    files = snapshot(t, m)
    last = uptimes(m.said_before)[-1]
    time.sleep(away_s)
    for realtime in False, True:
        m = files.load(t, resume=False, clock_realtime=realtime)
        resume(m)
        wait_for(lambda: len(uptimes(m.console())) > 2, "uptimes")
        pause(m)
        seen = uptimes(said(m))
        check(all(a <= b for a, b in zip([last, *seen], seen)),
              "time goes back: %s" % [last, *seen[:5]])
        gap_s = (seen[0] - last) / 1e9
        check(gap_s > away_s if realtime else gap_s < away_s / 2,
              "%s: %.3f s passed for the guest in %d s"
              % (realtime, gap_s, away_s))
        m.kill()


def older_hosts_are_named(t):
    """a snapshot of a newer kernel is loaded with a warning"""
    m = t.boot_api("config=99")
    m.wait_text("^nano: config waits")
    files = snapshot(t, m)
    state = State(files.state)
    check_equal(state[b"HOST", 0].rstrip(b"\0").decode(), os.uname().release,
                "release")
    m = files.load(t)
    check("which is older" not in m.log(), "a warning on the same host")
    m.kill()
    state[b"HOST", 0][:] = b"999.1.2-x".ljust(64, b"\0")
    state.write(files.state)
    m = files.load(t)
    check("made on Linux 999.1.2-x; this host runs %s, which is older"
          % os.uname().release in m.log(), "no warning")


TESTS = [
    drives_have_other_files, data_are_those_of_the_other_file,
    changed_drives_are_named, interfaces_have_other_names,
    limits_are_those_of_the_load, copies_have_what_was_left,
    sockets_have_other_numbers,
    metadata_are_those_of_the_load, time_stands_still_unless_asked,
    older_hosts_are_named,
]

if __name__ == "__main__":
    sys.exit(monitor.main(TESTS + nano_clones.TESTS + nano_refuse.TESTS))
