#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The metadata service against raw frames that nano sends for us: TCP and HTTP
as no kernel would send them.

usage: nano_mmds.py [NAME...]     tests whose names hold one of the NAMEs
"""
import random
import socket
import struct
import sys
import time

import monitor
from monitor import SOAK, check, check_equal, read_metrics
from netns import GUEST_MAC, NetNs, Relay, mac

MMDS_IP = "169.254.169.254"
MMDS_MAC = "06:01:23:45:67:01"
OUR_IP = "169.254.1.9"
FIN, SYN, RST, PSH, ACK = 1, 2, 4, 8, 16
DATA = {"latest": {"meta-data": {"name": "nano", "list": list(range(400))}}}
ROUNDS = 20000 if SOAK else 1500


def checksum(data):
    """RFC 1071."""
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(">%dH" % (len(data) // 2), data))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return ~total & 0xffff


def ethernet(payload, kind=0x0800):
    """A frame to the service."""
    return mac(MMDS_MAC) + mac(GUEST_MAC) + struct.pack(">H", kind) + payload


def ipv4(payload, protocol=6, **wrong):
    """A packet to the service; wrong replaces fields."""
    h = {"first": 0x45, "length": 20 + len(payload), "id": 1, "fragment": 0,
         "ttl": 64, "sum": None, "to": MMDS_IP, **wrong}
    head = struct.pack(">BBHHHBBH4s4s", h["first"], 0, h["length"] & 0xffff,
                       h["id"], h["fragment"], h["ttl"], protocol, 0,
                       socket.inet_aton(OUR_IP), socket.inet_aton(h["to"]))
    total = checksum(head) if h["sum"] is None else h["sum"]
    return head[:10] + struct.pack(">H", total) + head[12:] + payload


def tcp(port, flags, seq, ack=0, data=b"", **wrong):
    """A segment to port 80; wrong replaces fields."""
    h = {"offset": 5, "window": 65535, "sum": None, "options": b"", "to": 80,
         **wrong}
    body = struct.pack(">HHIIBBHHH", port, h["to"], seq & 0xffffffff,
                       ack & 0xffffffff, h["offset"] << 4, flags,
                       h["window"], 0, 0) + h["options"] + data
    pseudo = (socket.inet_aton(OUR_IP) + socket.inet_aton(MMDS_IP) +
              struct.pack(">BBH", 0, 6, len(body)))
    total = checksum(pseudo + body) if h["sum"] is None else h["sum"]
    return body[:16] + struct.pack(">H", total) + body[18:]


def frame(*args, **wrong):
    """All of it."""
    return ethernet(ipv4(tcp(*args, **wrong)))


def read_segment(data):
    """(source port, port, seq, ack, flags, data) of a frame, or None."""
    if data is None or data[12:14] != b"\x08\x00" or data[23] != 6:
        return None
    length = struct.unpack_from(">H", data, 16)[0]
    segment = data[34:14 + length]
    ports = struct.unpack_from(">HHII", segment)
    return (*ports, segment[13], segment[(segment[12] >> 4) * 4:])


class Peer:
    """A TCP client without a kernel."""

    def __init__(self, relay):
        self.relay = relay
        self.port = random.randrange(20000, 60000)

    def wait(self, seconds=2):
        """The next segment that is for us; None: none came."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            s = read_segment(self.relay.receive(end - time.monotonic()))
            if s and s[1] == self.port:
                return s
        return None

    def drain(self):
        """Forget what is on its way."""
        while self.relay.receive(0.02):
            pass

    def open(self):
        """(our next, its next) sequence number of a connection."""
        self.port = 20000 + (self.port - 20000 + 1) % 40000
        seq = random.getrandbits(32)
        self.relay.send(frame(self.port, SYN, seq))
        s = self.wait()
        check(s and s[4] == SYN | ACK, "no SYN-ACK: %r" % (s,))
        check_equal(s[3], (seq + 1) & 0xffffffff, "acknowledged")
        return seq + 1, s[2] + 1

    def ask(self, request):
        """The answer to what is sent at once; the connection is closed."""
        mine, its = self.open()
        self.relay.send(frame(self.port, ACK | PSH, mine, its, request))
        mine += len(request)
        answer = b""
        while not whole(answer):
            s = self.wait()
            if s is None or s[4] & RST:
                break
            if s[2] == its & 0xffffffff:
                answer += s[5]
                its += len(s[5]) + (s[4] & FIN)
            self.relay.send(frame(self.port, ACK, mine, its))
            if s[4] & FIN:
                break
        self.relay.send(frame(self.port, RST | ACK, mine, its))
        return answer


