#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Boot Linux guests and look at what they report. TAP output.

usage: linux_boot.py [BOOT...]      (default: readonly drives; all of them with
                                    MAYFLY_SOAK in the environment)

  readonly   1 vCPU, 128 MiB, read-only root, from a config file; devices from
             the command line and the MP table; ends by a reset
  drives     2 vCPUs, 256 MiB, writable root and 8 drives, through the API;
             devices from ACPI; ends by power-off
  initramfs  2 vCPUs, 4 GiB, initramfs
  cloud      Debian's unmodified cloud kernel, up to its first line

The monitor is $MAYFLY (build/bin/mayfly), in a jail (see jailed.py); the
guest's files are in $GUEST (build/guest). Exit code 77: cannot run here.
"""
import hashlib
import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

import jailed

TOP = os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))))
MAYFLY = os.environ.get("MAYFLY",
                        os.path.join(TOP, "build/bin/mayfly")).split()
GUEST = os.path.abspath(os.environ.get(
    "GUEST", os.path.join(TOP, "build/guest")))
# An interpreted kernel needs a quarter of a minute; machines may be busy.
DEADLINE_S = 280
DEADLINE_4GIB_S = 900
FILE_BYTES = 8 << 20


class Failed(Exception):
    """What is wrong."""


def same(got, want, what):
    """Fails unless both are equal."""
    if got != want:
        raise Failed(f"{what}: {got!r}, not {want!r}")


class Unix(http.client.HTTPConnection):
    """HTTP on a Unix socket."""

    def __init__(self, path):
        super().__init__("localhost", timeout=30)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class Monitor:
    """A monitor and a folder for its files; what it says is in a file."""

    def __init__(self, folder):
        self.folder = folder
        self.process = None
        self.jail = jailed.place(MAYFLY, None, [folder], [GUEST])

    def file(self, name):
        """Path of a file of its folder."""
        return os.path.join(self.folder, name)

    def start(self, *args):
        """Start it."""
        with open(self.file("console"), "wb") as out:
            # pylint: disable=subprocess-popen-preexec-fn
            self.process = subprocess.Popen(
                self.jail.words("test", ["--log-path", self.file("log"),
                                         *args]),
                stdin=subprocess.DEVNULL, stdout=out,
                stderr=subprocess.STDOUT, preexec_fn=self.jail.enter)

    def read(self, name):
        """The text of a file, if it is there."""
        if not os.path.exists(self.file(name)):
            return ""
        with open(self.file(name), "rb") as f:
            return f.read().decode("utf-8", "replace").replace("\r", "")

    def put(self, path, body):
        """A request that succeeds."""
        api = Unix(self.file("api.sock"))
        api.request("PUT", path, json.dumps(body),
                    {"Content-Type": "application/json"})
        reply = api.getresponse()
        same((reply.status, reply.read()), (204, b""), f"PUT {path}")
        api.close()

    def kill(self):
        """End it, if it has not ended."""
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.jail.close()

    def show(self):
        """Console and log, as comments."""
        for name in "log", "console":
            print(f"# {name}:")
            for line in self.read(name).splitlines():
                print("#   " + line)


def guest_file(name):
    """One of the files that the guest is made of."""
    return os.path.join(GUEST, name)


def sha256(path, size=None):
    """Of a file, or of its first size bytes."""
    with open(path, "rb") as f:
        return hashlib.sha256(f.read(size)).hexdigest()


def host_args():
    """What this host asks of a guest's command line."""
    return subprocess.run([os.path.join(TOP, "tools/guest-args.sh")],
                          check=True, capture_output=True,
                          text=True).stdout.strip()


def boot_source(orders, extra="", **more):
    """Our kernel, and a command line that makes init carry out orders."""
    args = f"console=ttyS0 reboot=k panic=1 {host_args()} {extra}" \
        f" mayfly.run={orders}"
    return {"kernel_image_path": guest_file("vmlinux"),
            "boot_args": args, **more}


def drive(drive_id, path, read_only=False):
    """A drive as the API takes it; "root" is the root drive."""
    return {"drive_id": drive_id, "path_on_host": path,
            "is_root_device": drive_id == "root", "is_read_only": read_only}


