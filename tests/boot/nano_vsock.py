#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""nano and the host talk over vsock.

usage: nano_vsock.py [NAME...]     tests whose names hold one of the NAMEs
"""
import os
import re
import resource
import socket
import sys
import time

import monitor
import vsock_host
from monitor import SOAK, Failed, Skip, check, check_equal, check_quiet
from netns import pattern
from vsock_host import Echo, Refused, check_pattern, connect, send_pattern

PORT = 52
STREAMS, STREAM_BYTES = 200, 1 << 20
BULK = (1 << 30) if SOAK else (64 << 20) + 12345
MANY = 10000
TIMEOUT_S = 2           # of a connection that nobody answers
# What guest/nano/vsockbad.c is answered: with a credit update, or a reset.
CREDIT_UPDATE, RST = 6, 3
ANSWERS = {"credit-flood": CREDIT_UPDATE, **dict.fromkeys((
    "no-conn", "no-port", "len-over", "len-huge", "type", "op-0", "op-max",
    "again", "response", "shutdown-all", "beyond-credit", "writable-data",
    "no-data"), RST)}


def boot(t, orders, *, words="", limit=None, **more):
    """nano with a vsock device, whose socket is m.uds."""
    vsock = {"guest_cid": 3, "uds_path": t.path("v.sock")}
    if limit:
        vsock["max_connections"] = limit
    m = t.boot_api(orders, mem=512, words=words, vsock=vsock, **more)
    m.uds = vsock["uds_path"]
    return m


def listening(t, mode, count=1, **more):
    """nano, that takes that many connections."""
    m = boot(t, "vsock=listen:%d:%d:%s" % (PORT, count, mode), **more)
    m.wait_text("^nano: vsock cid=3$")
    return m


def connecting(t, mode, count=1, **more):
    """nano, that makes that many connections."""
    return boot(t, "vsock=connect:%d:%d:%s" % (PORT, count, mode), **more)


def ended(m, **expected):
    """The monitor ended well, and nano counted what was expected."""
    m.check_end()
    names = "opened", "closed", "refused", "reset", "sent", "got"
    values = m.said("nano: vsock [a-z]+ " + " ".join(
        n + r"=(\d+)" for n in names) + " bad=0 .*")
    counts = dict(zip(names, map(int, values)))
    for name, value in expected.items():
        check_equal(counts[name], value, name)


def is_refused(path, port=PORT, line=None):
    """The connection ends without OK."""
    try:
        connect(path, port, line)
    except Refused as e:
        check_equal(e.args[0], b"", "answer")
        return
    raise Failed("port %s: not refused" % port)


def need_files(n):
    """That many descriptors for the monitor, and for us."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most < n + 200:
        raise Skip("descriptors: only %d" % most)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def echo_streams(t):
    """200 streams of 1 MiB come back whole, at the same time"""
    for words, options in (("", ""), ("nano.poll", ""),
                           ("nano.noeventidx", ":split:inline:b1000:c9999")):
        m = listening(t, "echo:0" + options, STREAMS, words=words)
        streams = [connect(m.uds, PORT)[0] for _ in range(STREAMS)]
        vsock_host.echo_streams(streams, STREAM_BYTES)
        total = STREAMS * STREAM_BYTES
        ended(m, opened=STREAMS, closed=STREAMS, sent=total, got=total)
        os.unlink(m.uds)


def stream_to_the_guest(t):
    """a stream to the guest arrives whole"""
    m = listening(t, "recv:0")
    s, _ = connect(m.uds, PORT)
    send_pattern(s, BULK)
    ended(m, closed=1, got=BULK)


def stream_from_the_guest(t):
    """a stream from the guest arrives whole, in both forms of a packet"""
    for options in "", ":inline", ":p1":
        n = BULK // (1000 if options == ":p1" else 1)
        with vsock_host.listen(t.path("v.sock"), PORT) as host:
            m = connecting(t, "send:%d%s" % (n, options))
            s, _ = host.accept()
            check_pattern(s, n)
            s.close()
        ended(m, closed=1, sent=n)
        for path in m.uds, "%s_%d" % (m.uds, PORT):
            os.unlink(path)


