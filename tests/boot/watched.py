# SPDX-License-Identifier: Apache-2.0
"""Monitors under callwatch, which tells what of their system calls is outside
the tables. For syscalls.py; see there for the environment."""
import ctypes
import http.client
import json
import os
import socket
import subprocess
import sys
import tempfile
import time

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
LIBC = ctypes.CDLL(None)
SYS_TGKILL = 234


class Failed(Exception):
    """What is wrong."""


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
        self.args = [CALLWATCH, "-t", tables, "-o", self.file("report"), "-u",
                     *options, MAYFLY, "--no-seccomp", *args]
        self.process = None

    def file(self, name):
        """Path of a file of this monitor."""
        return os.path.join(self.cwd, name)

    def write(self, name, value):
        """A JSON file for it."""
        with open(self.file(name), "w", encoding="ascii") as f:
            json.dump(value, f)

    def start(self, stdin=subprocess.DEVNULL, before=None):
        """Start it; with an API, wait for its socket."""
        with open(self.file("out"), "wb") as out:
            self.process = subprocess.Popen(
                self.args, cwd=self.cwd, stdin=stdin, preexec_fn=before,
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

    def pid(self):
        """Of the monitor: callwatch's only child."""
        path = "/proc/%d/task/%d/children" % ((self.process.pid,) * 2)
        with open(path, encoding="ascii") as f:
            return int(f.read())

    def thread(self, name):
        """The number of a thread."""
        folder = f"/proc/{self.pid()}/task"
        for tid in os.listdir(folder):
            with open(f"{folder}/{tid}/comm", encoding="ascii") as f:
                if f.read().strip() == name:
                    return int(tid)
        raise Failed(f"no thread {name}")

    def signal(self, name, sig):
        """A signal for a thread."""
        tid = self.pid() if name == "main" else self.thread(name)
        if LIBC.syscall(SYS_TGKILL, self.pid(), tid, sig) != 0:
            raise Failed(f"tgkill of {name}")

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


class Borrowed:
    """Tests of another file, their monitors watched."""

    def __init__(self, module, names, options=(), before=None):
        self.before = before
        self.folder = tempfile.TemporaryDirectory(prefix="syscalls-")
        self.path = os.path.join(self.folder.name, "report")
        self.args = [sys.executable, "-c",
                     f"import sys, monitor, {module}\n"
                     f"sys.exit(monitor.main({module}.TESTS))", *names]
        self.said = ""
        self.options = " ".join(["", *options])

    def run(self):
        """Run them."""
        env = {**os.environ, "PYTHONPATH": os.path.join(TOP, "tests/boot"),
               "MAYFLY_JAIL": "0",
               "MAYFLY": f"{CALLWATCH} -t {TABLES} -o {self.path} -u"
                         f"{self.options} {MAYFLY} --no-seccomp"}
        done = subprocess.run(self.args, env=env, check=False, text=True,
                              capture_output=True, preexec_fn=self.before)
        self.said = done.stdout + done.stderr
        if done.returncode not in (0, 77):
            raise Failed(self.said[-2000:])

    def finish(self):
        """What callwatch reported."""
        if not os.path.exists(self.path):
            return ["callwatch: nothing was run"]
        with open(self.path, encoding="ascii") as f:
            return f.read().splitlines()

    def output(self):
        """What they said."""
        return self.said

    def close(self):
        """Nothing runs any more."""
        self.folder.cleanup()


def borrowed(module, *names, **how):
    """Tests of another file."""
    b = Borrowed(module, names, **how)
    return b, b.run