def start_from_file(monitor, source, vcpus, mib, *drives):
    """Start it from a config file, without an API."""
    config = {"boot-source": source, "drives": list(drives),
              "machine-config": {"vcpu_count": vcpus, "mem_size_mib": mib}}
    with open(monitor.file("config.json"), "w", encoding="utf-8") as f:
        json.dump(config, f)
    monitor.start("--no-api", "--config-file", monitor.file("config.json"))


def start_api(monitor):
    """Start it, and wait for its socket."""
    path = monitor.file("api.sock")
    monitor.start("--api-sock", path)
    end = time.monotonic() + 60
    while True:
        try:
            with socket.socket(socket.AF_UNIX) as s:
                s.connect(path)
            return
        except OSError:
            if monitor.process.poll() is not None or time.monotonic() > end:
                raise Failed("no API socket") from None
            time.sleep(0.01)


def reported(monitor, pattern):
    """The groups of the report that matches."""
    match = re.search(f"^init: {pattern}$", monitor.read("console"),
                      re.MULTILINE)
    if not match:
        raise Failed(f"init did not report '{pattern}'")
    return match.groups()


def wait_end(monitor, deadline_s, last):
    """The guest does all it is told, and ends as it is told."""
    try:
        code = monitor.process.wait(deadline_s)
    except subprocess.TimeoutExpired:
        raise Failed(f"still running after {deadline_s} s") from None
    if code == -signal.SIGSYS:
        raise Failed(jailed.violation(monitor.process.pid))
    reported(monitor, "done, 0 failed")
    reported(monitor, last)
    same(code, 0, "exit code")


def tool(*command):
    """A file system tool: these lie where people's PATH does not reach."""
    env = dict(os.environ, PATH=os.environ["PATH"] + ":/sbin:/usr/sbin")
    done = subprocess.run(command, check=False, stdin=subprocess.DEVNULL,
                          capture_output=True, env=env)
    if done.returncode:
        raise Failed(f"{' '.join(command)}: {done.stdout + done.stderr}")


def extract(image, path, out):
    """A file out of an ext4 image, without mounting it; its SHA-256."""
    tool("debugfs", "-R", f"dump {path} {out}", image)
    return sha256(out)


def boot_readonly(m):
    """1 vCPU, 128 MiB, read-only root, command-line discovery, reset"""
    root = guest_file("root.ext4")
    before = sha256(root)
    orders = "info,drives,exec:/bin/check:read:/data/pattern:7,reboot"
    start_from_file(m, boot_source(orders, extra="acpi=off"), 1, 128,
                    drive("root", root, read_only=True))
    wait_end(m, DEADLINE_S, "reboot")
    reported(m, "cpus 1")
    reported(m, rf"drive vda {os.path.getsize(root)} bytes ro root "
             r"at virtio-mmio\.0")
    digest, = reported(m, r"read /data/pattern 1048576 bytes, verified, "
                       r"sha256 (\w+)")
    same(digest, extract(root, "/data/pattern", m.file("pattern")), "pattern")
    same(sha256(root), before, "a read-only drive has changed")


def make_drives(monitor):
    """8 drives as (name in the guest, path, size, read-only). One is read-only,
    and the last one is longer than its last whole sector."""
    made = []
    for i, letter in enumerate("bcdefghi", 1):
        size = i * 64 << 10
        name = "vd" + letter
        with open(monitor.file(name), "wb") as f:
            f.write(os.urandom(size + (100 if i == 8 else 0)))
        made.append((name, monitor.file(name), size, i == 7))
    return made


def check_drive(monitor, before, name, path, size, read_only):
    """What the guest saw and left in one of them."""
    access = "ro" if read_only else "rw"
    reported(monitor, rf"drive {name} {size} bytes {access} at LNRO0005:\w+")
    digest, = reported(monitor, rf"read /dev/{name} {size} bytes "
                       r"sha256 (\w+)")
    same(digest, before, f"{name}: what the guest read")
    if read_only:
        reported(monitor, f"/dev/{name} refuses writing: .*")
    else:
        digest, = reported(monitor, rf"read /dev/{name} {size} bytes, "
                           r"verified, sha256 (\w+)")
    same(sha256(path, size), digest, f"{name}: what the guest left")