def whole(answer):
    """Whether a reply has the length that it says."""
    head, found, body = answer.partition(b"\r\n\r\n")
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return len(body) >= int(value)
    return bool(found)


def get(path="/latest/meta-data/name", words=""):
    """A request."""
    return ("GET %s HTTP/1.1\r\n%s\r\n" % (path, words)).encode()


def status(answer):
    """Of a reply."""
    return answer[9:12].decode() if answer.startswith(b"HTTP/1.") else answer


def check_served(peer):
    """A client that does it right is served as ever."""
    answer = peer.ask(get())
    check_equal(status(answer), "200", "status")
    check(answer.endswith(b"\r\n\r\nnano"), "answer %r" % answer)


class Service:
    """nano that relays, and the service on its interface."""

    def __init__(self, t, net, version="V1"):
        self.metrics = t.path("metrics")
        self.m = t.boot_api(
            "net=0:relay:%d" % (600 if SOAK else 100),
            metrics={"metrics_path": self.metrics},
            **{"network-interfaces": [net.interface()],
               "mmds-config": {"version": version,
                               "network_interfaces": [net.tap]}})
        self.m.wait_text("^nano: net relays")
        net.wait_up()
        self.m.api.put("/mmds", DATA)
        self.peer = Peer(Relay(net))

    def counts(self):
        """Of the service."""
        return read_metrics(self.m, self.metrics)

    def end(self):
        """The guest is done, and nothing is wrong with the monitor."""
        self.m.alive()
        self.peer.relay.end()
        self.m.check_end()


def is_served(t):
    """ARP, TCP and HTTP by hand; a long answer comes whole"""
    with NetNs() as net:
        s = Service(t, net)
        arp = struct.pack(">HHBBH6s4s6s4s", 1, 0x0800, 6, 4, 1,
                          mac(GUEST_MAC), socket.inet_aton(OUR_IP), bytes(6),
                          socket.inet_aton(MMDS_IP))
        s.peer.relay.send(b"\xff" * 6 + ethernet(arp, 0x0806)[6:])
        answer = s.peer.relay.receive()
        check(answer and answer[22:28] == mac(MMDS_MAC), "ARP %r" % answer)
        check_served(s.peer)
        long = s.peer.ask(get("/latest/meta-data/list",
                              "Accept: application/json\r\n"))
        check(long.endswith(b",398,399]"), "long answer %r" % long[-20:])
        check_equal(status(s.peer.ask(get("/none"))), "404", "status")
        s.end()


