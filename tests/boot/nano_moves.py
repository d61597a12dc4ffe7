# SPDX-License-Identifier: Apache-2.0
"""Guests that are moved to another process in the middle of what they do with
registers, frames, streams and the console. Run by nano.py."""
import os
import re
import socket
import struct
import threading

from monitor import (DEADLINE_S, SOAK, check, check_equal, drive,
                     wait_for)
from nano_snapshot import QUICK, Files, move, pause, said
from netns import GUEST_IP, PERIOD, NetNs, pattern
from vsock_host import connect, echo_streams

MIB = 1 << 20
PORT, UDP_ECHO = 52, 7
WINDOW = 32
TYPED = b"the quick brown fox\r"


def stopped_in_the_middle_of_registers(t):
    """each access to a register takes place once, wherever a stop comes"""
    files = Files(t)
    t.said = ""
    m = t.boot_api("hello,mmio=0", [drive(t.file("disk", MIB))])
    for _ in range(QUICK):
        m.wait_text("^nano: (mmio [0-9]+|FAIL.*)\r?$")
        m = move(t, m, files)
    m.wait_text("^nano: (mmio [0-9]+|FAIL.*)\r?$")
    pause(m)
    text = t.said + said(m)
    check("FAIL" not in text, text[-500:])
    seen = [int(n) for n in re.findall(r"^nano: mmio (\d+)\r?\n", text,
                                       re.MULTILINE)]
    check_equal(seen, list(range(1, len(seen) + 1)), "lines")


def move_silent(t, m, files, **other):
    """As move(), of a guest that says nothing."""
    pause(m)
    files.create(m)
    t.said = getattr(t, "said", "") + m.console()
    m.kill()
    return files.load(t, **other)


class Flood(threading.Thread):
    """Datagrams to a guest that returns them: at most once, and whole."""

    def __init__(self, sock):
        super().__init__(daemon=True)
        self.socket, self.stop = sock, False
        self.back, self.wrong = set(), None
        sock.settimeout(0.05)
        self.start()

    @staticmethod
    def datagram(seq):
        """Number seq, of many sizes."""
        return struct.pack("<I", seq) + pattern(seq % PERIOD, seq * 37 % 1400)

    def send(self, seq):
        """It may be lost."""
        try:
            self.socket.sendto(self.datagram(seq), (GUEST_IP, UDP_ECHO))
        except OSError: # the TAP is nobody's just now
            pass

    def take(self):
        """One that came back; false: none for a while."""
        try:
            data = self.socket.recv(2000)
        except socket.timeout:
            return False
        seq, = struct.unpack_from("<I", data)
        if data != self.datagram(seq):
            self.wrong = "number %d has other bytes" % seq
        elif seq in self.back:
            self.wrong = "number %d came twice" % seq
        self.back.add(seq)
        return True

    def run(self):
        sent = under_way = 0
        while not self.stop:
            while under_way < WINDOW:
                self.send(sent)
                sent, under_way = sent + 1, under_way + 1
            under_way = under_way - 1 if self.take() else 0

    def goes_on(self):
        """Some more came back, and all was right so far."""
        goal = len(self.back) + 3 * WINDOW
        wait_for(lambda: self.wrong or len(self.back) > goal, "answers")
        check(not self.wrong, self.wrong)


def frames_go_on(t):
    """a flood of datagrams is answered through snapshots, none twice"""
    files = Files(t)
    with NetNs() as net:
        m = t.boot_api("net=0:echo:1000000",
                       **{"network-interfaces": [net.interface()]})
        m.wait_text("^nano: net echoes")
        net.wait_up()
        flood = Flood(net.udp())
        try:
            for _ in range(QUICK):
                flood.goes_on()
                m = move_silent(t, m, files)
            flood.goes_on()
        finally:
            flood.stop = True
            flood.join()
        check("FAIL" not in t.said, "the order failed")


def fill(s):
    """Send what the guest and the monitor take, and read nothing."""
    s.settimeout(0.05)
    try:
        while True:
            s.sendall(bytes(65536))
    except socket.timeout:
        pass


def streams_start_anew(t):
    """streams are ended by a snapshot in their middle; new ones are whole"""
    files, uds = Files(t), t.path("v0.sock")
    m = t.boot_api("vsock=listen:%d:1000:echo:0:blank" % PORT, mem=256,
                   vsock={"guest_cid": 3, "uds_path": uds})
    m.wait_text("^nano: vsock cid=3")
    for i in range(1, (QUICK if SOAK else 4) + 1):
        old = [connect(uds, PORT)[0] for _ in range(3)]
        for s in old[1:]:
            fill(s)
        uds = t.path("v%d.sock" % i)
        m = move_silent(t, m, files, vsock_override={"uds_path": uds})
        # Asked before the guest knows, and at once.
        echo_streams([connect(uds, PORT)[0] for _ in range(4)], 100000)
        check_equal(len(re.findall("^nano: vsock event id=0", m.console(),
                                   re.MULTILINE)), 1, "transport resets")
        for s in old:
            s.close()


def input_goes_on(t):
    """what is typed before, in and after a snapshot comes once, in order"""
    files, (reader, writer) = Files(t), os.pipe()
    lines = b""

    def type_line():
        nonlocal lines
        line = b"%04d " % len(lines) + TYPED * 4 # more than a FIFO
        os.write(writer, line)
        lines += line
    m = t.boot("echo", args=(), stdin=reader)
    text = ""
    for _ in range(QUICK):
        type_line()
        wait_for(m.console, "echo")
        pause(m)
        type_line()
        files.create(m)
        text += said(m)
        m.kill()
        type_line()
        m = t.monitor(stdin=reader)
        m.api.put("/snapshot/load", files.load_body(resume_vm=True))
    os.write(writer, b"\x04")
    m.wait_text("^nano: ok echo", DEADLINE_S)
    text += m.console()
    os.close(reader)
    os.close(writer)
    got = re.sub(r"[\r\n]", "", text)
    check(lines.decode().replace("\r", "") in got, got[-500:])


TESTS = [stopped_in_the_middle_of_registers, frames_go_on, streams_start_anew,
         input_goes_on]
