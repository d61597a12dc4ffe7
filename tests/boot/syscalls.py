#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Run guests and see that each system call of the monitor is in the tables.

usage: syscalls.py [SCENARIO...]      (default: all)

TAP output. What is outside the tables of base/filters is listed under the
scenario in which it was seen. The programs are $MAYFLY (build/bin/mayfly),
$CALLWATCH (build/bin/callwatch) and $NANO (build/guest/nano.elf). With UNUSED=1,
rows that no call of a scenario matched are listed, too. Exit code 77: cannot
run here.
"""
import contextlib
import http.client
import json
import os
import socket
import subprocess
import sys
import tempfile
import time

from monitor import Skip
from netns import NetNs

TOP = os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))))


def program(variable, path):
    """A program of ours, by its whole path: guests run in other folders."""
    return os.path.abspath(os.environ.get(variable, os.path.join(TOP, path)))


MAYFLY = program("MAYFLY", "build/bin/mayfly")
CALLWATCH = program("CALLWATCH", "build/bin/callwatch")
NANO = program("NANO", "build/guest/nano.elf")
TABLES = os.path.join(TOP, "base/filters")
PATIENCE_S = 60


class Failed(Exception):
    """What is wrong."""


def no_taps():
    """Why there can be none here, or None."""
    try:
        with NetNs():
            return None
    except Skip as e:
        return str(e)


NO_TAPS = no_taps()


class Connection(http.client.HTTPConnection):
    """HTTP on a Unix socket."""

    def __init__(self, path):
        super().__init__("localhost", timeout=PATIENCE_S)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(PATIENCE_S)
        self.sock.connect(self.path)


class Watched:
    """A monitor under callwatch, in a folder of its own."""

    def __init__(self, args, options=(), tables=TABLES):
        self.folder = tempfile.TemporaryDirectory(prefix="syscalls-")
        self.cwd = self.folder.name
        for name in ("disk", "disk2"):
            with open(self.file(name), "wb") as f:
                f.truncate(8 << 20)
        if os.environ.get("UNUSED"):
            options = (*options, "-u")
        self.args = [CALLWATCH, "-t", tables, "-o", self.file("report"),
                     *options, MAYFLY, *args]
        self.process = None

    def file(self, name):
        """Path of a file of this monitor."""
        return os.path.join(self.cwd, name)

    def write(self, name, value):
        """A JSON file for it."""
        with open(self.file(name), "w", encoding="ascii") as f:
            json.dump(value, f)

    def start(self):
        """Start it; with an API, wait for its socket."""
        with open(self.file("out"), "wb") as out:
            self.process = subprocess.Popen(
                self.args, cwd=self.cwd, stdin=subprocess.DEVNULL,
                stdout=out, stderr=subprocess.STDOUT)
        if "--no-api" not in self.args:
            self.wait(lambda: os.path.exists(self.file("api.sock")),
                      "socket of the API")

    def wait(self, condition, what):
        """Wait for a condition, but not for ever."""
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            if time.monotonic() > deadline:
                raise Failed(f"no {what} after {PATIENCE_S} s: "
                             f"{self.output()[-300:]!r}")
            time.sleep(0.02)

    def output(self):
        """What the monitor and the guest said so far."""
        with open(self.file("out"), "rb") as f:
            return f.read().decode("latin-1")

    def wait_said(self, text):
        """Wait until the output holds a text."""
        self.wait(lambda: text in self.output(), f"line {text!r}")

    def request(self, method, path, body=None, status=204):
        """One request on a connection of its own."""
        c = Connection(self.file("api.sock"))
        c.request(method, path, json.dumps(body) if body else None)
        r = c.getresponse()
        text = r.read().decode()
        c.close()
        if r.status != status:
            raise Failed(f"{method} {path}: {r.status} {text}")

    def finish(self):
        """Wait for the end; what callwatch reported."""
        try:
            self.process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            raise Failed(f"no end: {self.output()[-300:]!r}") from None
        with open(self.file("report"), encoding="ascii") as f:
            return f.read().splitlines()

    def close(self):
        """End it in any case."""
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.folder.cleanup()


def config(orders, drives=(), vcpus=1):
    """A configuration file for nano."""
    return {
        "boot-source": {"kernel_image_path": NANO,
                        "boot_args": f"nano.run={orders}"},
        "drives": [{"drive_id": f"d{i}", "path_on_host": path,
                    "is_root_device": False, "is_read_only": False,
                    "cache_type": "Writeback"}
                   for i, path in enumerate(drives)],
        "machine-config": {"vcpu_count": vcpus, "mem_size_mib": 128},
    }


def config_file(options=()):
    """Config file, no API: drive, console, clock, several processors."""
    w = Watched(["--no-api", "--config-file", "c.json", "--boot-timer",
                 "--log-path", "log", "--metrics-path", "m"], options)
    w.write("c.json", config("hello,cpus,boottimer,flood=100000,"
                             "blk=0:write:1:4,blk=0:flush,blk=0:verify:1:4,"
                             "blk=0:discard:0:64,blk=0:zeroes:0:64",
                             ["disk"], 4))
    return w, w.start


def connected(w):
    """Give it network, vsock and metadata; each in more than one way."""
    w.request("PUT", "/vsock", {"guest_cid": 3, "uds_path": "v.sock"})
    w.request("PUT", "/vsock", {"guest_cid": 3, "uds_path": "v.sock"})
    w.request("PUT", "/vsock", {"guest_cid": 3, "uds_path": "w.sock",
                                "max_connections": 2000})
    w.request("PUT", "/mmds", {"a": 1})
    if NO_TAPS:
        return
    for tap, status in (("tap0", 204), ("tap0", 204), ("lo", 400)):
        w.request("PUT", "/network-interfaces/n",
                  {"iface_id": "n", "host_dev_name": tap}, status)
    w.request("PUT", "/mmds/config", {"network_interfaces": ["n"]})


def api(options=()):
    """API: every endpoint before, while and after the guest is paused."""
    w = Watched(["--api-sock", "api.sock"], options)

    def run():
        with contextlib.nullcontext() if NO_TAPS else NetNs():
            w.start()
        w.request("GET", "/version", status=200)
        w.request("PUT", "/logger", {"log_path": "log", "level": "Info"})
        w.request("PUT", "/metrics", {"metrics_path": "m"})
        w.request("PUT", "/serial", {"serial_out_path": "serial"})
        w.request("PUT", "/machine-config",
                  {"vcpu_count": 2, "mem_size_mib": 64})
        w.request("PUT", "/boot-source",
                  {"kernel_image_path": NANO, "initrd_path": "disk",
                   "boot_args": "nano.run=hello,blk=0:write:1:4,"
                                "tick=150,blk=0:verify:2:1"})
        w.request("PUT", "/drives/d",
                  {"drive_id": "d", "path_on_host": "disk",
                   "is_root_device": False, "is_read_only": False,
                   "exclusive": True})
        w.request("PUT", "/cpu-config", {"kvm_capabilities": []})
        w.request("PUT", "/drives/x",
                  {"drive_id": "x", "path_on_host": "missing",
                   "is_root_device": False, "is_read_only": False}, 400)
        connected(w)
        w.request("GET", "/vm/config", status=200)
        w.request("PUT", "/actions", {"action_type": "InstanceStart"})
        said = w.file("serial")
        w.wait(lambda: "tick" in open(said, encoding="latin-1").read(),
               "tick")
        w.request("PATCH", "/drives/d",
                  {"drive_id": "d", "path_on_host": "disk2"})
        w.request("PATCH", "/drives/d",
                  {"drive_id": "d", "path_on_host": "missing"}, 400)
        w.request("PATCH", "/drives/d", {"drive_id": "d", "rate_limiter": {}})
        if not NO_TAPS:
            w.request("PATCH", "/network-interfaces/n",
                      {"iface_id": "n", "rx_rate_limiter": {
                          "ops": {"size": 1, "refill_time": 1}}})
            w.request("PATCH", "/mmds", {"a": 2})
        w.request("PATCH", "/vm", {"state": "Paused"})
        w.request("GET", "/", status=200)
        w.request("PATCH", "/vm", {"state": "Resumed"})
        w.request("PUT", "/actions", {"action_type": "FlushMetrics"})
        w.request("PUT", "/actions", {"action_type": "SendCtrlAltDel"})
        w.request("GET", "/machine-config", status=200)
    return w, run


def ends_badly(options=()):
    """A triple fault."""
    w = Watched(["--no-api", "--config-file", "c.json"], options)
    w.write("c.json", config("hello nano.end=triple"))
    return w, w.start


def never_started(options=()):
    """A configuration that is refused."""
    w = Watched(["--no-api", "--config-file", "c.json"], options)
    w.write("c.json", config("hello", ["missing"]))
    return w, w.start


def watcher_sees():
    """What is missing in a table is reported: the others can fail."""
    with tempfile.TemporaryDirectory(prefix="tables-") as tables:
        for name in os.listdir(TABLES):
            with open(os.path.join(TABLES, name), encoding="ascii") as f:
                rows = [r for r in f
                        if not (name == "vcpu.tbl" and "KVM_RUN" in r)]
            with open(os.path.join(tables, name), "w",
                      encoding="ascii") as f:
                f.writelines(rows)
        w = Watched(["--no-api", "--config-file", "c.json"], tables=tables)
        w.write("c.json", config("hello"))
        try:
            w.start()
            report = w.finish()
        finally:
            w.close()
    if "outside: vcpu ioctl 1=KVM_RUN x" not in report[0]:
        return ["KVM_RUN is not reported"]
    return [] if w.process.returncode == 1 else ["the exit code is not 1"]


def limits():
    """The tables keep the limits of the design."""
    done = subprocess.run([CALLWATCH, "-t", TABLES, "-l"], check=False,
                          capture_output=True, text=True)
    return [] if done.returncode == 0 else [done.stdout + done.stderr]


SCENARIOS = {
    "config_file": config_file,
    "api": api,
    "ends_badly": ends_badly,
    "never_started": never_started,
    "config_file_on_epoll": lambda: config_file(["-e"]),
    "api_on_epoll": lambda: api(["-e"]),
}


CHECKS = {"limits": limits, "watcher_sees": watcher_sees}


def run(name):
    """Lines on what is wrong with a scenario, and on what was reported."""
    if name in CHECKS:
        return CHECKS[name](), []
    w, scenario = SCENARIOS[name]()
    try:
        scenario()
        report = w.finish()
        said = w.output()
    except (Failed, OSError, http.client.HTTPException) as e:
        return [f"{type(e).__name__}: {e}"], []
    finally:
        w.close()
    wrong = [line for line in report if ": outside: " in line]
    if "nano: FAIL" in said:
        wrong.append(said[said.index("nano: FAIL"):].split("\n", 1)[0])
    if not report:
        wrong.append("callwatch said nothing")
    return wrong, [line for line in report if line not in wrong]


def main():
    """Run what was asked for."""
    for path in (MAYFLY, CALLWATCH, NANO):
        if not os.path.exists(path):
            print(f"build: {path} is missing")
            return 77
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        print("kvm: /dev/kvm cannot be opened")
        return 77
    names = sys.argv[1:] or [*CHECKS, *SCENARIOS]
    print(f"1..{len(names)}")
    failed = 0
    for i, name in enumerate(names):
        wrong, notes = run(name)
        for line in wrong + notes:
            print(f"# {line}")
        print(f"{'not ok' if wrong else 'ok'} {i + 1} - {name}", flush=True)
        failed += bool(wrong)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
