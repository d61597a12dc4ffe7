#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Boot Linux guests and look at what they report. TAP output.

usage: linux_boot.py [BOOT...]      (default: readonly drives)

  readonly   1 vCPU, 128 MiB, read-only root, from a config file; devices from
             the command line and the MP table; ends by a reset
  drives     2 vCPUs, 256 MiB, writable root and 8 drives, through the API;
             devices from ACPI; ends by power-off
  initramfs  2 vCPUs, 4 GiB, initramfs
  cloud      Debian's unmodified cloud kernel, up to its first line

The monitor is $MAYFLY (build/bin/mayfly), the guest's files are in
$GUEST (build/guest). Exit code 77: cannot run here.
"""
import hashlib
import http.client
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time

TOP = os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))))
MAYFLY = os.environ.get("MAYFLY", os.path.join(TOP, "build/bin/mayfly"))
GUEST = os.environ.get("GUEST", os.path.join(TOP, "build/guest"))
# A kernel that is interpreted needs half a minute, on a busy machine more.
DEADLINE_S = 300
DEADLINE_4GIB_S = 900
FILE_MIB = 8


class Failed(Exception):
    """What is wrong, in one line."""


def check(condition, text):
    """One line of the verdict."""
    if not condition:
        raise Failed(text)


def sha256(path, size=None):
    """Of a file, or of its first size bytes."""
    with open(path, "rb") as f:
        return hashlib.sha256(f.read(size)).hexdigest()


def guest_args():
    """What this host asks of a guest's command line."""
    script = os.path.join(TOP, "tools/guest-args.sh")
    return subprocess.run([script], check=True, capture_output=True,
                          text=True).stdout.strip()


def boot_args(orders, extra=""):
    """A command line that makes init carry out orders."""
    words = ["console=ttyS0 reboot=k panic=1", guest_args(), extra,
             "mayfly.run=" + orders]
    return " ".join(w for w in words if w)


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
    """One run of the monitor; its console is in a file."""

    def __init__(self, folder, *args):
        self.console_path = os.path.join(folder, "console")
        self.log_path = os.path.join(folder, "log")
        self.started = time.monotonic()
        with open(self.console_path, "wb") as out:
            self.process = subprocess.Popen(
                [MAYFLY, "--log-path", self.log_path, *args],
                stdin=subprocess.DEVNULL, stdout=out,
                stderr=subprocess.STDOUT)

    def console(self):
        """What the guest has said so far."""
        with open(self.console_path, "rb") as f:
            return f.read().decode("utf-8", "replace").replace("\r", "")

    def reports(self):
        """The lines of init."""
        return re.findall(r"^init: (.*)$", self.console(), re.MULTILINE)

    def wait_exit(self, deadline_s):
        """Its exit code."""
        try:
            return self.process.wait(deadline_s)
        except subprocess.TimeoutExpired:
            raise Failed("still running after %d s" % deadline_s) from None

    def wait_text(self, text, deadline_s):
        """Until the console holds text."""
        while text not in self.console():
            check(self.process.poll() is None,
                  "ended with %s before '%s'"
                  % (self.process.returncode, text))
            check(time.monotonic() - self.started < deadline_s,
                  "no '%s' in %d s" % (text, deadline_s))
            time.sleep(0.2)

    def kill(self):
        """End it, if it has not ended."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def show(self):
        """Everything that helps to see what went wrong, as TAP comments."""
        text = "console:\n" + self.console()
        if os.path.exists(self.log_path):
            with open(self.log_path, errors="replace",
                      encoding="utf-8") as f:
                text += "\nlog:\n" + f.read()
        for line in text.splitlines():
            print("# " + line)


def run_from_file(folder, config):
    """Start a monitor from a config file, without an API."""
    path = os.path.join(folder, "config.json")
    with open(path, "w", encoding="utf-8") as f:
        json.dump(config, f)
    return Monitor(folder, "--no-api", "--config-file", path)


def connect(monitor, path):
    """A connection to its API."""
    while not os.path.exists(path):
        check(monitor.process.poll() is None, "no API socket")
        check(time.monotonic() - monitor.started < 30, "no API socket")
        time.sleep(0.01)
    return Unix(path)


def put(api, path, body):
    """PUT that must succeed."""
    api.request("PUT", path, json.dumps(body),
                {"Content-Type": "application/json"})
    reply = api.getresponse()
    text = reply.read().decode()
    check(reply.status == 204, "PUT %s: %d %s" % (path, reply.status, text))


def drive(drive_id, path, read_only=False, root=False):
    """A drive as the API takes it."""
    return {"drive_id": drive_id, "path_on_host": path,
            "is_root_device": root, "is_read_only": read_only}


def reported(reports, pattern):
    """The groups of the report that matches."""
    for line in reports:
        match = re.fullmatch(pattern, line)
        if match:
            return match.groups()
    raise Failed("no report '%s'" % pattern)


def check_end(monitor, deadline_s, last):
    """The guest did all it was told, and ended as it was told."""
    code = monitor.wait_exit(deadline_s)
    reports = monitor.reports()
    reported(reports, "done, 0 failed")
    reported(reports, last)
    check(code == 0, "exit code %d" % code)
    return reports


def boot_readonly(folder, started):
    """1 vCPU, 128 MiB, read-only root"""
    root = os.path.join(GUEST, "root.ext4")
    before = sha256(root)
    orders = "info,drives,exec:/bin/check:read:/data/pattern:7,reboot"
    monitor = run_from_file(folder, {
        "boot-source": {
            "kernel_image_path": os.path.join(GUEST, "vmlinux"),
            "boot_args": boot_args(orders, "acpi=off")},
        "drives": [drive("root", root, read_only=True, root=True)],
        "machine-config": {"vcpu_count": 1, "mem_size_mib": 128}})
    started.append(monitor)
    reports = check_end(monitor, DEADLINE_S, "reboot")
    reported(reports, "cpus 1")
    reported(reports, r"drive vda %d bytes ro root at virtio-mmio\.0"
             % os.path.getsize(root))
    (digest,) = reported(reports, r"read /data/pattern 1048576 bytes, "
                         r"verified, sha256 (\w+)")
    pattern = os.path.join(folder, "pattern")
    extract(root, "/data/pattern", pattern)
    check(digest == sha256(pattern), "guest and host read another pattern")
    check(before == sha256(root), "a read-only drive has changed")


def extract(image, path, out):
    """A file out of an ext4 image, without mounting it."""
    subprocess.run(["debugfs", "-R", "dump %s %s" % (path, out), image],
                   check=True, stdin=subprocess.DEVNULL,
                   capture_output=True, env=sbin_env())
    check(os.path.exists(out), "no %s in the drive" % path)


def sbin_env():
    """The file system tools lie where people's PATH does not reach."""
    return dict(os.environ, PATH=os.environ["PATH"] + ":/sbin:/usr/sbin")


