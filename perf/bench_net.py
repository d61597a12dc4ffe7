# SPDX-License-Identifier: Apache-2.0
"""Interfaces and vsock: of a guest, and of the host's processes alone.

The host's end is the same program in both cases, and so is the work: at most
512 frames under way, each 128th acknowledged; streams in pieces of 64 KiB; 64
connections at a time.
"""
import fcntl
import os
import re
import struct
import time

from bench_host import (PATIENCE_S, Failed, figures, figures_of, output_until,
                        ready, running)

TAP = "tap0"
# TUNSETIFF of an interface with IFF_TAP, IFF_NO_PI and IFF_VNET_HDR
TUNSETIFF, TAP_FLAGS = 0x400454ca, 0x5002
GUEST_MAC = "02:fc:00:00:00:02"
PORT = "52"
GSO = 1448
PINGS = 500
STREAM_BYTES = 1 << 30
CONNECTS = 2000
# The guest gives as much credit as mayfly does; Linux gives 256 KiB unless it
# is told otherwise.
GUEST_CREDIT = 4 << 20

# (what the guest does, bytes a frame, cut into segments): frames a run
NET_JOBS = {
    (what, size, gso): count
    for what in ("send", "recv")
    for size, gso, count in ((64, 0, 51200), (1514, 0, 51200),
                             (65226, GSO, 5120))
}
US = ("us", 1e-3)
GBIT = ("Gbit/s", 8e-9)
THOUSANDS = ("1000/s", 1e-3)


def net_measure(job):
    """Name of the figure of a job of NET_JOBS."""
    return f"net {job[0]} {job[1]}"


# measure: (title, unit, factor)
MEASURES = {}
for JOB in NET_JOBS:
    HOW = "TCP segments of 64 KiB" if JOB[2] else f"frames of {JOB[1]} bytes"
    MEASURES[net_measure(JOB)] = (
        f"net: guest {JOB[0].replace('recv', 'receive')}s {HOW}",
        *(THOUSANDS if JOB[1] == 64 else GBIT))
MEASURES["net ping"] = ("net: ping of the guest", *US)
MEASURES["vsock out"] = ("vsock: stream from the guest", *GBIT)
MEASURES["vsock in"] = ("vsock: stream to the guest", *GBIT)
MEASURES["vsock connects"] = ("vsock: connections from the guest", *THOUSANDS)
MEASURES["vsock accepts"] = ("vsock: connections to the guest", *THOUSANDS)
MEASURES["vsock ping"] = ("vsock: round trip of 64 bytes", *US)


def per_s(n, took_ns, each=1):
    """A rate."""
    return n * each * 1e9 / took_ns


def net_result(job, took_ns):
    """The figure of a job of NET_JOBS."""
    return {net_measure(job): per_s(NET_JOBS[job], took_ns,
                                    1 if job[1] == 64 else job[1])}


def wait_free_tap():
    """The kernel closes the files of a ring some time after its end."""
    end = time.monotonic() + PATIENCE_S
    request = struct.pack("16sH22x", TAP.encode(), TAP_FLAGS)
    while True:
        with open("/dev/net/tun", "r+b", buffering=0) as f:
            try:
                fcntl.ioctl(f, TUNSETIFF, request)
                return
            except OSError as e:
                if time.monotonic() > end:
                    raise Failed(f"{TAP}: {e.strerror}") from None
        time.sleep(0.005)


def unlink(*paths):
    """Sockets of earlier runs."""
    for path in paths:
        if os.path.exists(path):
            os.unlink(path)


