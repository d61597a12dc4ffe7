#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A Linux guest on a TAP, with an agent and metadata. TAP output.

usage: linux_net.py [PART OF A NAME...]

One guest, booted at first use, serves all tests but the last, which is a test
of MAYFLY_SOAK alone; the TAP is in a network namespace of this process. The
environment is that of linux_guest.py. Without MAYFLY_SOAK files and streams are
shorter: each packet costs milliseconds where the guest's kernel is interpreted.
"""
import ctypes
import fcntl
import hashlib
import http.server
import json
import os
import socket
import struct
import subprocess
import sys
import threading
import time
import urllib.request

import agent
import monitor
from linux_guest import DEADLINE_S, METADATA, MMDS_IP, Guest, Server, sha256
from linux_override import Overrides
from linux_snapshot import Snapshots
from monitor import check, check_equal
from netns import GUEST_IP, HOST_IP

BLOB_BYTES = 16 << 20 if monitor.SOAK else 4 << 20
SLOW_BYTES = BLOB_BYTES if monitor.SOAK else 1 << 20
FRAME_MAX = 1514        # one segment
MMDS_LIMIT = 51200


def host_offloads(tap, turn_on):
    """ethtool -K tap tx sg tso gso: what the host leaves to the guest."""
    order = (0x17, 0x19, 0x1f, 0x24)    # ETHTOOL_STXCSUM, SSG, STSO, SGSO
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        for command in order:
            value = ctypes.create_string_buffer(
                struct.pack("<II", command, turn_on))
            fcntl.ioctl(s, 0x8946,      # SIOCETHTOOL
                        struct.pack("<16sQ16x", tap.encode(),
                                    ctypes.addressof(value)))


def largest(frames):
    """Bytes of the largest frame from the guest, and of the largest to it."""
    sizes = {False: 0, True: 0}
    frames.setblocking(False)
    try:
        while True:
            frame, address = frames.recvfrom(1 << 17)
            to_guest = address[2] == socket.PACKET_OUTGOING
            sizes[to_guest] = max(sizes[to_guest], len(frame))
    except BlockingIOError:
        frames.close()
        return sizes[False], sizes[True]


class Web(http.server.BaseHTTPRequestHandler):
    """Serves its class's content."""
    content = b""

    def do_GET(self):
        """For any path."""
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.content)))
        self.end_headers()
        self.wfile.write(self.content)

    def log_message(self, *_):
        """Nothing."""


def send_all(data):
    """For Server: send this, and wait for the end."""
    def serve(conn):
        conn.sendall(data)
        conn.shutdown(socket.SHUT_WR)
        return conn.recv(1)
    return serve


def hash_all(conn):
    """For Server: (bytes, SHA-256) of all that comes."""
    digest, size = hashlib.sha256(), 0
    while True:
        data = conn.recv(1 << 18)
        if not data:
            return size, digest.hexdigest()
        digest.update(data)
        size += len(data)


