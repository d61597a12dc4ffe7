# SPDX-License-Identifier: Apache-2.0
"""A network namespace with a TAP, and the host's end of nano's net orders."""
import ctypes
import os
import socket
import struct
import subprocess

import jailed
from monitor import Failed, Skip, check, check_equal, wait_for

CLONE_NEWNET = 0x40000000
ETH_P_ALL = 3
TYPE_DATA, TYPE_ACK = 0x88b5, 0x88b6
PORT_DISCARD, PORT_RELAY = 9, 10
GUEST_IP, HOST_IP = "172.16.0.2", "172.16.0.1"
HOST_MAC, GUEST_MAC = "02:fc:00:00:00:01", "02:fc:00:00:00:02"
MTU_MAX = 65521         # of a TAP
NET_HEADER = 12
STEP, POSITION = 7919, 61
SOCKET_BYTES = 64 << 20

LIBC = ctypes.CDLL(None, use_errno=True)


def make_pattern():
    """The pattern of guest/nano/nano.h, twice."""
    period, x, words = 65521, 0x9e3779b97f4a7c15, []
    for _ in range(0, period, 8):
        x ^= x << 13 & 0xffffffffffffffff
        x ^= x >> 7
        x ^= x << 17 & 0xffffffffffffffff
        words.append(x)
    once = struct.pack("<%dQ" % len(words), *words)[:period]
    return once * 3, period


PATTERN, PERIOD = make_pattern()


def pattern(position, n):
    """n bytes of it, at most one period."""
    at = position % PERIOD
    return PATTERN[at:at + n]


def size_of(seq, low, high):
    """Bytes of packet number seq, with its Ethernet header."""
    return low + seq * STEP % (high - low + 1)


def address(kind, seq):
    """The start of a frame of type TYPE_x."""
    return (b"\x02\x4e" + struct.pack("<I", seq) +
            bytes.fromhex(HOST_MAC.replace(":", "")) +
            struct.pack(">H", kind))


def frame(seq, size):
    """Frame number seq as nano sends and expects it."""
    return address(TYPE_DATA, seq) + pattern(seq * POSITION, size - 14)


def mac(text):
    """Its bytes."""
    return bytes.fromhex(text.replace(":", ""))


def call(*words):
    """A command that must succeed."""
    done = subprocess.run(words, check=False, capture_output=True, text=True)
    check(done.returncode == 0, "%s: %s" % (" ".join(words), done.stderr))
    return done.stdout


def make_tap(name):
    """One that belongs to the jails' user."""
    call("ip", "tuntap", "add", name, "mode", "tap", "vnet_hdr", "user",
         str(jailed.UID))


