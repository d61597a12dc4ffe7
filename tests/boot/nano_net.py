#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""nano and the host exchange frames over a TAP, in a network namespace.

usage: nano_net.py [NAME...]     tests whose names hold one of the NAMEs
"""
import json
import os
import socket
import struct
import sys

import monitor
from monitor import (SOAK, check, check_equal, check_quiet, drive,
                     read_metrics, wait_for)
from netns import (GUEST_IP, GUEST_MAC, MTU_MAX, NetNs, PORT_DISCARD,
                   POSITION, call, frame, mac, pattern, send_frames,
                   take_frames)

# 10^6 frames of a soak go both ways in five ways.
FRAMES = 100000 if SOAK else 3000
FLOOD = 300000 if SOAK else 20000
HALF_RING = 128
FRAME_MIN, FRAME_MAX = 14, MTU_MAX + 14
GOT = r"nano: net got n=(\d+) bytes=(\d+) lost=(\d+) late=(\d+) bad=(\d+) .*"
NO_MERGEABLE = "nano.decline=0x8000"
NO_OFFLOAD = "nano.decline=0x7f83"


def boot(t, net, orders, limits=None, **more):
    """nano with the interface, and a place for metrics."""
    metrics = {"metrics_path": t.path("metrics")}
    interface = {**net.interface(), **(limits or {})}
    m = t.boot_api(orders, mem=256, metrics=metrics,
                   **{"network-interfaces": [interface]}, **more)
    m.wait_text("^nano: net (receives|echoes|features)")
    net.wait_up()
    return m


def both_ways(t, words, window=HALF_RING, options=""):
    """Frames of all sizes arrive once, in order, whole, both ways."""
    with NetNs(mtu=MTU_MAX) as net:
        raw = net.raw()
        sizes = "%d:%d:%d" % (FRAMES, FRAME_MIN, FRAME_MAX)
        m = boot(t, net, "net=0:recv:%s:a%d%s,net=0:send:%s:w%d:d%d%s"
                 % (sizes, max(1, window // 4), options, sizes, HALF_RING,
                    HALF_RING, options), words=words)
        m.wait_text("^nano: net receives")
        send_frames(raw, FRAMES, FRAME_MIN, FRAME_MAX, window)
        m.wait_text("^nano: ok net=0:recv")
        take_frames(raw, FRAMES, FRAME_MIN, FRAME_MAX, HALF_RING // 4)
        m.check_end()
        got = list(map(int, m.said(GOT)))
        check_equal((got[0], *got[2:]), (FRAMES, 0, 0, 0),
                    "got, lost, late, bad")


def sizes_sweep(t):
    """frames of 14 to 65535 bytes arrive once, in order, both ways"""
    # A frame takes up to 17 of the 256 mergeable buffers.
    both_ways(t, "", 7)


def sizes_sweep_polled(t):
    """the same with a guest that polls"""
    both_ways(t, "nano.poll", 7)


def sizes_sweep_without_event_idx(t):
    """the same without EVENT_IDX"""
    both_ways(t, "nano.noeventidx", 7)


def sizes_sweep_without_mergeable_buffers(t):
    """the same without mergeable buffers"""
    both_ways(t, NO_MERGEABLE)


def sizes_sweep_in_pieces(t):
    """the same with odd buffers: small ones, and frames in five pieces"""
    both_ways(t, "", 1, ":b333:s5")


def what_does_not_fit_is_counted(t):
    """frames that do not fit the guest's buffers are dropped and counted"""
    with NetNs(mtu=MTU_MAX) as net:
        raw = net.raw()
        m = boot(t, net, "net=0:recv:4:0:0:b1526", words=NO_MERGEABLE)
        m.wait_text("^nano: net receives")
        for seq, size in enumerate((1514, 1515, 65535, 100)):
            raw.send(frame(seq, size))
        m.wait_text("^nano: ok net=0:recv")
        got = list(map(int, m.said(GOT)))
        check_equal(got[:3], [2, 1614, 2], "got, bytes, lost")
        m.wait_exit()
        check_equal(count_lines(t, "rx_fails"), 2, "counted")