class HostNet:
    """What the TAP and Unix sockets give to processes of the host."""

    def net(self):
        """Frames from one end of the TAP to the other."""
        program, result = self.bench.program["netfloor"], {}
        for job, count in NET_JOBS.items():
            ends = ["tap:" + TAP, TAP]
            if job[0] == "recv":
                ends.reverse()
            wait_free_tap()
            with ready(program, ends[1], "recv", str(count)):
                _, ns = figures(program, ends[0], "send", str(count),
                                *map(str, job[1:]))
            result.update(net_result(job, ns))
        wait_free_tap()
        with ready(program, "tap:" + TAP, "echo", str(PINGS)):
            _, ns = figures(program, "-", "ping", str(PINGS))
        return {**result, "net ping": ns}

    def pair(self, listener, connector):
        """What both ends of Unix sockets say: ((n, ns), (n, ns))"""
        path = self.bench.file("pair")
        program = self.bench.program["sockfloor"]
        unlink(path)
        with ready(program, "listen", path, *listener) as p:
            other = figures(program, "connect", path, *connector)
            return figures_of(p), other

    def vsock(self):
        """The same streams and connections without a guest."""
        n = str(CONNECTS)
        stream, _ = self.pair(("recv", "0"), ("send", str(STREAM_BYTES)))
        connects, _ = self.pair(("open", n), ("open", n))
        _, ping = self.pair(("echo", "0"), ("ping", str(PINGS)))
        return {"vsock out": per_s(*stream), "vsock in": per_s(*stream),
                "vsock connects": per_s(*connects),
                "vsock accepts": per_s(*connects), "vsock ping": ping[1]}


class GuestNet:
    """A guest with an interface, on the TAP."""

    def net(self):
        """Each job in a guest of its own."""
        result = {}
        for job in NET_JOBS:
            run = self.net_send if job[0] == "send" else self.net_recv
            result.update(net_result(job, run(job, NET_JOBS[job])))
        return {**result, "net ping": self.net_ping()}

    def with_net(self, order):
        """The running guest."""
        wait_free_tap()
        # Another host than the TAP's, or that would answer segments.
        words = f"nano.host=172.16.0.9 nano.run=net=0:{order} nano.end=halt"
        return running(*self.command(words, tap=TAP))

    def net_send(self, job, count):
        """How long the guest took."""
        order = f"send:{count}:{job[1]}:{job[1]}:w512:blank"
        if job[2]:
            order += f":tcp:g{job[2]}"
        with ready(self.bench.program["netfloor"], TAP, "recv", str(count)):
            with self.with_net(order) as p:
                out = output_until(p, b"nano: done")
        m = re.search(rf"nano: net sent n={count} .* ns=(\d+)", out)
        if not m:
            raise Failed(f"{self.name}: {order}:\n{out}")
        return int(m[1])

    def net_recv(self, job, count):
        """How long the host took."""
        with self.with_net(f"recv:{count}:0:0:a128:blank") as p:
            output_until(p, b"nano: net receives")
            _, ns = figures(self.bench.program["netfloor"], TAP, "send",
                            str(count), *map(str, job[1:]))
        return ns

    def net_ping(self):
        """The median of one."""
        with self.with_net(f"echo:60:{PINGS}") as p:
            output_until(p, b"nano: net echoes")
            _, ns = figures(self.bench.program["netfloor"], "-", "ping",
                            str(PINGS))
        return ns


class GuestVsock:
    """A guest with a vsock device of Firecracker's protocol."""

    def from_guest(self, order, job, argument):
        """What the host's end says of one order of the guest."""
        path = self.bench.file("vsock")
        unlink(path, f"{path}_{PORT}")
        program = self.bench.program["sockfloor"]
        words = f"nano.run=vsock=connect:{PORT}:{order} nano.end=halt"
        with ready(program, "listen", f"{path}_{PORT}", job, argument) as host:
            with running(*self.command(words, vsock=path)):
                return figures_of(host)

    def to_guest(self, order, job, argument):
        """The same, the host being the one that connects."""
        path = self.bench.file("vsock")
        unlink(path)
        program = self.bench.program["sockfloor"]
        words = f"nano.run=vsock=listen:{PORT}:{order} nano.end=halt"
        with running(*self.command(words, vsock=path)) as p:
            output_until(p, b"nano: vsock cid=")
            return figures(program, "connect", path, job, argument, PORT)

    def vsock(self):
        """Each job in a guest of its own."""
        n = str(CONNECTS)
        return {
            "vsock out": per_s(*self.from_guest(f"1:send:{STREAM_BYTES}",
                                                "recv", "0")),
            "vsock in": per_s(*self.to_guest(
                f"1:recv:0:blank:c{GUEST_CREDIT}", "send",
                str(STREAM_BYTES))),
            "vsock connects": per_s(*self.from_guest(f"{n}:close:0", "open",
                                                     n)),
            "vsock accepts": per_s(*self.to_guest(f"{n}:recv:0", "open", n)),
            "vsock ping": self.to_guest("1:echo:0", "ping", str(PINGS))[1],
        }
