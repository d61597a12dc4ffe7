# SPDX-License-Identifier: Apache-2.0
"""A Linux guest with an agent, on a TAP in a namespace of this process.

The environment is that of monitor.py, and
  GUEST        the folder of the Linux guest (build/guest)
"""
import hashlib
import os
import socket
import subprocess
import tempfile
import threading

import agent
import monitor
from agent import Agent
from monitor import Monitor, check, check_equal
from netns import GUEST_IP, HOST_IP, NetNs

GUEST = os.path.abspath(os.environ.get(
    "GUEST", os.path.join(monitor.TOP, "build/guest")))
DEADLINE_S = 280        # as in linux_boot.py
DATA_BYTES = 1 << 20    # of /dev/vdb
MMDS_IP = "169.254.169.254"
METADATA = {"latest": {"meta-data": {"ami-id": "ami-1", "tags": {"a": "b"}},
                       "number": 7}}


def sha256(data):
    """In hexadecimal."""
    return hashlib.sha256(data).hexdigest()


class Server:
    """A TCP listener on the TAP that takes one connection, on a thread."""

    def __init__(self, serve):
        self.socket = socket.create_server((HOST_IP, 0))
        self.socket.settimeout(DEADLINE_S)
        self.port = self.socket.getsockname()[1]
        self.result = None
        self.thread = threading.Thread(target=self.run, args=[serve])
        self.thread.start()

    def run(self, serve):
        """On the thread."""
        try:
            conn, _ = self.socket.accept()
            with conn:
                conn.settimeout(DEADLINE_S)
                self.result = serve(conn)
        except OSError as e:
            self.result = e

    def end(self):
        """What serve() returned."""
        self.thread.join()
        self.socket.close()
        return self.result


class Guest:
    """A guest, which boots when it is first asked for anything."""

    def __init__(self, version="V2", image="root.ext4", vcpus=2):
        self.version, self.image, self.vcpus = version, image, vcpus
        self.folder = tempfile.TemporaryDirectory(prefix="mayfly-")
        self.net = self.monitor = self.is_agent = None

    def file(self, name):
        """In its folder."""
        return os.path.join(self.folder.name, name)

    def source(self):
        """Its kernel, and what the host asks of the command line."""
        words = subprocess.run([os.path.join(monitor.TOP,
                                             "tools/guest-args.sh")],
                               check=True, capture_output=True, text=True)
        source = {"kernel_image_path": os.path.join(GUEST, "vmlinux"),
                  "boot_args": "console=ttyS0 quiet reboot=k panic=1 "
                               + words.stdout.strip() +
                               " mayfly.run=agent,poweroff"}
        if self.image == "initramfs.cpio":
            source["initrd_path"] = os.path.join(GUEST, self.image)
        return source

    def boot(self):
        """Until the agent listens and the network is up."""
        self.net = NetNs()
        self.monitor = Monitor(self.folder.name)
        api = self.monitor.api
        api.put("/machine-config", {"vcpu_count": self.vcpus,
                                    "mem_size_mib": 256})
        api.put("/boot-source", self.source())
        if self.image == "root.ext4":
            api.put("/drives/root", monitor.drive(
                os.path.join(GUEST, self.image), True, True,
                drive_id="root"))
            with open(self.file("data"), "wb") as f:
                f.truncate(DATA_BYTES)
            api.put("/drives/data", monitor.drive(self.file("data")))
        interface = self.net.interface()
        name = interface["iface_id"]
        api.put("/network-interfaces/" + name, interface)
        api.put("/vsock", {"guest_cid": 3, "uds_path": self.file("v.sock")})
        api.put("/mmds/config", {"version": self.version,
                                 "network_interfaces": [name]})
        api.put("/mmds", METADATA)
        api.put("/actions", {"action_type": "InstanceStart"})
        there = Agent(self.file("v.sock"), timeout=DEADLINE_S)
        there.wait(DEADLINE_S,
                   lambda: self.monitor.process.poll() is None)
        self.is_agent = there
        self.shell("ifconfig eth0 %s netmask 255.255.255.0 up && "
                   "route add -host %s dev eth0" % (GUEST_IP, MMDS_IP))

    @property
    def agent(self):
        """Its agent; boots it."""
        if not self.is_agent:
            check(not self.monitor, "the guest did not boot")
            try:
                self.boot()
            except Exception:
                if self.monitor:
                    self.monitor.show()
                raise
        return self.is_agent

    def close(self):
        """End it, whatever it does."""
        if self.monitor:
            self.monitor.kill()
        if self.net:
            self.net.close()
        self.folder.cleanup()

    def run(self, *words, **more):
        """Standard output of a command that must succeed."""
        result = self.agent.run(words, limit_s=DEADLINE_S, **more)
        check((result.how, result.value) == (agent.EXITED, 0),
              "%s: %r" % (" ".join(words), result))
        return result.out.decode()

    def shell(self, script, **more):
        """The same, of a script."""
        return self.run("sh", "-c", script, **more)

    def hash(self, path):
        """SHA-256 of a file in the guest."""
        return self.run("check", "read", path).split()[-1]

    def ask(self, method, path, *headers):
        """(status, body) of a request to the metadata service."""
        text = "\r\n".join(["%s %s HTTP/1.1" % (method, path), *headers,
                            "", ""])
        reply = self.run("busybox", "nc", MMDS_IP, "80", stdin=text.encode())
        head, _, body = reply.partition("\r\n\r\n")
        check(head.startswith("HTTP/1.1 "), reply)
        return int(head.split()[1]), body

    def token(self, ttl_s):
        """A token."""
        status, text = self.ask("PUT", "/latest/api/token",
                                "X-metadata-token-ttl-seconds: %d" % ttl_s)
        check_equal(status, 200, text)
        return "X-metadata-token: " + text
