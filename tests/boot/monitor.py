# SPDX-License-Identifier: Apache-2.0
"""Start monitors, talk to them, watch consoles; TAP. For the boot tests.

Monitors run in jails, under their filters: see jailed.py.

Environment:
  MAYFLY       the monitor (build/bin/mayfly), split at spaces: a launcher may
               stand before it, as in "build/tests/no_uring build/bin/mayfly"
  NANO         the folder of the nano guests (build/guest)
  MAYFLY_SOAK  1: the long forms
"""
import fcntl
import http.client
import json
import os
import re
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
NANO = os.path.abspath(os.environ.get("NANO",
                                      os.path.join(TOP, "build/guest")))
SOAK = os.environ.get("MAYFLY_SOAK") == "1"
# Machines that run tests are slow and shared; a right monitor needs none of it.
DEADLINE_S = 600 if SOAK else 60


class Failed(Exception):
    """What is wrong, in one line."""


class Skip(Exception):
    """What is missing, and why: "hugepages: none can be reserved"."""


def check(condition, text):
    """One line of the verdict."""
    if not condition:
        raise Failed(text)


def check_equal(is_now, should_be, what):
    """The same, for values."""
    check(is_now == should_be, "%s: %r, not %r" % (what, is_now, should_be))


def wait_for(condition, what, deadline_s=DEADLINE_S):
    """Until condition() is true; returns what it returned."""
    end = time.monotonic() + deadline_s
    while True:
        value = condition()
        if value:
            return value
        check(time.monotonic() < end, "no %s in %d s" % (what, deadline_s))
        time.sleep(0.005)


class Api(http.client.HTTPConnection):
    """HTTP on a Unix socket."""

    def __init__(self, path):
        super().__init__("localhost", timeout=DEADLINE_S)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)

    def call(self, method, path, body=None):
        """(status, body) of the reply; the body as JSON allows."""
        text = None if body is None else json.dumps(body)
        self.request(method, path, text)
        reply = self.getresponse()
        answer = reply.read()
        return reply.status, json.loads(answer) if answer else None

    def get(self, path):
        """The body, which must come."""
        status, answer = self.call("GET", path)
        check(status == 200, "GET %s: %d %s" % (path, status, answer))
        return answer

    def put(self, path, body):
        """PUT that must succeed."""
        status, answer = self.call("PUT", path, body)
        check(status == 204, "PUT %s: %d %s" % (path, status, answer))

    def patch(self, path, body):
        """PATCH that must succeed."""
        status, answer = self.call("PATCH", path, body)
        check(status == 204, "PATCH %s: %d %s" % (path, status, answer))

    def refused(self, method, path, body):
        """The message of what must be refused."""
        status, answer = self.call(method, path, body)
        check(status == 400, "%s %s: %d" % (method, path, status))
        return answer["fault_message"]


def temporary(folder):
    """The folder among the temporary ones that it is in, or it itself."""
    top = tempfile.gettempdir()
    name = os.path.relpath(folder, top).split(os.sep, maxsplit=1)[0]
    return folder if name == os.pardir else os.path.join(top, name)