def echoes(t):
    """ARP, ICMP echo and UDP echo are answered"""
    with NetNs() as net:
        m = boot(t, net, "net=0:echo:30:13")
        m.wait_text("^nano: net echoes")
        call("ip", "neighbour", "del", GUEST_IP, "dev", net.tap)
        udp = net.udp()
        for n in range(8):
            udp.sendto(pattern(n, 100 + 190 * n), (GUEST_IP, 7))
            check_equal(udp.recv(2000), pattern(n, 100 + 190 * n), "echo")
        neighbour = call("ip", "neighbour", "show", GUEST_IP)
        check(GUEST_MAC in neighbour, "neighbour: " + neighbour)
        ping = net.keep(socket.socket(socket.AF_INET, socket.SOCK_RAW,
                                      socket.IPPROTO_ICMP))
        for n in range(4):
            body = struct.pack(">BBHHH", 8, 0, 0, 1, n) + pattern(n, 56)
            ping.sendto(body[:2] + checksum(body) + body[4:], (GUEST_IP, 0))
            answer = ping.recv(2000)[20:]
            check_equal(answer[:1] + answer[4:], b"\0" + body[4:], "ICMP echo")
            check_equal(checksum(answer), b"\0\0", "checksum")
        m.check_end()
        m.said("nano: net echoed arp=1 icmp=4 udp=8")


