#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Talk to the agent in a guest, through the monitor's vsock socket.

usage: agent.py SOCKET run [-t SECONDS] [-C DIR] [-e NAME=VALUE]... -- WORD...
       agent.py SOCKET put FILE GUEST_FILE
       agent.py SOCKET get GUEST_FILE FILE

SOCKET is the uds_path of the vsock device. run passes standard input, output
and exit status on, 128 + the number of a signal, or 124 when the time is over.
docs/agent.md describes the protocol.
"""
import argparse
import os
import socket
import struct
import sys
import threading
import time

PORT, VERSION, MESSAGE_MAX = 1024, 1, 65536
RUN, GET, PUT, DATA = 1, 2, 3, 4
OUT, ERR, FILE, EXIT, DONE, ERROR = 16, 17, 18, 19, 20, 21
EXITED, KILLED, TIMED_OUT = 0, 1, 2


class AgentError(OSError):
    """What the agent says is wrong."""


class Unexpected(ValueError):
    """The other side keeps to no protocol."""


class Result:
    """How a command ended: EXITED with a status, KILLED by a signal, or
    TIMED_OUT; and what it said."""

    def __init__(self, how, value, out, err):
        self.how, self.value, self.out, self.err = how, value, out, err

    def __repr__(self):
        how = ("exited with", "killed by", "timed out,")[self.how]
        return "%s %d, out %r, err %r" % (how, self.value, self.out[-500:],
                                          self.err[-500:])


class Connection:
    """One request."""

    def __init__(self, path, port, timeout):
        self.socket = socket.socket(socket.AF_UNIX)
        try:
            self.socket.settimeout(timeout)
            self.socket.connect(path)
            self.socket.sendall(b"CONNECT %d\n" % port)
            line = b""
            while not line.endswith(b"\n"):
                byte = self.socket.recv(1)
                if not byte:
                    raise ConnectionRefusedError("nobody listens there")
                line += byte
            if not line.startswith(b"OK "):
                raise Unexpected("%r in answer to CONNECT" % line)
        except BaseException:
            self.socket.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, kind, data=b""):
        """A message."""
        self.socket.sendall(struct.pack("<II", kind, len(data)) + data)

    def request(self, kind, numbers, words):
        """The first one; numbers are 12 packed bytes."""
        self.send(kind, struct.pack("<I", VERSION) + numbers +
                  b"".join(os.fsencode(w) + b"\0" for w in words))

    def exactly(self, size):
        """That many bytes."""
        data = bytearray()
        while len(data) < size:
            piece = self.socket.recv(size - len(data))
            if not piece:
                raise ConnectionResetError("the agent has gone")
            data += piece
        return bytes(data)

    def receive(self):
        """(type, bytes) of the next message; an ERROR is raised."""
        kind, size = struct.unpack("<II", self.exactly(8))
        if size > MESSAGE_MAX:
            raise Unexpected("a message of %d bytes" % size)
        data = self.exactly(size)
        if kind == ERROR:
            raise AgentError(struct.unpack_from("<I", data)[0],
                             data[4:].decode(errors="replace"))
        return kind, data

    def expect(self, kind):
        """The bytes of the next message, which is of this type."""
        got, data = self.receive()
        if got != kind:
            raise Unexpected("message %d, not %d" % (got, kind))
        return data

    def feed(self, read):
        """Send what read(n) returns, and the end."""
        try:
            while True:
                data = read(MESSAGE_MAX)
                self.send(DATA, data)
                if not data:
                    return
        except OSError:
            pass        # the answer says why


class Agent:
    """An agent behind a vsock device. timeout is of each wait, in seconds."""

    def __init__(self, path, port=PORT, timeout=300):
        self.path, self.port, self.timeout = path, port, timeout

    def connect(self):
        """A connection for one request."""
        return Connection(self.path, self.port, self.timeout)

    def wait(self, deadline_s=300, alive=lambda: True):
        """Until it listens."""
        end = time.monotonic() + deadline_s
        while True:
            try:
                self.connect().__exit__()
                return
            except OSError:
                if time.monotonic() > end or not alive():
                    raise
                time.sleep(0.02)

    def run(self, words, stdin=b"", env=None, directory="", limit_s=0,
            output=None):
        """Run a command: a Result. stdin is bytes, or a function of a maximum
        size that returns some, and b"" at the end. output(type, bytes) gets
        what it says instead of the Result."""
        variables = ["%s=%s" % pair for pair in (env or {}).items()]
        said = {OUT: bytearray(), ERR: bytearray()}
        if output is None:
            def output(kind, data):
                said[kind] += data
        if isinstance(stdin, bytes):
            stdin = reader(stdin)
        with self.connect() as c:
            c.request(RUN, struct.pack("<III", int(limit_s * 1000), len(words),
                                       len(variables)),
                      [directory, *words, *variables])
            threading.Thread(target=c.feed, args=[stdin], daemon=True).start()
            while True:
                kind, data = c.receive()
                if kind == EXIT:
                    return Result(*struct.unpack("<II", data),
                                  bytes(said[OUT]), bytes(said[ERR]))
                if kind not in said:
                    raise Unexpected("message %d" % kind)
                output(kind, data)

    def copy_in(self, data, path, mode=0o644):
        """Make a file in the guest."""
        with self.connect() as c:
            c.request(PUT, struct.pack("<IQ", mode, len(data)), [path])
            try:
                for at in range(0, len(data), MESSAGE_MAX):
                    c.send(DATA, data[at:at + MESSAGE_MAX])
            except ConnectionError:
                pass    # the answer says why
            c.expect(DONE)

    def copy_out(self, path):
        """(mode, bytes) of a file in the guest."""
        with self.connect() as c:
            c.request(GET, bytes(12), [path])
            mode, _ = struct.unpack("<IQ", c.expect(FILE))
            data = bytearray()
            while True:
                kind, piece = c.receive()
                if kind == DONE:
                    return mode, bytes(data)
                if kind != DATA:
                    raise Unexpected("message %d" % kind)
                data += piece


def reader(data):
    """read(n) of these bytes."""
    pieces = [data[at:at + MESSAGE_MAX]
              for at in range(0, len(data), MESSAGE_MAX)]
    return lambda _: pieces.pop(0) if pieces else b""


def command_run(agent, args):
    """run: the exit status."""
    def output(kind, data):
        stream = sys.stdout if kind == OUT else sys.stderr
        stream.buffer.write(data)
        stream.flush()

    result = agent.run(args.words, lambda n: os.read(0, n),
                       dict(v.partition("=")[::2] for v in args.env),
                       args.directory, args.limit, output)
    return (result.value, 128 + result.value, 124)[result.how]


def command_put(agent, args):
    """put, with the file's permissions."""
    with open(args.source, "rb") as f:
        agent.copy_in(f.read(), args.target,
                      os.fstat(f.fileno()).st_mode & 0o7777)
    return 0


def command_get(agent, args):
    """get, with the file's permissions."""
    mode, data = agent.copy_out(args.source)
    with open(args.target, "wb") as f:
        os.fchmod(f.fileno(), mode)
        f.write(data)
    return 0


def main():
    """As a command."""
    parser = argparse.ArgumentParser(usage=__doc__.split("usage: ")[1])
    parser.add_argument("socket")
    commands = parser.add_subparsers(required=True)
    run = commands.add_parser("run")
    run.add_argument("-t", dest="limit", type=float, default=0)
    run.add_argument("-C", dest="directory", default="")
    run.add_argument("-e", dest="env", action="append", default=[])
    run.add_argument("words", nargs="+")
    run.set_defaults(call=command_run)
    for name, call in ("put", command_put), ("get", command_get):
        copy = commands.add_parser(name)
        copy.add_argument("source")
        copy.add_argument("target")
        copy.set_defaults(call=call)
    args = parser.parse_args()
    try:
        return args.call(Agent(args.socket, timeout=None), args)
    except (OSError, Unexpected) as e:
        print("agent: %s" % (e.strerror or e if isinstance(e, OSError)
                             else e), file=sys.stderr)
        return 125


if __name__ == "__main__":
    sys.exit(main())