class Monitor:
    """One run of the monitor. Its console is a file, unless stdout is given.
    bare: why it is in no jail, of jailed.BARE."""

    def __init__(self, folder, *args, stdin=subprocess.DEVNULL, stdout=None,
                 bare=None):
        self.console_path = os.path.join(folder, "console")
        self.log_path = os.path.join(folder, "log")
        self.sock_path = os.path.join(folder, "api.sock")
        self.api_calls = None
        self.may_violate = False
        self.jail = jailed.place(MAYFLY, bare, [temporary(folder)], [NANO])
        with open(self.console_path, "wb") as console:
            # pylint: disable=subprocess-popen-preexec-fn
            self.process = subprocess.Popen(
                self.jail.words("test", [
                    "--log-path", self.log_path, *(
                        ["--api-sock", self.sock_path]
                        if "--no-api" not in args else []), *args]),
                stdin=stdin, stdout=console if stdout is None else stdout,
                stderr=console, preexec_fn=self.jail.enter)

    @property
    def api(self):
        """A connection to its API."""
        if self.api_calls is None:
            self.api_calls = self.connect()
        return self.api_calls

    def connect(self):
        """Another one."""
        def try_connect():
            check(self.process.poll() is None,
                  "ended without an API: %s" % self.ending())
            api = Api(self.sock_path)
            try:
                api.connect()
            except (FileNotFoundError, ConnectionRefusedError):
                return None
            return api
        return wait_for(try_connect, "API socket")

    def console(self):
        """What the guest has said so far."""
        with open(self.console_path, "rb") as f:
            return f.read().decode("utf-8", "replace")

    def log(self):
        """What the monitor has said so far."""
        if not os.path.exists(self.log_path):
            return ""
        with open(self.log_path, encoding="utf-8", errors="replace") as f:
            return f.read()

    def wait_text(self, pattern, deadline_s=DEADLINE_S):
        """Until the console matches; returns the match."""
        def found():
            match = re.search(pattern, self.console(), re.MULTILINE)
            check(match or self.process.poll() is None,
                  "%s before '%s'" % (self.ending(), pattern))
            return match
        return wait_for(found, "'%s' on the console" % pattern, deadline_s)

    def wait_exit(self, deadline_s=DEADLINE_S):
        """Its exit code."""
        try:
            self.process.wait(deadline_s)
        except subprocess.TimeoutExpired:
            raise Failed("still running after %d s" % deadline_s) from None
        check(self.may_violate or not self.violated(), self.ending())
        return self.process.returncode

    def violated(self):
        """Whether it made a system call that a filter forbids."""
        return self.process.returncode == -signal.SIGSYS

    def ending(self):
        """How it ended, for people."""
        return jailed.violation(self.process.pid) if self.violated() else \
            "ended with %s" % self.process.returncode

    def check_end(self, code=0):
        """The guest carried out every order, and the monitor ended."""
        check_equal(self.wait_exit(), code, "exit code")
        wrong = re.search("^nano: FAIL.*$", self.console(), re.MULTILINE)
        check(not wrong, wrong and wrong.group(0))
        check("nano: done" in self.console(), "the guest was not done")
        return self

    def said(self, pattern):
        """The groups of the console's line that matches."""
        match = re.search("^%s$" % pattern, self.console(), re.MULTILINE)
        check(match, "the guest did not say '%s'" % pattern)
        return match.groups()

    def alive(self):
        """It runs, and its API answers."""
        check(self.process.poll() is None, self.ending())
        self.api.get("/")

    def kill(self):
        """End it, if it has not ended."""
        if self.api_calls:
            self.api_calls.close()
        if self.process.poll() is None:
            # A launcher that watches it has to tell what it saw.
            self.process.terminate()
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.jail.close()

    def show(self):
        """What helps to see what went wrong, as TAP comments."""
        text = "console:\n%s\nlog:\n%s" % (self.console()[-4000:],
                                           self.log()[-4000:])
        for line in text.splitlines():
            print("# " + line)


def drive(path, read_only=False, root=False, **more):
    """A drive as the API takes it, called like its file."""
    return {"drive_id": os.path.basename(path), "path_on_host": path,
            "is_root_device": root, "is_read_only": read_only, **more}


def cpu_s(pid):
    """Processor time of a process."""
    with open("/proc/%d/stat" % pid, encoding="ascii") as f:
        words = f.read().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def check_quiet(monitor):
    """It has nothing to do, and does not do that busily."""
    before = cpu_s(monitor.process.pid)
    time.sleep(1)
    busy = cpu_s(monitor.process.pid) - before
    check(busy < 0.2, "%.2f s of processor time in one second" % busy)


