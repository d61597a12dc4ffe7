# SPDX-License-Identifier: Apache-2.0
"""What the contract tests share: the monitor, its socket as bytes, TAP.

$MAYFLY (build/bin/mayfly) is split at spaces: a launcher may stand before it.
Monitors run in jails (see jailed.py); the root is their working folder.
"""
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import time

import jailed

TOP = os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))))
MAYFLY = [os.path.abspath(word) for word in os.environ.get(
    "MAYFLY", os.path.join(TOP, "build/bin/mayfly")).split()]
PATIENCE_S = 10
QUIET_S = 0.1
READY = b"\x16"                 # what guests of images.py say first
HAVE_KVM = os.access("/dev/kvm", os.R_OK | os.W_OK)


class Failed(Exception):
    """What is wrong."""


def same(got, want, about=""):
    """Fails unless both are equal."""
    if got != want:
        raise Failed(f"{about}\n  wanted {want!r}\n  got    {got!r}")


def contains(text, part):
    """Fails unless part is in text."""
    if part not in text:
        raise Failed(f"wanted  {part!r}\n  in {text!r}")


def wait_for(condition, about):
    """Until it holds."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > deadline:
            raise Failed(f"in vain: {about}")
        time.sleep(0.002)


class Reply:
    """One HTTP reply."""

    def __init__(self, head, body):
        lines = head.decode("latin-1").split("\r\n")
        self.code = int(lines[0].split()[1])
        self.headers = lines[1:]
        self.body = body

    def text(self):
        """Body as it came."""
        return self.body.decode("utf-8")

    def fault(self):
        """What an error says."""
        return json.loads(self.body)["fault_message"]


class Client:
    """A connection to the API."""

    def __init__(self, path):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(PATIENCE_S)
        self.sock.connect(path)
        self.data = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.sock.close()

    def send(self, data):
        """Bytes as they are."""
        self.sock.sendall(data)

    def _more(self):
        more = self.sock.recv(1 << 16)
        self.data += more
        return bool(more)

    def reply(self):
        """The next reply."""
        while b"\r\n\r\n" not in self.data:
            if not self._more():
                raise Failed(f"closed after {self.data!r}")
        head, self.data = self.data.split(b"\r\n\r\n", 1)
        size = 0
        for line in head.split(b"\r\n"):
            if line.lower().startswith(b"content-length:"):
                size = int(line[15:])
        while len(self.data) < size:
            if not self._more():
                raise Failed("closed in a body")
        body, self.data = self.data[:size], self.data[size:]
        return Reply(head, body)

    def rest(self, size):
        """What comes, and whether it is closed then: this many bytes at
        least if it stays open, then all until it is silent."""
        closed = False
        try:
            while not closed and len(self.data) < size:
                closed = not self._more()
            self.sock.settimeout(QUIET_S)
            while not closed:
                closed = not self._more()
        except TimeoutError:
            pass
        self.sock.settimeout(PATIENCE_S)
        data, self.data = self.data, b""
        return data, closed

    def request(self, method, path, body=None):
        """One exchange; a body that is no bytes or string becomes JSON."""
        self.send(request_bytes(method, path, body))
        return self.reply()


def request_bytes(method, path, body=None, *headers):
    """A request as a client sends it."""
    head = [f"{method} {path} HTTP/1.1", "Host: localhost", *headers]
    data = b""
    if body is not None:
        if not isinstance(body, (bytes, str)):
            body = json.dumps(body, separators=(",", ":"))
        data = body if isinstance(body, bytes) else body.encode()
        head += ["Content-Type: application/json",
                 f"Content-Length: {len(data)}"]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + data


def as_from_a_terminal():
    """Background jobs of shells ignore these; and aborts leave no files."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGQUIT, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