def checksum(data):
    """The Internet checksum of an even number of bytes."""
    total = sum(struct.unpack(">%dH" % (len(data) // 2), data))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return struct.pack(">H", ~total & 0xffff)


def checksums_from_the_guest(t):
    """datagrams whose checksum the guest leaves to the host arrive whole"""
    for option, words in (":csum", ""), ("", ""), ("", NO_OFFLOAD):
        with NetNs(mtu=9000) as net:
            udp = net.udp(PORT_DISCARD)
            m = boot(t, net, "net=0:send:100:60:9014:udp" + option,
                     words=words)
            m.check_end()
            for seq in range(100):
                data = udp.recv(9000)
                check_equal(data, struct.pack("<I", seq) +
                            pattern(seq * POSITION, len(data) - 4), "datagram")


def checksums_to_the_guest(t):
    """datagrams come with a checksum, or with word that it is not needed"""
    for words in "", NO_OFFLOAD:
        with NetNs(mtu=9000) as net:
            udp = net.udp(PORT_DISCARD)
            m = boot(t, net, "net=0:recv:100:0:0:i20000", words=words)
            m.wait_text("^nano: net receives")
            for seq in range(100):
                udp.sendto(struct.pack("<I", seq) +
                           pattern(seq * POSITION, 80 * seq),
                           (GUEST_IP, PORT_DISCARD))
            m.check_end()
            got = list(map(int, m.said(GOT)))
            check_equal((got[0], *got[2:]), (100, 0, 0, 0),
                        "got, lost, late, bad")


def segments_from_the_guest(t):
    """TCP data that the guest leaves to be cut arrive whole"""
    with NetNs(mtu=1500) as net:
        raw = net.raw()
        raw.setsockopt(263, 15, 1)      # SOL_PACKET, PACKET_VNET_HDR
        boot(t, net, "net=0:send:50:60000:65000:tcp:g1400").check_end()
        for seq in range(50):
            f = raw.recv(1 << 17)
            while f[10 + 12:10 + 14] != b"\x08\x00" or f[10 + 23] != 6:
                f = raw.recv(1 << 17)
            _, kind, _, size = struct.unpack_from("<BBHH", f)
            check_equal((kind & 0x7f, size), (1, 1400), "segmentation")
            data = f[10 + 54:]
            check_equal(data, struct.pack("<I", seq) +
                        pattern(seq * POSITION, len(data) - 4), "data")


def flood_is_accounted_for(t):
    """of a flood, what came, the TAP's and our drops are what was sent"""
    for words, options in ("", ":i3000"), (NO_MERGEABLE, ":i3000:f500:b1000"):
        with NetNs(mtu=1500) as net:
            raw = net.raw()
            m = boot(t, net, "net=0:recv:0:0:0" + options, words=words)
            m.wait_text("^nano: net receives")
            before = net.counts()
            for seq in range(FLOOD):
                raw.send(frame(seq, 64 + seq % 1400))
            m.wait_text("^nano: ok net=0:recv")
            after = net.counts()
            got = list(map(int, m.said(GOT)))
            check_equal(got[3:], [0, 0], "late and bad")
            taken = after["tx_packets"] - before["tx_packets"]
            dropped = after["tx_drop"] - before["tx_drop"]
            check_equal(taken + dropped, FLOOD, "the TAP's count")
            m.wait_exit()
            ours = count_lines(t, "rx_fails")
            check_equal(got[0] + dropped + ours, FLOOD, "frames")
            # The second guest comes late, and has no room for a third of them.
            check(not words or min(got[0], dropped, ours) > 0,
                  "came %d, dropped %d and %d" % (got[0], dropped, ours))
        os.unlink(t.path("metrics"))


def flood_from_the_guest_is_accounted_for(t):
    """what a guest sends without end, the TAP has taken or we have counted"""
    with NetNs(mtu=1500) as net:
        m = boot(t, net, "net=0:send:1s:60:1514:blank")
        wait_for(lambda: net.counts()["rx_packets"] > 1000, "load")
        call("ip", "link", "set", net.tap, "down")
        m.check_end()
        sent, = map(int, m.said(r"nano: net sent n=(\d+) .*"))
        taken = net.counts()["rx_packets"]
        lost = count_lines(t, "tap_write_fails")
        check(lost > 0, "the TAP took all")
        check_equal(taken + lost, sent, "frames")
        check_equal(count_lines(t, "tx_packets_count"), taken, "counted")


def count_lines(t, name):
    """Sum of a metric of net over all lines written until the end."""
    with open(t.path("metrics"), encoding="utf-8") as f:
        return sum(json.loads(line)["net"][name] for line in f)


def ring_left_alone(t):
    """reception goes on after the guest left its ring empty for a while"""
    with NetNs(mtu=1500) as net:
        raw = net.raw()
        m = boot(t, net, "net=0:recv:1000:0:0:f2000:i5000")
        m.wait_text("^nano: net receives")
        for seq in range(600):
            raw.send(frame(seq, 1000))
        wait_for(lambda: net.counts()["tx_packets"] >= 200, "first frames")
        check_quiet(m)
        m.wait_text("^nano: net goes on")
        for seq in range(600, 1000):
            raw.send(frame(seq, 1000))
        m.check_end()
        got = list(map(int, m.said(GOT)))
        check_equal((got[0], *got[2:]), (1000, 0, 0, 0),
                    "got, lost, late, bad")


def link_removed_under_load(t):
    """the TAP's end hurts neither the guest, nor a drive, nor the API"""
    with NetNs(mtu=1500) as net:
        path = t.file("a", 16 << 20)
        m = boot(t, net, "net=0:send:2s:1000:1514,blk=0:write:1:16",
                 drives=[drive(path)])
        wait_for(lambda: net.counts()["rx_packets"] > 1000, "load")
        call("ip", "link", "del", net.tap)
        m.alive()
        m.check_end()


def link_removed_while_it_sends(t):
    """nor does it, with frames in it, cost time, or hurt another interface"""
    with NetNs(mtu=1500, more=["tap1"]) as net:
        other = {**net.interface(), "iface_id": "b", "host_dev_name": "tap1"}
        first = {**net.interface(), "guest_mac": "02:fc:00:00:00:03"}
        m = t.boot_api("net=0:recv:0:0:0:i3000,net=1:echo:60:4",
                       **{"network-interfaces": [first, other]})
        m.wait_text("^nano: net receives")
        raw = net.raw()
        for seq in range(2000):
            raw.send(frame(seq, 1514))
        call("ip", "link", "del", net.tap)
        check_quiet(m)
        net.tap = "tap1"
        net.set_up()
        m.wait_text("^nano: net echoes")
        udp = net.udp()
        for n in range(4):
            udp.sendto(pattern(n, 1000), (GUEST_IP, 7))
            check_equal(udp.recv(2000), pattern(n, 1000), "echo")
        m.check_end()


def link_goes_down_and_up(t):
    """an interface that was down, and renamed, works again"""
    with NetNs(mtu=1500) as net:
        m = boot(t, net, "net=0:echo:60:20")
        m.wait_text("^nano: net echoes")
        udp = net.udp()
        for n in range(10):
            call("ip", "link", "set", net.tap, "down")
            if n == 5:
                call("ip", "link", "set", net.tap, "name", "other0")
                net.tap = "other0"
            call("ip", "link", "set", net.tap, "up")
            call("ip", "neighbour", "replace", GUEST_IP, "lladdr", GUEST_MAC,
                 "dev", net.tap)
            for _ in range(2):
                udp.sendto(b"still there?", (GUEST_IP, 7))
                check_equal(udp.recv(100), b"still there?", "echo")
        m.check_end()


def has_a_mac_and_a_mtu(t):
    """the guest sees the MAC and the MTU that were configured"""
    with NetNs(mtu=9000) as net:
        raw = net.raw()
        m = t.boot_api("net=0:send:1:60:60", **{"network-interfaces": [
            {**net.interface(), "mtu": 9000}]})
        m.check_end()
        check_equal(m.said(r"nano: net features=\w+ mtu=(\d+)"), ("9000",),
                    "MTU")
        check_equal(raw.recv(100)[6:12], mac(GUEST_MAC), "MAC")


def limits_apply(t):
    """no more frames pass, either way, than a bucket gives"""
    limit = {"ops": {"size": 10, "refill_time": 100}}
    with NetNs(mtu=1500) as net:
        raw = net.raw()
        m = boot(t, net, "net=0:send:60:60:60,net=0:recv:60:60:60:i60000",
                 {"tx_rate_limiter": limit, "rx_rate_limiter": limit})
        take_frames(raw, 60, 60, 60)
        m.wait_text("^nano: net receives")
        send_frames(raw, 60, 60, 60, 0)
        m.check_end()
        # All but a full bucket have to come first: 10 ms each.
        for said in (r"nano: net sent n=60 .* ns=(\d+) .*",
                     r"nano: net got n=60 .* ns=(\d+) .*"):
            check(int(*m.said(said)) >= 490e6, "too fast: " + said)


def a_patch_reaches_frames_that_wait(t):
    """frames that would wait for hours go on after PATCH, either way"""
    hours = {"ops": {"size": 1, "refill_time": 10 ** 7}}
    none = {"ops": {"size": 0, "refill_time": 0}}
    for limiter, orders in (("tx_rate_limiter", "net=0:send:5:60:60"),
                            ("rx_rate_limiter", "net=0:recv:5:60:60:i60000")):
        with NetNs(mtu=1500) as net:
            raw = net.raw()
            m = boot(t, net, orders, {limiter: hours})
            if limiter[0] == "r":
                m.wait_text("^nano: net receives")
                send_frames(raw, 5, 60, 60, 0)
            waits = "net.%s_throttled" % limiter
            wait_for(lambda: read_metrics(m, t.path("metrics"))[waits],
                     "frame that waits")
            check("nano: ok" not in m.console(), "it did not wait")
            m.api.patch("/network-interfaces/" + net.tap,
                        {"iface_id": net.tap, limiter: none})
            if limiter[0] == "t":
                take_frames(raw, 5, 60, 60)
            m.check_end()
        os.unlink(t.path("metrics"))


TESTS = [
    sizes_sweep, sizes_sweep_polled, sizes_sweep_without_event_idx,
    sizes_sweep_without_mergeable_buffers, sizes_sweep_in_pieces,
    what_does_not_fit_is_counted, echoes, checksums_from_the_guest,
    checksums_to_the_guest, segments_from_the_guest, flood_is_accounted_for,
    flood_from_the_guest_is_accounted_for, ring_left_alone,
    link_removed_under_load, link_removed_while_it_sends,
    link_goes_down_and_up, has_a_mac_and_a_mtu, limits_apply,
    a_patch_reaches_frames_that_wait,
]

if __name__ == "__main__":
    sys.exit(monitor.main(TESTS))