def guest_stream_to_an_echo(t):
    """what the guest sends to an echo comes back whole"""
    echo = Echo(t.path("v.sock"), PORT)
    m = connecting(t, "ping:50:p30000", 20)
    ended(m, opened=20, closed=20, got=20 * 50 * 30000)
    echo.close()


def half_closes(t):
    """each side may stop sending, and still receive"""
    m = listening(t, "echo:0")
    s, _ = connect(m.uds, PORT)
    s.sendall(b"before")
    s.shutdown(socket.SHUT_WR)
    check_equal(s.recv(100), b"before", "echo")
    check_equal(s.recv(100), b"", "end")
    ended(m, closed=1)


def connect_line_in_pieces(t):
    """CONNECT may arrive a byte at a time, with data behind it"""
    m = listening(t, "echo:0")
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(monitor.DEADLINE_S)
    s.connect(m.uds)
    for byte in b"CONNECT %d" % PORT:
        m.alive()
        s.sendall(bytes([byte]))
    s.sendall(b"\nbehind")
    vsock_host.read_ok(s)
    check_equal(s.recv(100), b"behind", "echo")
    s.close()
    ended(m, opened=1)


def bad_lines_are_refused(t):
    """lines that are not CONNECT and a port end the connection"""
    m = listening(t, "hold:0")
    for line in (b"\n", b"CONNECT\n", b"CONNECT x\n", b"CONNECT 4294967296\n",
                 b"CONNECT -1\n", b"HELLO 52\n", b"x" * 5000,
                 b"\0" * 40 + b"\n"):
        is_refused(m.uds, line=line)
    connect(m.uds, PORT)[0].close()
    ended(m, opened=1)


def missing_listeners(t):
    """a port where nobody listens is refused at once, both ways"""
    m = listening(t, "hold:0")
    begin = time.monotonic()
    for port in 51, 0, 4294967295:
        is_refused(m.uds, port)
    check(time.monotonic() - begin < 3 * TIMEOUT_S, "the host waited")
    connect(m.uds, PORT)[0].close()
    ended(m, opened=1)
    os.unlink(m.uds)
    # One after the other: if each waited, the guest would give up.
    ended(connecting(t, "close:0:o1", 100), refused=100)


def full_backlog(t):
    """whom the host accepts soon is served, and who waits longer is refused"""
    for accepts in True, False:
        with vsock_host.listen(t.path("v.sock"), PORT, backlog=1) as host:
            m = connecting(t, "hold:0", 5)
            m.wait_text("^nano: vsock cid=3$")
            time.sleep(TIMEOUT_S / 4 if accepts else TIMEOUT_S * 2)
            m.alive()
            # A full queue of 1 holds two.
            got = [host.accept()[0] for _ in range(5 if accepts else 2)]
            for s in got:
                s.close()
            ended(m, opened=len(got), refused=5 - len(got))
        os.unlink(m.uds)
        os.unlink("%s_%d" % (m.uds, PORT))


def guest_that_never_reads(t):
    """a guest that never reads stops its own stream alone"""
    m = listening(t, "hold:4s:blank", 2)
    s, _ = connect(m.uds, PORT)
    s.settimeout(0.3)
    other, _ = connect(m.uds, PORT)
    try:
        while True:
            s.send(bytes(65536))
    except socket.timeout:
        pass
    other.sendall(b"heard")
    m.alive()
    check_quiet(m)
    ended(m, got=262144 + 5)


def host_that_never_reads(t):
    """a host that never reads stops its own stream alone"""
    with vsock_host.listen(t.path("v.sock"), PORT) as host:
        m = connecting(t, "send:3s", 2)
        deaf, _ = host.accept()
        other, _ = host.accept()
        check(check_pattern(other) > 1 << 20, "the other one is stopped")
        other.close()
        m.alive()
        check_quiet(m)
        deaf.close()
        ended(m, opened=2)