class Monitor:
    """A monitor in a folder of its own. bare: why it is in no jail, of
    jailed.BARE; sees: another one, whose folder this one sees, too."""

    def __init__(self, *args, api=True, files=None, started=True,
                 stdout=None, bare=None, sees=None):
        self.folder = tempfile.TemporaryDirectory(prefix="m", dir="/tmp")
        self.bare = bool(bare) or not jailed.possible(MAYFLY)
        assert bare is None or bare in jailed.BARE
        args = list(args)
        self.id = "anonymous-instance"
        if "--id" in args and not self.bare:
            at = args.index("--id")
            self.id = args[at + 1]
            del args[at:at + 2]
        self.place(sees)
        self.args = [*(["--api-sock", "api.sock"] if api else []), *args]
        self.api = api
        self.before_exec = as_from_a_terminal
        self.stdout = stdout
        self.process = None
        self.violates = False
        self.client = None
        for name, data in (files or {}).items():
            self.write(name, data)
        if started:
            self.start()

    def place(self, sees):
        """Where it runs."""
        if self.bare:
            self.jail = jailed.Bare(MAYFLY)
            self.cwd = self.folder.name
            return
        self.jail = jailed.Jail(MAYFLY, self.folder.name, self.id)
        self.cwd = self.jail.root
        for monitor in (self, sees):
            if monitor:
                self.jail.show(monitor.cwd)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.client:
            self.client.sock.close()
        if self.process and self.process.poll() is None:
            self.process.kill()
        if self.process:
            self.process.wait()
        self.folder.cleanup()
        self.check_filters()

    def check_filters(self):
        """It was not ended by them, unless that was asked for."""
        if self.process and not self.violates and \
                self.process.returncode == -signal.SIGSYS:
            raise Failed(jailed.violation(self.process.pid))

    def file(self, name):
        """Path of a file of this monitor."""
        return os.path.join(self.cwd, name)

    def write(self, name, data):
        """A file: bytes, or a value as JSON."""
        with open(self.file(name), "wb") as f:
            f.write(data if isinstance(data, bytes)
                    else json.dumps(data).encode())

    def read(self, name):
        """A file's text."""
        with open(self.file(name), "rb") as f:
            return f.read().decode("latin-1")

    def start(self):
        """Start it, and wait for its socket."""
        # pylint: disable=consider-using-with
        with open(self.file("out"), "wb") as out, \
                open(self.file("err"), "wb") as err:
            self.process = subprocess.Popen(
                self.jail.words(None, self.args), cwd=self.cwd,
                stdout=self.stdout or out, stderr=err,
                stdin=subprocess.DEVNULL, preexec_fn=self.enter)
        if self.api:
            wait_for(self._listens, "the socket")

    def enter(self):
        """In the child, before it executes the command."""
        self.before_exec()
        self.jail.enter()

    def _listens(self):
        if self.process.poll() is not None:
            return True
        try:
            self.client = self.connect()
        except OSError:
            return False
        return True

    def connect(self):
        """One more connection."""
        return Client(self.file("api.sock"))

    def request(self, method, path, body=None):
        """On the first connection."""
        return self.client.request(method, path, body)

    def ok(self, method, path, body=None):
        """A request that succeeds; what it answers, if anything."""
        reply = self.request(method, path, body)
        if reply.code not in (200, 204):
            raise Failed(f"{method} {path} {body}: {reply.text()}")
        return json.loads(reply.body) if reply.body else None

    def refused(self, method, path, body, text):
        """A request that fails, and with what words."""
        reply = self.request(method, path, body)
        about = f"{method} {path} {str(body)[:200]}"
        same(reply.code, 400, about)
        same(reply.fault(), text, about)

    def output(self):
        """What it has said so far."""
        return self.read("out")

    def guest_ready(self):
        """Wait for the guest's byte."""
        wait_for(lambda: READY.decode() in self.output(), "the guest")

    def boot(self, kernel="kernel", mem=8):
        """Configure and start a guest."""
        self.ok("PUT", "/machine-config",
                {"vcpu_count": 1, "mem_size_mib": mem})
        self.ok("PUT", "/boot-source", {"kernel_image_path": kernel})
        self.ok("PUT", "/actions", {"action_type": "InstanceStart"})

    def alive(self):
        """Whether it still answers."""
        with self.connect() as c:
            same(c.request("GET", "/version").code, 200, "is it alive?")

    def ends(self, code, about=""):
        """Wait for its end, which is to have this code."""
        try:
            self.process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            raise Failed(f"{about}: does not end") from None
        self.violates = code == -signal.SIGSYS
        self.check_filters()
        same(self.process.returncode, code, f"{about} exit code")


def messages(text):
    """Log lines without time and thread."""
    return [line.split("] ", 1)[1] for line in text.splitlines()
            if "] " in line]


TESTS = []


def test(text, needs=None):
    """Decorator: a test, and the reason why it cannot run here, or None."""
    def add(function):
        TESTS.append((text, function, needs))
        return function
    return add


KVM = None if HAVE_KVM else "kvm: cannot open /dev/kvm"


def main():
    """Run them all."""
    failed = 0
    for n, (text, function, needs) in enumerate(TESTS, 1):
        verdict, why = "ok", ""
        if needs:
            text += f" # SKIP {needs}"
        else:
            try:
                function()
            except (Failed, OSError, ValueError, KeyError) as e:
                verdict, why = "not ok", f"{type(e).__name__}: {e}"
                failed += 1
        print(f"{verdict} {n} - {text}")
        for line in why.splitlines():
            print(f"# {line[:2000]}")
        sys.stdout.flush()
    print(f"1..{jailed.add_point(len(TESTS))}")
    return 1 if failed else 0