def boot_drives(m):
    """2 vCPUs, 256 MiB, writable root and 8 drives, ACPI, power-off"""
    root = m.file("root.ext4")
    shutil.copyfile(guest_file("root.ext4"), root)
    drives = make_drives(m)
    before = [sha256(path, size) for _, path, size, _ in drives]
    orders = "info,drives,rw," \
        f"exec:/bin/check:write:/data/file:{FILE_BYTES >> 20}:42,poweroff"
    start_api(m)
    m.put("/machine-config", {"vcpu_count": 2, "mem_size_mib": 256})
    m.put("/boot-source", boot_source(orders))
    for name, path, _, read_only in drives:
        m.put(f"/drives/{name}", drive(name, path, read_only))
    m.put("/drives/root", drive("root", root))
    m.put("/actions", {"action_type": "InstanceStart"})
    wait_end(m, DEADLINE_S, "power off")
    reported(m, "cpus 2")
    reported(m, r"drive vda \d+ bytes rw root at LNRO0005:\w+")
    for old, d in zip(before, drives):
        check_drive(m, old, *d)
    digest, = reported(m, rf"read /data/file {FILE_BYTES} bytes, verified, "
                       r"sha256 (\w+)")
    same(digest, extract(root, "/data/file", m.file("copy")), "/data/file")
    same(os.path.getsize(m.file("copy")), FILE_BYTES, "size of /data/file")
    tool("e2fsck", "-fn", root)


def boot_initramfs(m):
    """2 vCPUs, 4 GiB, initramfs"""
    start_from_file(m, boot_source("info,write:/tmp/file:16:3,poweroff",
                                   initrd_path=guest_file("initramfs.cpio")),
                    2, 4096)
    wait_end(m, DEADLINE_4GIB_S, "power off")
    reported(m, "cpus 2")
    kib, = reported(m, r"memory (\d+) KiB")
    if not 3900 << 10 < int(kib) <= 4096 << 10:
        raise Failed(f"{kib} KiB of memory")
    reported(m, r"read /tmp/file 16777216 bytes, verified, sha256 \w+")


def boot_cloud(m):
    """Debian's cloud kernel prints its first line"""
    if not os.path.exists(guest_file("vmlinuz-cloud")):
        tool(os.path.join(TOP, "guest/linux/cloud-kernel.sh"),
             guest_file("vmlinuz-cloud"))
    args = "nokaslr earlyprintk=serial,ttyS0 " + host_args()
    start_from_file(m, {"kernel_image_path": guest_file("vmlinuz-cloud"),
                        "boot_args": args}, 1, 512)
    begin = time.monotonic()
    while "Linux version" not in m.read("console"):
        if m.process.poll() is not None:
            raise Failed(f"ended with {m.process.returncode}")
        if time.monotonic() - begin > DEADLINE_S:
            raise Failed(f"no 'Linux version' in {DEADLINE_S} s")
        time.sleep(0.2)


BOOTS = {"readonly": boot_readonly, "drives": boot_drives,
         "initramfs": boot_initramfs, "cloud": boot_cloud}


def run(number, name):
    """One boot, one line of TAP."""
    begin = time.monotonic()
    why = ""
    with tempfile.TemporaryDirectory(prefix="mayfly-") as folder:
        monitor = Monitor(folder)
        try:
            BOOTS[name](monitor)
        except (Failed, OSError, http.client.HTTPException) as e:
            why = str(e) or repr(e)
        monitor.kill()
        if why:
            monitor.show()
    print(f"{'not ok' if why else 'ok'} {number} - linux {name}: "
          f"{BOOTS[name].__doc__} ({time.monotonic() - begin:.0f} s)")
    for line in why.splitlines():
        print("# " + line)
    sys.stdout.flush()
    return not why


def main():
    """All boots that were asked for."""
    usual = BOOTS if "MAYFLY_SOAK" in os.environ else ["readonly", "drives"]
    names = sys.argv[1:] or list(usual)
    if not set(names) <= set(BOOTS):
        print(__doc__)
        return 2
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        print("kvm: cannot open /dev/kvm")
        return 77
    good = [run(i, name) for i, name in enumerate(names, 1)]
    print(f"1..{jailed.add_point(len(names))}")
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main())
