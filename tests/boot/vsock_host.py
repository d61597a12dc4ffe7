# SPDX-License-Identifier: Apache-2.0
"""The host's end of vsock: Unix sockets in Firecracker's protocol."""
import hashlib
import os
import re
import selectors
import socket
import threading

from monitor import DEADLINE_S, check, check_equal
from netns import PERIOD, pattern

CHUNK = 65536
# A little less than one period, so that no two chunks are alike.
NOISE = os.urandom(CHUNK * 16 + 1)


class Refused(Exception):
    """The connection closed instead of saying OK."""


def connect(path, port, line=None, timeout=DEADLINE_S):
    """(socket, the host's port) of a connection to the guest's port.

    line is what is sent instead of the right words; None sends these.
    """
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(timeout)
    s.connect(path)
    try:
        s.sendall(b"CONNECT %d\n" % port if line is None else line)
    except BrokenPipeError:
        raise Refused(b"") from None
    return s, read_ok(s)


def read_ok(s):
    """The port of the answer, of which nothing more is read."""
    answer = b""
    try:
        while not answer.endswith(b"\n"):
            byte = s.recv(1)
            if not byte:
                raise Refused(answer)
            answer += byte
    except ConnectionResetError:
        raise Refused(answer) from None
    match = re.fullmatch(rb"OK (\d+)\n", answer)
    check(match, "answer %r" % answer)
    return int(match[1])


def listen(path, port, backlog=128):
    """A socket that takes the guest's connections to a port."""
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(DEADLINE_S)
    s.bind("%s_%d" % (path, port))
    s.listen(backlog)
    return s


def send_pattern(s, n):
    """n bytes of the pattern of guest/nano/nano.h, then no more."""
    for at in range(0, n, PERIOD):
        s.sendall(pattern(at, min(PERIOD, n - at)))
    s.shutdown(socket.SHUT_WR)


def check_pattern(s, n=None):
    """Read until the end: the pattern, n bytes of it. Returns how many."""
    got = 0
    while True:
        data = s.recv(CHUNK // 2)
        if not data:
            break
        check(data == pattern(got, len(data)), "wrong bytes at %d" % got)
        got += len(data)
    if n is not None:
        check_equal(got, n, "bytes")
    return got


def noise(index, at, n):
    """Bytes at a place of stream number `index`."""
    start = (at + index * 4099) % (len(NOISE) - n)
    return NOISE[start:start + n]


class Stream:
    """One of many that are sent to an echo and come back."""

    def __init__(self, s, index, size):
        self.socket, self.index, self.size = s, index, size
        self.sent, self.got = 0, 0
        self.there, self.back = hashlib.sha256(), hashlib.sha256()
        s.setblocking(False)

    def write(self):
        """Some; true if that was all."""
        n = min(CHUNK, self.size - self.sent)
        data = noise(self.index, self.sent, n)
        try:
            n = self.socket.send(data)
        except BlockingIOError:
            return False
        self.there.update(data[:n])
        self.sent += n
        if self.sent == self.size:
            self.socket.shutdown(socket.SHUT_WR)
        return self.sent == self.size

    def read(self):
        """Some; true if that was the end."""
        try:
            data = self.socket.recv(CHUNK)
        except BlockingIOError:
            return False
        self.back.update(data)
        self.got += len(data)
        return not data


def echo_streams(sockets, size):
    """`size` bytes to each and back at the same time, hashed both ways."""
    with selectors.DefaultSelector() as ready:
        streams = [Stream(s, i, size) for i, s in enumerate(sockets)]
        for stream in streams:
            ready.register(stream.socket, selectors.EVENT_READ |
                           selectors.EVENT_WRITE, stream)
        left = len(streams)
        while left:
            events = ready.select(DEADLINE_S)
            check(events, "%d echo streams stand still" % left)
            for key, what in events:
                stream = key.data
                if what & selectors.EVENT_WRITE and stream.write():
                    ready.modify(stream.socket, selectors.EVENT_READ, stream)
                if what & selectors.EVENT_READ and stream.read():
                    ready.unregister(stream.socket)
                    left -= 1
    for stream in streams:
        check_equal(stream.got, size, "bytes of stream %d" % stream.index)
        check_equal(stream.back.digest(), stream.there.digest(),
                    "hash of stream %d" % stream.index)


class Echo(threading.Thread):
    """An echo server for the guest's connections to a port."""

    def __init__(self, path, port, backlog=128):
        super().__init__(daemon=True)
        self.listener = listen(path, port, backlog)
        self.listener.setblocking(False)
        self.stop, self.stopped = os.pipe()
        self.accepted = 0
        self.start()

    def run(self):
        """One thread for all of them; a slow peer stops nobody else's."""
        with selectors.DefaultSelector() as ready:
            ready.register(self.listener, selectors.EVENT_READ)
            ready.register(self.stop, selectors.EVENT_READ)
            waiting = {}
            while True:
                for key, _ in ready.select():
                    if key.fileobj == self.stop:
                        return
                    if key.fileobj is self.listener:
                        self.take(ready, waiting)
                    else:
                        self.pass_on(ready, waiting, key.fileobj)

    def take(self, ready, waiting):
        """A new connection."""
        try:
            s, _ = self.listener.accept()
        except BlockingIOError:
            return
        s.setblocking(False)
        self.accepted += 1
        waiting[s] = b""
        ready.register(s, selectors.EVENT_READ)

    @staticmethod
    def pass_on(ready, waiting, s):
        """Read if nothing waits to be written, else write."""
        try:
            if not waiting[s]:
                waiting[s] = s.recv(CHUNK)
                if not waiting[s]:
                    raise ConnectionResetError
            waiting[s] = waiting[s][s.send(waiting[s]):]
        except BlockingIOError:
            pass
        except OSError:
            ready.unregister(s)
            del waiting[s]
            s.close()
            return
        ready.modify(s, selectors.EVENT_WRITE if waiting[s]
                     else selectors.EVENT_READ)

    def close(self):
        """End it."""
        os.write(self.stopped, b"x")
        self.join()
        os.close(self.stop)
        os.close(self.stopped)
        self.listener.close()