class Case:
    """A folder and the monitors of one test."""

    def __init__(self, folder):
        self.folder = folder
        self.monitors = []

    def path(self, name):
        """In the folder."""
        return os.path.join(self.folder, name)

    def file(self, name, size):
        """An image without data."""
        with open(self.path(name), "wb") as f:
            f.truncate(size)
        return self.path(name)

    def monitor(self, *args, **streams):
        """One in a folder of its own, killed when the test ends."""
        folder = self.path("monitor%d" % len(self.monitors))
        os.mkdir(folder)
        self.monitors.append(Monitor(folder, *args, **streams))
        return self.monitors[-1]

    def config(self, orders, drives=(), *, words="", kernel="nano.elf",
               vcpus=1, mem=128, machine=None, **more):
        """What boots nano with orders."""
        return {
            "boot-source": {
                "kernel_image_path": os.path.join(NANO, kernel),
                "boot_args": " ".join(["nano.run=" + orders, words]).strip()},
            "drives": list(drives),
            "machine-config": {"vcpu_count": vcpus, "mem_size_mib": mem,
                               **(machine or {})}, **more}

    def boot(self, orders, drives=(), *, args=("--no-api",), stdin=None,
             stdout=None, **more):
        """A monitor that boots nano from a file."""
        path = self.path("config%d.json" % len(self.monitors))
        with open(path, "w", encoding="utf-8") as f:
            json.dump(self.config(orders, drives, **more), f)
        return self.monitor(
            "--config-file", path, *args, stdout=stdout,
            stdin=subprocess.DEVNULL if stdin is None else stdin)

    def boot_api(self, orders, drives=(), **more):
        """The same, with an API."""
        return self.boot(orders, drives, args=(), **more)


def read_metrics(monitor, path):
    """Flush, and add up what is in the file."""
    monitor.api.put("/actions", {"action_type": "FlushMetrics"})
    total = {}
    with open(path, encoding="utf-8") as f:
        for line in f:
            for group, fields in json.loads(line).items():
                if not isinstance(fields, dict):
                    continue
                for name, value in fields.items():
                    if isinstance(value, int):
                        key = group + "." + name
                        total[key] = total.get(key, 0) + value
    return total


def small_pipe():
    """A pipe of one page, that a slow reader soon fills."""
    reader, writer = os.pipe()
    fcntl.fcntl(reader, fcntl.F_SETPIPE_SZ, 4096)
    return reader, writer


def is_violation(monitor):
    """Of a monitor, not of what else a test has put among them, that no test
    expects to end so."""
    return isinstance(monitor, Monitor) and not monitor.may_violate and \
        monitor.violated()


def run(number, test):
    """One test, one line of TAP; true if it passed."""
    begin = time.monotonic()
    verdict, skip = None, ""
    with tempfile.TemporaryDirectory(prefix="mayfly-") as folder:
        case = Case(folder)
        try:
            test(case)
        except Skip as e:
            skip = " # SKIP %s" % e
        except (Failed, OSError, ValueError, http.client.HTTPException) as e:
            verdict = str(e) or repr(e)
        for monitor in case.monitors:
            monitor.kill()
            if not verdict and is_violation(monitor):
                verdict = monitor.ending()
            if verdict:
                monitor.show()
    print("%s %d - %s (%d ms)%s"
          % ("not ok" if verdict else "ok", number, test.__doc__,
             (time.monotonic() - begin) * 1000, skip))
    if verdict:
        print("# " + verdict)
    sys.stdout.flush()
    return not verdict


def main(tests, jails=True):
    """All tests, or those whose name holds one of the arguments. Without jails
    are tests that make their own."""
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        print("1..0 # SKIP kvm: no access to /dev/kvm")
        print("kvm: no access to /dev/kvm")
        return 77
    chosen = [t for t in tests if not sys.argv[1:] or
              any(a in t.__name__ for a in sys.argv[1:])]
    if jails:
        jailed.possible(MAYFLY)
    good = [run(i, t) for i, t in enumerate(chosen, 1)]
    print("1..%d" % jailed.add_point(len(chosen)))
    return 0 if all(good) else 1
