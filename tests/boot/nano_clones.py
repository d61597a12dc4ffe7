# SPDX-License-Identifier: Apache-2.0
"""Clones of one snapshot that run at once, and guests whose CPU a template has
changed. Run by nano_override.py."""
import json
import os
import re
import socket
import struct
import zlib

from ctl_snapshot import CTL, ctl
from monitor import SOAK, check, check_equal, drive
from nano_drive import check_pattern
from nano_refuse import check_refused, warm
from nano_snapshot import GENERATION, Files, pause, resume, said, write
from netns import TYPE_DATA, NetNs, call, make_tap
from state_file import CPUID_ENTRY, State
from vsock_host import connect, echo_streams

MIB = 1 << 20
CLONES = 100 if SOAK else 8
SEED, FRAMES, PORT, STREAM_BYTES = 7, 3, 52, 100000
ORDERS = ("generation=1,config=0,blk=0:write:%d:1:d8,blk=0:sum,"
          "net=0:send:%d:60:60,vsock=listen:%d:1:echo:0"
          % (SEED, FRAMES, PORT))
POWER_LEAF, FEATURES_LEAF = 0x80000007, 7
XCRS = 56 # KVM_CAP_XCRS, which the monitor would require


class Clone:
    """Number i, with names of its own."""

    def __init__(self, t, i):
        self.tap, self.mac = "clone%d" % i, "02:fc:00:00:01:%02x" % i
        self.cid, self.uds = 1000 + i, t.path("clone%d.sock" % i)
        self.own = os.urandom(MIB)
        self.drive = write(t.path("clone%d.disk" % i), bytes(MIB) + self.own)
        make_tap(self.tap)
        call("ip", "link", "set", self.tap, "up")
        self.monitor = None

    def load(self, t, files, net):
        """It waits to be resumed."""
        self.monitor = files.load(
            t, resume=False,
            network_overrides=[{"iface_id": net.tap, "guest_mac": self.mac,
                                "host_dev_name": self.tap}],
            drive_overrides=[{"drive_id": "disk", "path_on_host": self.drive}],
            vsock_override={"uds_path": self.uds, "guest_cid": self.cid})

    def check_spaces(self):
        """Its devices tell it what is its own."""
        number = int.from_bytes(bytes.fromhex(self.mac.replace(":", "")),
                                "little")
        for n, value in enumerate((2 * MIB // 512, number, self.cid)):
            check(re.search("^nano: config n=%d id=[0-9]+ value=0x%x told=no"
                            % (n, value), self.monitor.console(),
                            re.MULTILINE), "space %d of %s" % (n, self.tap))

    def check_drive(self):
        """What it wrote is in its file, and it read what was there."""
        check_pattern(self.drive, SEED, range(MIB // 512))
        with open(self.drive, "rb") as f:
            data = f.read()
        check(data[MIB:] == self.own, self.drive + " has another's data")
        text, = self.monitor.said(r"nano: blk sum crc32=(0x[0-9a-f]+)\r?")
        check_equal(int(text, 0), zlib.crc32(data), "what it read")


def catch_frames(sock, count):
    """[(interface, source address)] of that many from any guest."""
    seen = []
    while len(seen) < count:
        data, address = sock.recvfrom(100)
        seen.append((address[0], data[6:12].hex(":")))
    return seen


def clones_have_their_own(t):
    """clones run at once; id, drive, TAP, MAC, CID and socket are their own"""
    with NetNs() as net:
        uds = t.path("v.sock")
        m = t.boot_api(ORDERS, [drive(t.file("disk", 2 * MIB))],
                       vsock={"guest_cid": 3, "uds_path": uds},
                       **{"network-interfaces": [net.interface()]})
        first = m.wait_text(GENERATION).group(1)
        files = Files(t)
        pause(m)
        files.create(m)
        m.kill()
        clones = [Clone(t, i) for i in range(CLONES)]
        frames = net.keep(socket.socket(socket.AF_PACKET, socket.SOCK_RAW,
                                        socket.htons(TYPE_DATA)), 60)
        for c in clones:
            c.load(t, files, net)
        for c in clones:
            resume(c.monitor)
        for c in clones:
            c.monitor.wait_text("^nano: vsock cid=%d\r?$" % c.cid)
        check_equal(sorted(catch_frames(frames, FRAMES * CLONES)),
                    sorted([(c.tap, c.mac) for c in clones] * FRAMES),
                    "frames: (interface, source)")
        # All are there, each on its socket, and speak at the same time.
        echo_streams([connect(c.uds, PORT)[0] for c in clones], STREAM_BYTES)
        for c in clones:
            c.monitor.check_end()
            c.check_spaces()
            c.check_drive()
        ids = [c.monitor.said(GENERATION[1:-1])[0] for c in clones]
        check_equal(len({first, *ids}), CLONES + 1, "distinct ids")


def template(t):
    """The path of one that gives what no host has, and takes what all have."""
    ones = "0b" + 32 * "1"
    leaves = [(POWER_LEAF, "edx"), (FEATURES_LEAF, "edx"), (0, "ebx")]
    return write(t.path("template"), json.dumps({
        "kvm_capabilities": ["!%d" % XCRS],
        "cpuid_modifiers": [
            {"leaf": hex(leaf), "subleaf": "0x0",
             "flags": 1 if leaf == FEATURES_LEAF else 0,
             "modifiers": [{"register": reg, "bitmap": ones}]}
            for leaf, reg in leaves]}).encode())


def entries(data):
    """{leaf: registers} of a section of CPUID, of subleaf 0."""
    found = {}
    for at in range(4, len(data), CPUID_ENTRY.size):
        leaf, subleaf, _, *regs = CPUID_ENTRY.unpack_from(data, at)
        if subleaf == 0:
            found[leaf] = regs
    return found


def check_template(files):
    """It is in the state: what it gave, and not what it took."""
    state = State(files.state)
    table, forced = entries(state[b"CPID", 0]), entries(state[b"FORC", 0])
    for leaf in POWER_LEAF, FEATURES_LEAF:
        bits = forced[leaf][3] if leaf in forced else 0
        check(bits and table[leaf][3] & bits == bits,
              "EDX of leaf 0x%x has not what was forced: 0x%x" % (leaf, bits))
    check(struct.pack("<I", XCRS) not in
          [state[b"CAPS", 0][at:at + 4] for at in range(
              4, len(state[b"CAPS", 0]), 4)], "the capability is required")
    return state


def templates_are_no_host_s(t):
    """what a template forced or removed is not asked of the host at a load"""
    m = t.boot_api("tick=0", **{"cpu-config": template(t)})
    m.wait_text("^nano: tick 1")
    files = Files(t)
    pause(m)
    files.create(m)
    m.kill()
    state = check_template(files)
    # Twice: the second is of a machine that has no template.
    for _ in range(2):
        if os.path.exists(CTL):
            ctl(0, "check-host", files.state)
        m = files.load(t)
        m.wait_text("^nano: tick")
        pause(m)
        said(m)
        files = Files(t, "again")
        files.create(m)
        m.kill()
        check_equal(check_template(files)[b"CPID", 0], state[b"CPID", 0],
                    "CPU of the copy")
    # It is no host's either that was to be for a guest that boots.
    m = t.monitor()
    m.api.put("/cpu-config", {"cpuid_modifiers": [{
        "leaf": "0x1", "subleaf": "0x0", "flags": 0, "modifiers": [{
            "register": "edx", "bitmap": "0b" + 31 * "x" + "0"}]}]})
    m.api.put("/snapshot/load", files.load_body())
    m.kill()
    # One that does not say so has to find it all.
    m = warm(t, files)
    del state.sections[b"FORC", 0]
    check_refused(m, {**files.load_body(),
                      "snapshot_path": state.write(t.path("bad"))},
                  "features that this host lacks: CPUID leaf 0x7 ")


TESTS = [clones_have_their_own, templates_are_no_host_s]
