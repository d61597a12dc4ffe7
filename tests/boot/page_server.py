# SPDX-License-Identifier: Apache-2.0
"""A page server for one guest, in Firecracker's protocol. See pager_env.py.

It is a process of its own, that brings pages of a memory file as the guest
comes to them, and can be slow, deaf or mortal.
"""
import ctypes
import errno
import fcntl
import json
import mmap
import os
import random
import select
import signal
import socket
import struct
import time

UFFDIO_WAKE = 0x8010aa02
UFFDIO_COPY = 0xc028aa03
EVENT_PAGEFAULT = 0x12
EVENT_BYTES = 32

# What it tells: how many faults it has answered, whether it has stopped to,
# the length of the message it got, and the message.
FAULTS, STOPPED, LENGTH, TEXT = 0, 8, 16, 24


class Server:
    """Listens at path. Pages are those of mem_path.

    delay_s   before each answer
    ahead     as many random pages are brought with each that is wanted
    stop      after as many faults it answers no more
    before    called with the connection, before anything is read from it
    after     the same with the message read
    """

    def __init__(self, path, mem_path, *, delay_s=0, ahead=0, stop=None,
                 before=None, after=None):
        self.path, self.mem_path = path, mem_path
        self.delay_s, self.ahead, self.stop = delay_s, ahead, stop
        self.before, self.after = before, after
        self.told = mmap.mmap(-1, mmap.PAGESIZE)
        self.regions, self.uffd, self.source, self.data = [], -1, 0, None
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(path)
        listener.listen()
        self.pid = os.fork()
        if self.pid == 0:
            self.be_child(listener)
        listener.close()

    # ---- for the test ----

    def number(self, at):
        """One of FAULTS, STOPPED, LENGTH."""
        return struct.unpack_from("<Q", self.told, at)[0]

    def message(self):
        """What the monitor has sent."""
        return self.told[TEXT:TEXT + self.number(LENGTH)].decode()

    def kill(self):
        """End it, if it has not ended."""
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        self.pid = 0

    # What monitor.run() calls of all that a test has put among its monitors.

    def show(self):
        """What helps to see what went wrong."""
        print("# page server: %d faults, told %r"
              % (self.number(FAULTS), self.message()))

    # ---- the process ----

    def be_child(self, listener):
        """Never returns."""
        try:
            self.serve(listener)
        except (OSError, ValueError) as e:
            os.write(2, ("page server: %r\n" % e).encode())
        finally:
            os._exit(0)

    def tell(self, at, value):
        """To the test."""
        struct.pack_into("<Q", self.told, at, value)

    def map_file(self):
        """Its address; a private mapping: ctypes wants a writable one."""
        with open(self.mem_path, "rb") as f:
            self.data = mmap.mmap(f.fileno(), 0, flags=mmap.MAP_PRIVATE,
                                  prot=mmap.PROT_READ | mmap.PROT_WRITE)
        self.source = ctypes.addressof(ctypes.c_char.from_buffer(self.data))

    def serve(self, listener):
        """One guest, until it ends."""
        conn = listener.accept()[0]
        if self.before:
            self.before(conn)
        text, fds, _, _ = socket.recv_fds(conn, 4096, 2)
        if not fds:
            return
        self.uffd, = fds
        self.told[TEXT:TEXT + len(text)] = text
        self.tell(LENGTH, len(text))
        self.regions = json.loads(text)
        self.map_file()
        if self.after:
            self.after(conn)
        poll = select.poll()
        poll.register(self.uffd, select.POLLIN)
        poll.register(conn, 0)
        while not any(fd == conn.fileno() for fd, _ in poll.poll()):
            self.answer(os.read(self.uffd, 64 * EVENT_BYTES))

    def answer(self, events):
        """All that wait."""
        for at in range(0, len(events), EVENT_BYTES):
            kind, address = struct.unpack_from("<B15xQ", events, at)
            if kind != EVENT_PAGEFAULT:
                raise ValueError("event %d" % kind)
            if self.stop is not None and self.number(FAULTS) >= self.stop:
                self.tell(STOPPED, 1)
                signal.pause()
            time.sleep(self.delay_s)
            self.bring(address)
            self.tell(FAULTS, self.number(FAULTS) + 1)
            for _ in range(self.ahead):
                r = random.choice(self.regions)
                self.bring(r["base_host_virt_addr"] +
                           random.randrange(r["size"]))

    def bring(self, address):
        """The page of an address, if it is not there."""
        for r in self.regions:
            at = address - r["base_host_virt_addr"]
            if 0 <= at < r["size"]:
                break
        else:
            raise ValueError("fault at %#x" % address)
        size = r["page_size"]
        at -= at % size
        page = r["base_host_virt_addr"] + at
        copy = bytearray(struct.pack("<QQQQq", page,
                                     self.source + r["offset"] + at, size,
                                     0, 0))
        while True:
            try:
                fcntl.ioctl(self.uffd, UFFDIO_COPY, copy)
                return
            except OSError as e:
                if e.errno == errno.EAGAIN:
                    continue
                if e.errno not in (errno.EEXIST, errno.ENOENT, errno.ESRCH):
                    raise
                break
        fcntl.ioctl(self.uffd, UFFDIO_WAKE,
                    bytearray(struct.pack("<QQ", page, size)))