WRONG_FRAMES = [
    ethernet(b""), ethernet(b"\x45"), ethernet(ipv4(b"")),
    ethernet(ipv4(b"\0" * 19)),
    ethernet(ipv4(tcp(1, SYN, 1), length=20)),
    ethernet(ipv4(tcp(1, SYN, 1), length=0)),
    ethernet(ipv4(tcp(1, SYN, 1), length=65535)),
    ethernet(ipv4(tcp(1, SYN, 1), first=0x40)),
    ethernet(ipv4(tcp(1, SYN, 1), first=0x4f)),
    ethernet(ipv4(tcp(1, SYN, 1), first=0x65)),
    ethernet(ipv4(tcp(1, SYN, 1), fragment=0x2000)),
    ethernet(ipv4(tcp(1, SYN, 1), fragment=1)),
    ethernet(ipv4(tcp(1, SYN, 1), sum=1)),
    ethernet(ipv4(tcp(1, SYN, 1), protocol=17)),
    ethernet(ipv4(tcp(1, SYN, 1), protocol=1)),
    frame(1, SYN, 1, offset=0), frame(1, SYN, 1, offset=15),
    frame(1, SYN, 1, offset=4), frame(1, SYN, 1, sum=1),
    frame(1, SYN, 1, to=81), frame(0, SYN, 1),
    frame(1, SYN | FIN, 1), frame(1, SYN | RST, 1), frame(1, 0, 1),
    frame(1, 255, 1, 1), frame(1, FIN, 1), frame(1, ACK, 5, 7, b"x" * 1400),
    frame(1, RST, 1), frame(1, RST | ACK, 1, 1),
    frame(1, SYN, 1, offset=6, options=b"\x02\x00\0\0"),
    frame(1, SYN, 1, offset=6, options=b"\x02\xff\0\0"),
    frame(1, SYN, 1, offset=6, options=b"\x02\x04\0\0"),
    frame(1, SYN, 1, offset=6, options=b"\xfe\x01\xfe\x01"),
    frame(1, SYN, 1, 0, b"data in a SYN"),
    ethernet(ipv4(tcp(1, SYN, 1)))[:33], ethernet(b"\0" * 28, 0x0806),
    ethernet(b"\xff" * 60, 0x0806), ethernet(b"\xff" * 1400),
]


def malformed_frames(t):
    """malformed Ethernet, ARP, IP and TCP leave it serving"""
    with NetNs() as net:
        s = Service(t, net)
        for wrong in WRONG_FRAMES:
            s.peer.relay.send(wrong)
            s.peer.relay.send(wrong)
        check_served(s.peer)
        check(s.counts()["mmds.rx_accepted_err"] > 0, "errors are counted")
        s.end()


def storms(t):
    """storms of SYN, RST and random segments leave it serving"""
    with NetNs() as net:
        s = Service(t, net)
        rng = random.Random(1)
        for _ in range(ROUNDS):
            s.peer.relay.send(frame(
                rng.randrange(1, 65536), rng.choice((SYN, RST, ACK, FIN | ACK,
                                                     rng.getrandbits(8))),
                rng.getrandbits(32), rng.getrandbits(32),
                bytes(rng.randrange(0, 60)), window=rng.choice((0, 1, 65535))))
        s.peer.drain()
        # The half-open ones give way after a second.
        time.sleep(1.2)
        check_served(s.peer)
        s.end()


def wrong_moments(t):
    """segments out of order, twice, beyond the window; a peer that stops"""
    with NetNs() as net:
        s = Service(t, net)
        p, request = s.peer, get()
        mine, its = p.open()
        half = len(request) // 2
        p.relay.send(frame(p.port, ACK, mine + half, its, request[half:]))
        p.relay.send(frame(p.port, ACK, mine + 100000, its, b"far"))
        p.relay.send(frame(p.port, ACK, mine, its + 99999))
        p.relay.send(frame(p.port, RST, mine + 100000, its))
        for _ in range(2):
            p.relay.send(frame(p.port, ACK, mine, its, request[:half]))
        # Overlapping what has come.
        p.relay.send(frame(p.port, ACK | PSH, mine, its, request))
        # Never acknowledged: it comes again, until the reset.
        answers = []
        while len(answers) < 3:
            segment = p.wait(5)
            check(segment, "came %d times" % len(answers))
            if segment[5]:
                answers.append(segment[5])
        check(answers[0].endswith(b"nano"), "answer %r" % answers[0])
        check_equal(set(answers), {answers[0]}, "what came again")
        p.relay.send(frame(p.port, RST, mine + len(request), its))
        # A window of 0, then a byte at a time.
        mine, its = p.open()
        p.relay.send(frame(p.port, ACK, mine, its, request, window=0))
        segment = p.wait(0.5)
        check(not segment or len(segment[5]) <= 1, "more than a probe")
        check_served(Peer(p.relay))
        p.relay.send(frame(p.port, ACK, mine + len(request), its, window=1))
        segment = p.wait()
        while segment and not segment[5]:
            segment = p.wait()
        check(segment and len(segment[5]) == 1, "window of 1: %r" % (segment,))
        s.end()