class NetNs:
    """A namespace of its own, in which this process is until close(). It has a
    TAP that is up, and more that are only there."""

    def __init__(self, tap="tap0", mtu=1500, more=()):
        self.tap = tap
        self.before = os.open("/proc/thread-self/ns/net",
                              os.O_RDONLY | os.O_CLOEXEC)
        self.sockets = []
        if LIBC.unshare(CLONE_NEWNET):
            error = os.strerror(ctypes.get_errno())
            os.close(self.before)
            raise Skip("network namespace: %s" % error)
        try:
            call("ip", "link", "set", "lo", "up")
            self.make(mtu)
            for name in more:
                make_tap(name)
        except Failed as e:
            self.close()
            raise Skip("TAP: %s" % e) from None

    def make(self, mtu=1500):
        """The TAP."""
        make_tap(self.tap)
        self.set_up(mtu)

    def set_up(self, mtu=1500):
        """It has an address, and the guest as its neighbour."""
        call("ip", "link", "set", self.tap, "address", HOST_MAC, "mtu",
             str(mtu), "up")
        with open("/proc/sys/net/ipv6/conf/%s/disable_ipv6" % self.tap, "w",
                  encoding="ascii") as f:
            f.write("1")
        call("ip", "address", "add", HOST_IP + "/24", "dev", self.tap)
        call("ip", "neighbour", "add", GUEST_IP, "lladdr", GUEST_MAC, "dev",
             self.tap)

    def close(self):
        """Leave it; with its last process it is gone."""
        for s in self.sockets:
            s.close()
        if LIBC.setns(self.before, CLONE_NEWNET):
            raise Failed("setns: %s" % os.strerror(ctypes.get_errno()))
        os.close(self.before)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def interface(self):
        """As the API takes it."""
        return {"iface_id": self.tap, "host_dev_name": self.tap,
                "guest_mac": GUEST_MAC}

    def counts(self):
        """The TAP's statistics; its receive is what the guest sends."""
        names = ("bytes", "packets", "errs", "drop")
        with open("/proc/thread-self/net/dev", encoding="ascii") as f:
            for line in f:
                name, _, rest = line.partition(":")
                if name.strip() == self.tap:
                    values = list(map(int, rest.split()))
                    return {**{"rx_" + n: v for n, v in zip(names, values)},
                            **{"tx_" + n: v for n, v in zip(names,
                                                            values[8:])}}
        raise Failed("no interface " + self.tap)

    def keep(self, s, timeout=10):
        """A socket that close() closes."""
        s.settimeout(timeout)
        for option in 32, 33:           # SO_SNDBUFFORCE, SO_RCVBUFFORCE
            s.setsockopt(socket.SOL_SOCKET, option, SOCKET_BYTES)
        self.sockets.append(s)
        return s

    def raw(self, kind=ETH_P_ALL):
        """A socket for whole frames of that type."""
        s = self.keep(socket.socket(socket.AF_PACKET, socket.SOCK_RAW))
        s.bind((self.tap, kind))
        s.setsockopt(263, 1, struct.pack("iHHQ", socket.if_nametoindex(
            self.tap), 1, 0, 0))        # SOL_PACKET, PACKET_ADD_MEMBERSHIP
        return s

    def udp(self, port=0):
        """A UDP socket on the TAP's address."""
        s = self.keep(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        s.bind((HOST_IP, port))
        return s

    def wait_up(self):
        """Until somebody has opened the TAP and the host sends on it: it does
        so a while after that, and drops frames before."""
        def running():
            path = "ip", "-o", "link", "show", self.tap
            return " state UP " in call(*path)
        wait_for(running, "carrier on " + self.tap)


def send_frames(raw, count, low, high, window=64):
    """Send them, `window` at most not yet said to have come (0: no bound)."""
    came = 0
    for seq in range(count):
        while window and seq - came >= window:
            came = wait_ack(raw)
        raw.send(frame(seq, size_of(seq, low, high)))


def wait_ack(raw):
    """Number of frames that the guest says have come."""
    while True:
        f = raw.recv(64)
        if f[:2] == b"\x02\x4e" and f[12:14] == struct.pack(">H", TYPE_ACK):
            return struct.unpack_from("<I", f, 2)[0] + 1


def take_frames(raw, count, low, high, ack=0):
    """Check that frames come whole and in order; say so each `ack` frames."""
    for seq in range(count):
        f = raw.recv(1 << 17)
        while f[12:14] != struct.pack(">H", TYPE_DATA):
            f = raw.recv(1 << 17)
        check_equal(struct.unpack_from("<I", f, 2)[0], seq, "frame number")
        size = size_of(seq, low, high)
        check_equal(len(f), size, "bytes of frame %d" % seq)
        check(f[14:] == pattern(seq * POSITION, size - 14),
              "frame %d: wrong bytes" % seq)
        if ack and (seq + 1) % ack == 0 or seq + 1 == count:
            raw.send(address(TYPE_ACK, seq))


class Relay:
    """Frames by way of nano's order net=N:relay, as if sent by the guest."""

    def __init__(self, net):
        self.socket = net.udp()
        self.to = (GUEST_IP, PORT_RELAY)

    def send(self, frame_bytes, header=bytes(NET_HEADER)):
        """A frame behind a virtio header."""
        self.socket.sendto(header + frame_bytes, self.to)

    def receive(self, timeout=2):
        """The next frame that came to the guest; None: none."""
        self.socket.settimeout(timeout)
        try:
            return self.socket.recv(1 << 16)[NET_HEADER:]
        except socket.timeout:
            return None

    def end(self):
        """The order ends."""
        self.socket.sendto(b"end", self.to)