def make_drives(folder):
    """8 drives as (path, usable bytes, read_only); the last two: read-only,
    and of a size that is no multiple of a sector."""
    made = []
    for i in range(1, 9):
        path = os.path.join(folder, "drive%d" % i)
        size = i * 64 << 10
        with open(path, "wb") as f:
            f.write(os.urandom(size + (100 if i == 8 else 0)))
        made.append((path, size, i == 7))
    return made


def check_drives(drives, before, reports):
    """What the guest saw and left in each of them."""
    for letter, (path, size, read_only), old in zip(
            "bcdefghi", drives, before):
        name = "vd" + letter
        reported(reports, r"drive %s %d bytes %s at LNRO0005:\w+"
                 % (name, size, "ro" if read_only else "rw"))
        (digest,) = reported(reports, r"read /dev/%s %d bytes sha256 (\w+)"
                             % (name, size))
        check(digest == old, "%s: the guest read something else" % name)
        if read_only:
            reported(reports, "/dev/%s refuses writing: .*" % name)
            check(old == sha256(path, size), "%s has changed" % name)
            continue
        (digest,) = reported(reports, r"read /dev/%s %d bytes, verified, "
                             r"sha256 (\w+)" % (name, size))
        check(digest == sha256(path, size),
              "%s does not hold what the guest wrote" % name)