WRONG_REQUESTS = {
    b"\r\n\r\n": "400", b"GET\r\n\r\n": "400", b"GET /\r\n\r\n": "400",
    b"get / HTTP/1.1\r\n\r\n": "501", b"GET / HTTP/9.9\r\n\r\n": "501",
    b"GET / HTTP/1.1\r\nX\r\n\r\n": "400",
    b"\xff\xfe\0\x01\r\n\r\n": "400",
    b"DELETE / HTTP/1.1\r\n\r\n": "405",
    b"PATCH / HTTP/1.1\r\n\r\n": "405",
    b"GET /\0 HTTP/1.1\r\n\r\n": "404",
    b"GET /latest/../latest HTTP/1.1\r\n\r\n": "404",
}


def malformed_http(t):
    """malformed HTTP is answered or refused, and then it serves"""
    with NetNs() as net:
        s = Service(t, net)
        for request, code in WRONG_REQUESTS.items():
            got = status(s.peer.ask(request))
            check_equal(got, code, "status of %r" % request)
        # More than it takes in: refused, not kept.
        mine, its = s.peer.open()
        for n in range(8):
            s.peer.relay.send(frame(s.peer.port, ACK, mine + n * 1000, its,
                                    b"A" * 1000))
        s.peer.drain()
        check_served(s.peer)
        s.end()


def reaches_nothing_else(t):
    """nothing for the service reaches the host's interface"""
    with NetNs() as net:
        raw = net.raw()
        s = Service(t, net)
        for wrong in WRONG_FRAMES:
            s.peer.relay.send(wrong)
        check_served(s.peer)
        to_host = ethernet(ipv4(b"other" * 4, to="169.254.169.253"))
        s.peer.relay.send(to_host)
        raw.settimeout(5)
        seen = b""
        while seen != to_host:
            seen = raw.recv(1 << 17)
            check(not (seen[6:12] == mac(GUEST_MAC) and
                       seen[12:14] == b"\x08\x00" and
                       seen[30:34] == socket.inet_aton(MMDS_IP)),
                  "reached the host: %r" % seen)
        s.end()


def no_tokens(t):
    """version 1 asks for none, and takes any"""
    with NetNs() as net:
        s = Service(t, net, "V1")
        ask = s.peer.ask
        good = ask(b"PUT /latest/api/token HTTP/1.1\r\n"
                   b"X-metadata-token-ttl-seconds: 60\r\n\r\n")
        check_equal(status(good), "200", "a token")
        for token in "wrong", good.rpartition(b"\r\n\r\n")[2].decode():
            answer = ask(get(words="X-metadata-token: %s\r\n" % token))
            check_equal(status(answer), "200", "with token " + token)
            check(answer.endswith(b"\r\n\r\nnano"), "answer %r" % answer)
        check_served(s.peer)
        s.end()


def tokens(t):
    """version 2 asks for a token, over raw TCP"""
    with NetNs() as net:
        s = Service(t, net, "V2")
        ask = s.peer.ask
        check_equal(status(ask(get())), "401", "without a token")
        check_equal(status(ask(get(words="X-metadata-token: wrong\r\n"))),
                    "401", "a wrong token")
        put = ("PUT /latest/api/token HTTP/1.1\r\n"
               "X-metadata-token-ttl-seconds: %s\r\n\r\n")
        for ttl in "0", "21601", "-1", "x", "99999999999999999999":
            check_equal(status(ask((put % ttl).encode())), "400", "TTL " + ttl)
        answer = ask((put % "1").encode())
        check_equal(status(answer), "200", "a token")
        word = "X-metadata-token: %s\r\n" % answer.rpartition(
            b"\r\n\r\n")[2].decode()
        check_equal(status(ask(get(words=word))), "200", "with the token")
        time.sleep(1.1)
        check_equal(status(ask(get(words=word))), "401", "when it expired")
        counts = s.counts()
        check(counts["mmds.rx_no_token"] > 0 and
              counts["mmds.rx_invalid_token"] > 0, "counted")
        s.end()


TESTS = [is_served, malformed_frames, storms, wrong_moments, malformed_http,
         reaches_nothing_else, no_tokens, tokens]

if __name__ == "__main__":
    sys.exit(monitor.main(TESTS))
