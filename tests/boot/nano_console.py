# SPDX-License-Identifier: Apache-2.0
"""The console, in both directions. Run by nano.py."""
import os
import subprocess
import threading

from monitor import (SOAK, Failed, check, check_equal, drive, read_metrics,
                     small_pipe, wait_for)

# A byte is an exit: 1 MB takes half a minute on hosts without VT-x and SVM.
FLOOD_BYTES = 1 << 20 if SOAK else 20000
ECHO_BYTES = 100 << 10 if SOAK else 10000
RING_BYTES = 65536 # vmm/serial.h
TEXT = (b"the quick brown fox jumps over the lazy dog, and nobody counts 64 "
        b"bytes\n")


def flooded(n):
    """What nano sends for flood=n."""
    return (TEXT * (n // len(TEXT) + 1))[:n] + b"\n"


class Reader:
    """Reads a descriptor to its end."""

    def __init__(self, fd):
        self.data = b""
        self.thread = threading.Thread(target=self.read, args=(fd,))
        self.thread.start()

    def read(self, fd):
        """On its own thread."""
        with open(fd, "rb", buffering=0) as f:
            for piece in iter(lambda: f.read(65536), b""):
                self.data += piece

    def result(self):
        """All that came."""
        self.thread.join()
        return self.data


def floods_completely(t):
    """a flood arrives completely at a reader"""
    reader, writer = os.pipe()
    m = t.boot("flood=%d" % FLOOD_BYTES, stdout=writer)
    os.close(writer)
    data = Reader(reader).result()
    check_equal(m.wait_exit(), 0, "exit code")
    check(flooded(FLOOD_BYTES) in data, "%d bytes of %d came, or others"
          % (len(data), FLOOD_BYTES))


def never_waits_for_a_reader(t):
    """a reader that stopped does not stop the guest; what is lost is counted"""
    reader, writer = small_pipe()
    path, metrics = t.file("a", 1 << 20), t.path("metrics")
    m = t.boot_api("flood=%d,blk=0:write:1:1" % (RING_BYTES + 16384),
                   [drive(path)], stdout=writer, words="nano.end=halt",
                   metrics={"metrics_path": metrics})
    os.close(writer)
    with open(reader, "rb", buffering=0) as pipe:
        def wrote():
            m.alive()
            return os.stat(path).st_blocks >= 2048
        wait_for(wrote, "end of the flood")
        dropped = read_metrics(m, metrics)["uart.rate_limiter_dropped_bytes"]
        check(0 < dropped <= 16384 + 4096, "%d bytes dropped" % dropped)
        # What was kept still comes, in order, when somebody reads.
        data = b""
        while len(data) < RING_BYTES:
            piece = pipe.read(65536)
            check(piece, "the console has ended")
            data += piece
    check(flooded(RING_BYTES - 4096)[:-1] in data,
          "what came is not how the flood begins")


def survives_a_reader_that_leaves(t):
    """a reader that closes the console does not end the guest"""
    reader, writer = os.pipe()
    path = t.file("a", 1 << 20)
    m = t.boot_api("flood=5000,blk=0:write:1:1", [drive(path)], stdout=writer,
                   words="nano.end=halt")
    os.close(writer)
    os.close(reader)
    wait_for(lambda: os.stat(path).st_blocks >= 2048, "end of the flood")
    m.alive()


def echoes_its_input(t):
    """input reaches the guest byte for byte, as fast as it takes it"""
    m = t.boot("echo", stdin=subprocess.PIPE)
    sent = flooded(ECHO_BYTES)
    m.wait_text("^nano: echo ready")
    with m.process.stdin as f:
        f.write(sent)
        f.flush()
        f.write(b"\4")
    m.check_end()
    check(sent.decode() in m.console(), "another text came back")


def takes_its_input_from_a_file(t):
    """input may be a file, which is always ready"""
    sent = flooded(2000)
    with open(t.path("input"), "wb") as f:
        f.write(sent + b"\4")
    with open(t.path("input"), "rb") as f:
        m = t.boot("tick=3,echo", stdin=f).check_end()
    check(sent.decode() in m.console(), "another text came back")


def main_thread_ticks(m):
    """What a monitor's main thread has run, in 1/100 s."""
    with open("/proc/%d/task/%d/stat" % (m.process.pid, m.process.pid),
              encoding="ascii") as f:
        return sum(map(int, f.read().split()[13:15]))


def input_that_nobody_reads_is_left(t):
    """a guest that reads no input does not keep the monitor busy with it"""
    with open("/dev/zero", "rb") as zeros:
        m = t.boot_api("tick=0", stdin=zeros)
        m.wait_text("^nano: tick 5$")
        before = main_thread_ticks(m)
        m.wait_text("^nano: tick 60$")
        used = main_thread_ticks(m) - before
        check(used < 20, "the main thread ran %d0 ms" % used)


def ends_without_input(t):
    """the end of input is no end of the guest"""
    m = t.boot_api("tick=20", stdin=subprocess.PIPE)
    m.wait_text("^nano: tick 1$")
    m.process.stdin.close()
    m.check_end()


def writes_its_output_to_a_file(t):
    """serial_out_path takes the output instead"""
    out = t.path("serial")
    m = t.monitor()
    config = t.config("hello")
    m.api.put("/boot-source", config["boot-source"])
    m.api.put("/serial", {"serial_out_path": out})
    m.api.put("/actions", {"action_type": "InstanceStart"})
    check_equal(m.wait_exit(), 0, "exit code")
    with open(out, encoding="ascii") as f:
        check("nano: hello by linux64\nnano: ok hello\nnano: done\n"
              in f.read(), "the file does not hold the output")
    check("nano:" not in m.console(), "the console holds output, too")


TESTS = [
    floods_completely, never_waits_for_a_reader,
    survives_a_reader_that_leaves, echoes_its_input,
    takes_its_input_from_a_file, input_that_nobody_reads_is_left,
    ends_without_input, writes_its_output_to_a_file,
]