def boot_drives(folder, started):
    """2 vCPUs, 256 MiB, writable root and 8 drives"""
    root = os.path.join(folder, "root.ext4")
    shutil.copyfile(os.path.join(GUEST, "root.ext4"), root)
    drives = make_drives(folder)
    before = [sha256(path, size) for path, size, _ in drives]
    orders = "info,drives,rw,exec:/bin/check:write:/data/file:%d:42,poweroff" \
        % FILE_MIB
    sock = os.path.join(folder, "api.sock")
    monitor = Monitor(folder, "--api-sock", sock)
    started.append(monitor)
    api = connect(monitor, sock)
    put(api, "/machine-config", {"vcpu_count": 2, "mem_size_mib": 256})
    put(api, "/boot-source", {
        "kernel_image_path": os.path.join(GUEST, "vmlinux"),
        "boot_args": boot_args(orders)})
    for i, (path, _, read_only) in enumerate(drives, 1):
        put(api, "/drives/d%d" % i, drive("d%d" % i, path, read_only))
    put(api, "/drives/root", drive("root", root, root=True))
    put(api, "/actions", {"action_type": "InstanceStart"})
    reports = check_end(monitor, DEADLINE_S, "power off")
    api.close()
    reported(reports, "cpus 2")
    reported(reports, r"drive vda \d+ bytes rw root at LNRO0005:\w+")
    check_drives(drives, before, reports)
    (digest,) = reported(reports, r"read /data/file %d bytes, verified, "
                         r"sha256 (\w+)" % (FILE_MIB << 20))
    copy = os.path.join(folder, "file")
    extract(root, "/data/file", copy)
    check(os.path.getsize(copy) == FILE_MIB << 20, "file of another size")
    check(digest == sha256(copy), "the file is not what the guest wrote")
    fsck = subprocess.run(["e2fsck", "-fn", root], capture_output=True,
                          check=False, text=True, env=sbin_env())
    check(fsck.returncode == 0, "e2fsck: " + fsck.stdout)


def boot_initramfs(folder, started):
    """2 vCPUs, 4 GiB, initramfs"""
    monitor = run_from_file(folder, {
        "boot-source": {
            "kernel_image_path": os.path.join(GUEST, "vmlinux"),
            "initrd_path": os.path.join(GUEST, "initramfs.cpio"),
            "boot_args": boot_args("info,drives,write:/tmp/file:16:3,"
                                   "poweroff")},
        "drives": [],
        "machine-config": {"vcpu_count": 2, "mem_size_mib": 4096}})
    started.append(monitor)
    reports = check_end(monitor, DEADLINE_4GIB_S, "power off")
    reported(reports, "cpus 2")
    (kib,) = reported(reports, r"memory (\d+) KiB")
    check(3900 << 10 < int(kib) <= 4096 << 10, "%s KiB of memory" % kib)
    reported(reports, r"read /tmp/file 16777216 bytes, verified, .*")


def boot_cloud(folder, started):
    """Debian's cloud kernel prints its first line"""
    monitor = run_from_file(folder, {
        "boot-source": {
            "kernel_image_path": os.path.join(GUEST, "vmlinuz-cloud"),
            "boot_args": "nokaslr earlyprintk=serial,ttyS0 " +
                         guest_args()},
        "drives": [],
        "machine-config": {"vcpu_count": 1, "mem_size_mib": 512}})
    started.append(monitor)
    monitor.wait_text("Linux version", DEADLINE_S)


BOOTS = {"readonly": boot_readonly, "drives": boot_drives,
         "initramfs": boot_initramfs, "cloud": boot_cloud}


def run(number, name):
    """One boot, one line of TAP."""
    boot = BOOTS[name]
    started = []
    begin = time.monotonic()
    verdict = None
    with tempfile.TemporaryDirectory(prefix="mayfly-") as folder:
        try:
            boot(folder, started)
        except (Failed, OSError, http.client.HTTPException,
                subprocess.CalledProcessError) as e:
            verdict = str(e)
        for monitor in started:
            monitor.kill()
            if verdict:
                monitor.show()
    seconds = time.monotonic() - begin
    print("%s %d - linux %s: %s # %.0f s"
          % ("not ok" if verdict else "ok", number, name, boot.__doc__,
             seconds))
    if verdict:
        print("# " + verdict)
    sys.stdout.flush()
    return not verdict


def main():
    """All boots that were asked for."""
    names = sys.argv[1:] or ["readonly", "drives"]
    unknown = [n for n in names if n not in BOOTS]
    if unknown:
        print("unknown: %s\n%s" % (" ".join(unknown), __doc__))
        return 2
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        print("1..0 # SKIP no access to /dev/kvm")
        return 77
    print("1..%d" % len(names))
    good = [run(i, name) for i, name in enumerate(names, 1)]
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main())