def resets_at_every_state(t):
    """the guest may reset a connection at any time"""
    echo = Echo(t.path("v.sock"), PORT, 256)
    orders = ["vsock=connect:%d:100:reset:%d" % (PORT, n) for n in range(5)]
    m = boot(t, ",".join([*orders, "vsock=connect:%d:1:ping:1" % PORT]))
    m.check_end()
    echo.close()
    os.unlink(m.uds)
    for n in range(1, 5):
        m = listening(t, "reset:%d" % n, 20)
        for _ in range(20):
            with connect(m.uds, PORT)[0] as s:
                try:
                    s.sendall(pattern(0, 1))
                    s.shutdown(socket.SHUT_WR)
                    while s.recv(100):
                        pass
                except (BrokenPipeError, ConnectionResetError):
                    pass
        ended(m, opened=20)
        os.unlink(m.uds)


def closes_at_every_state(t):
    """the host may close a connection at any time"""
    m = listening(t, "echo:0", 61)
    line = b"CONNECT %d\n" % PORT
    for n in range(len(line) + 1):
        s = socket.socket(socket.AF_UNIX)
        s.connect(m.uds)
        s.sendall(line[:n])
        s.close()
    for n in range(60):
        s, _ = connect(m.uds, PORT)
        s.sendall(bytes(n * 5000) if n < 20 else b"")
        if n % 3:
            s.shutdown(n % 3 - 1)
        s.close()
    m.check_end()


def broken_rules(t):
    """packets that break rules are refused, and harm only their sender"""
    echo = Echo(t.path("v.sock"), PORT)
    m = boot(t, "vsock=bad:%d" % PORT)
    m.check_end()
    answers = re.findall(r"^nano: vsock bad case=(\S+) reply=(\d+)",
                         m.console(), re.MULTILINE)
    check(len(answers) > 20, "only %d cases" % len(answers))
    for case, answer in answers:
        check_equal(int(answer), ANSWERS.get(case, 0), case)
    echo.close()


def many_connections(t):
    """1,023 connections at once, and no more"""
    need_files(1100)
    m = listening(t, "hold:0", 1023)
    streams = [connect(m.uds, PORT)[0] for _ in range(1023)]
    m.wait_text("^nano: vsock opened n=1023")
    is_refused(m.uds)
    for s in streams:
        s.close()
    ended(m, closed=1023)


def very_many_connections(t):
    """10,000 connections at once, from either side"""
    need_files(MANY)
    m = listening(t, "hold:0", MANY, limit=MANY)
    streams = [connect(m.uds, PORT)[0] for _ in range(MANY)]
    m.wait_text("^nano: vsock opened n=%d" % MANY)
    for s in streams:
        s.close()
    ended(m, closed=MANY)
    os.unlink(m.uds)
    echo = Echo(t.path("v.sock"), PORT, 4096)
    m = connecting(t, "ping:2:w%d:o500" % MANY, MANY, limit=MANY)
    ended(m, opened=MANY, closed=MANY, got=MANY * 128)
    os.unlink(m.uds)
    m = connecting(t, "hold:0:w%d:o500" % MANY, MANY, limit=MANY)
    m.wait_text("^nano: vsock opened n=%d" % MANY)
    m.alive()
    echo.close()
    ended(m, closed=MANY)


def connection_flood(t):
    """a guest that opens without end is refused beyond the bound"""
    echo = Echo(t.path("v.sock"), PORT, 4096)
    m = connecting(t, "hold:2s:w2000", 2000)
    m.check_end()
    opened, refused = m.said(r"nano: vsock hold opened=(\d+) closed=\d+ "
                             r"refused=(\d+) .*")
    check_equal((int(opened), int(refused)), (1023, 977), "opened, refused")
    echo.close()


TESTS = [
    echo_streams, stream_to_the_guest, stream_from_the_guest,
    guest_stream_to_an_echo, half_closes, connect_line_in_pieces,
    bad_lines_are_refused, missing_listeners, full_backlog,
    guest_that_never_reads, host_that_never_reads, resets_at_every_state,
    closes_at_every_state, broken_rules, many_connections,
    very_many_connections, connection_flood,
]

if __name__ == "__main__":
    sys.exit(monitor.main(TESTS))