class Tests(Guest):
    """The guest; the tests are its methods."""
    blob = os.urandom(BLOB_BYTES)

    # ---- agent ----

    def runs_commands(self, _):
        """agent: a command has arguments, environment, directory and input"""
        result = self.agent.run(
            ["sh", "-c", "pwd; echo $A; cat; echo wrong >&2; exit 3", "x"],
            b"in\n", {"A": "x  y"}, "/tmp", DEADLINE_S)
        check_equal((result.how, result.value, result.out, result.err),
                    (agent.EXITED, 3, b"/tmp\nx y\nin\n", b"wrong\n"),
                    "result")
        result = self.agent.run(["sh", "-c", "kill -9 $$"])
        check_equal((result.how, result.value), (agent.KILLED, 9), "result")
        try:
            self.agent.run(["/nothing"])
            raise monitor.Failed("/nothing ran")
        except agent.AgentError as e:
            check_equal((e.errno, e.strerror),
                        (2, "run '/nothing': No such file or directory"),
                        "error")

    def ends_commands(self, _):
        """agent: a command ends at its time, and when its client goes away"""
        begin = time.monotonic()
        result = self.agent.run(["sleep", "600"], limit_s=2)
        check_equal(result.how, agent.TIMED_OUT, "end")
        check(2 <= time.monotonic() - begin < 120, "not in time")
        with self.agent.connect() as c:
            c.request(agent.RUN, struct.pack("<III", 0, 2, 0),
                      ["", "sleep", "601"])
            time.sleep(2)
        gone = "for i in `seq 60`; do pidof sleep >/dev/null || exit 0; " \
            "usleep 100000; done; exit 1"
        self.shell(gone)

    def serves_many(self, _):
        """agent: 8 clients at once, in any order"""
        ends = {}

        def client(i):
            ends[i] = self.agent.run(["cat"], b"%d" % i * 100000).out

        threads = [threading.Thread(target=client, args=[i])
                   for i in range(8)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        check_equal({i: sha256(out) for i, out in ends.items()},
                    {i: sha256(b"%d" % i * 100000) for i in range(8)},
                    "what came back")
        monitor.wait_for(self.all_reaped, "end of zombies")

    def all_reaped(self):
        """No process in the guest waits for its parent."""
        states = self.shell("grep -h ^State /proc/[0-9]*/status; true")
        return "Z" not in states

    def copies_files(self, _):
        """agent: a file in and out, hashed"""
        self.agent.copy_in(self.blob, "/tmp/blob", 0o640)
        check_equal(self.hash("/tmp/blob"), sha256(self.blob),
                    "what came in")
        mode, data = self.agent.copy_out("/tmp/blob")
        check_equal(mode, 0o640, "mode")
        check_equal(sha256(data), sha256(self.blob), "what came out")
        self.run("rm", "/tmp/blob")
        for path, error in ("/proc/x/file", 2), ("/sys/file", 1):
            try:
                self.agent.copy_in(self.blob[:200000], path)
                raise monitor.Failed("%s was written" % path)
            except agent.AgentError as e:
                check(e.errno in (error, 13, 30), "%s: %s" % (path, e))

    # ---- network ----

    def pings(self, _):
        """net: guest and host ping each other, small and in fragments"""
        self.run("ping", "-c", "3", "-W", "60", HOST_IP)
        self.run("ping", "-c", "2", "-W", "60", "-s", "20000", HOST_IP)
        for size in "56", "20000":
            done = subprocess.run(
                ["busybox", "ping", "-c", "3", "-W", "60", "-s", size,
                 GUEST_IP], check=False, capture_output=True, text=True)
            check_equal(done.returncode, 0, done.stdout + done.stderr)

    def speaks_http(self, _):
        """net: the guest serves a page and downloads one"""
        page = self.blob[:1 << 20]
        self.agent.copy_in(page, "/tmp/page")
        self.shell("httpd -p 80 -h /tmp")
        url = "http://%s/page" % GUEST_IP
        with urllib.request.urlopen(url, timeout=DEADLINE_S) as reply:
            check_equal(sha256(reply.read()), sha256(page), "page")
        Web.content = page
        server = http.server.HTTPServer((HOST_IP, 0), Web)
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        self.run("wget", "-q", "-O", "/tmp/got", "http://%s:%d/x"
                 % (HOST_IP, server.server_port))
        thread.join()
        server.server_close()
        check_equal(self.hash("/tmp/got"), sha256(page), "download")

    def stream(self, size):
        """A TCP stream each way. The largest frame of guest and host."""
        frames = self.net.raw()
        server = Server(send_all(self.blob[:size]))
        self.run("nc", HOST_IP, str(server.port), "-e", "/bin/dd", "bs=256k",
                 "of=/tmp/stream")
        server.end()
        digest = sha256(self.blob[:size])
        check_equal(self.hash("/tmp/stream"), digest, "stream to the guest")
        server = Server(hash_all)
        self.run("nc", HOST_IP, str(server.port), "-e", "/bin/cat",
                 "/tmp/stream")
        check_equal(server.end(), (size, digest), "stream to the host")
        return largest(frames)

    def streams_with_offloads(self, _):
        """net: a stream each way, checksums and segments left to the other"""
        sizes = self.stream(BLOB_BYTES)
        check(min(sizes) > FRAME_MAX, "no large frames: %s, %s" % sizes)

    def streams_without_offloads(self, _):
        """net: a stream each way, every checksum and segment made"""
        said = self.run("offload", "eth0", *"tx off sg off tso off gso off"
                        .split())
        check(" tx off sg off tso off gso off " in said, said)
        host_offloads(self.net.tap, False)
        sizes = self.stream(SLOW_BYTES)
        check(max(sizes) == FRAME_MAX, "large frames: %s, %s" % sizes)
        host_offloads(self.net.tap, True)
        self.run("offload", "eth0", *"tx on sg on tso on gso on".split())
        check(min(self.stream(1 << 20)) > FRAME_MAX, "still no large frames")

    # ---- metadata ----

    def serves_metadata(self, _):
        """mmds: with a token; without, with a wrong or old one it is refused"""
        path = "/latest/meta-data"
        check_equal(self.ask("GET", path)[0], 401, "without a token")
        check_equal(self.ask("GET", path, "X-metadata-token: bogus"),
                    (401, "MMDS token not valid."), "wrong token")
        good, brief = self.token(600), self.token(1)
        check_equal(self.ask("GET", path, good), (200, "ami-id\ntags/"),
                    "plain text")
        status, text = self.ask("GET", path, good, "Accept: application/json")
        check_equal((status, json.loads(text)),
                    (200, METADATA["latest"]["meta-data"]), "JSON")
        check_equal(self.run("wget", "-q", "-O", "-", "--header", good,
                             "http://%s%s/ami-id" % (MMDS_IP, path)),
                    "ami-1", "wget")
        time.sleep(1.1)
        check_equal(self.ask("GET", path, brief)[0], 401, "an old token")
        check_equal(self.ask("GET", "/none", good)[0], 404, "no such path")

    def merges_metadata(self, _):
        """mmds: the guest sees what is merged, and nothing too large"""
        good = self.token(600)
        as_json = "Accept: application/json"
        api = self.monitor.api
        api.put("/mmds", METADATA)
        api.patch("/mmds", {"latest": {"number": None,
                                       "meta-data": {"ami-id": "ami-2"}}})
        merged = {"meta-data": {"ami-id": "ami-2", "tags": {"a": "b"}}}
        status, text = self.ask("GET", "/latest", good, as_json)
        check_equal((status, json.loads(text)), (200, merged), "merged")
        # As large as a body may be: the guest gets the whole of it.
        large = "y" * (MMDS_LIMIT - len('{"x": ""}'))
        api.put("/mmds", {"x": large})
        check_equal(api.call("PATCH", "/mmds", {"z": 1})[0], 413, "too large")
        status, text = self.ask("GET", "/", good, as_json)
        check_equal((status, sha256(text.encode())),
                    (200, sha256(b'{"x":"%s"}' % large.encode())), "large")

    def powers_off(self, _):
        """the guest powers off when it is asked to"""
        try:
            self.run("poweroff")
        except ConnectionError:
            pass        # it did so at once
        check_equal(self.monitor.wait_exit(DEADLINE_S), 0, "exit code")
        check("init: done, 0 failed" in self.monitor.console(),
              "an order failed")


def serves_plain_metadata(_):
    """mmds version 1: no token is needed, any is taken; 1 vCPU, a snapshot"""
    guest = Guest("V1", "initramfs.cpio", 1)
    try:
        path = "/latest/meta-data/ami-id"
        check_equal(guest.ask("GET", path), (200, "ami-1"), "no token")
        check_equal(guest.ask("GET", path, "X-metadata-token: bogus"),
                    (200, "ami-1"), "wrong token")
        check_equal(guest.ask("GET", path, guest.token(600)),
                    (200, "ami-1"), "token")
        check_equal(guest.shell("wget -q -O - http://%s/latest/number; echo $?"
                                % MMDS_IP).strip(), "1", "a number")
        snapshots = Snapshots(guest)
        snapshots.prepare()
        snapshots.move()
        snapshots.check_kernel(1)
        guest.monitor.api.put("/mmds", METADATA)
        check_equal(guest.ask("GET", path), (200, "ami-1"), "restored")
    finally:
        guest.close()


def main():
    """All tests."""
    guest = Tests()
    snapshots = Snapshots(guest)
    try:
        return monitor.main([
            guest.runs_commands, guest.ends_commands, guest.serves_many,
            guest.copies_files, guest.pings, guest.speaks_http,
            guest.streams_with_offloads, guest.streams_without_offloads,
            guest.serves_metadata, guest.merges_metadata,
            snapshots.goes_on, snapshots.keeps_time, snapshots.clones_differ,
            Overrides(snapshots).are_seen,
            snapshots.keeps_metadata_rules, guest.powers_off,
            *([serves_plain_metadata] if monitor.SOAK else [])])
    finally:
        guest.close()


if __name__ == "__main__":
    sys.exit(main())
