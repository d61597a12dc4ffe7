# SPDX-License-Identifier: Apache-2.0
"""What monitors are made to do while their system calls are watched. Run by
syscalls.py."""
import contextlib
import fcntl
import http.client
import json
import os
import pty
import resource
import signal
import socket
import tempfile
import threading
import time

import jailed
from monitor import Skip
from netns import NetNs
from page_server import Server
from watched import (LIBC, MAYFLY, NANO, PATIENCE_S, Connection, Failed,
                     Watched, borrowed)


def no_taps():
    """Why there can be none here, or None."""
    try:
        with NetNs():
            return None
    except Skip as e:
        return str(e)


NO_TAPS = no_taps()


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
    w.write("c.json", config("hello,cpus,boottimer,flood=30000,"
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


@contextlib.contextmanager
def stop_and_go(pid):
    """A process that is stopped and continued all the time."""
    done = threading.Event()

    def run():
        while not done.wait(0.003):
            os.kill(pid, signal.SIGSTOP)
            os.kill(pid, signal.SIGCONT)
    thread = threading.Thread(target=run)
    thread.start()
    yield
    done.set()
    thread.join()


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
                   "is_root_device": False, "is_read_only": False})
        w.request("PUT", "/drives/r",
                  {"drive_id": "r", "path_on_host": NANO,
                   "is_root_device": False, "is_read_only": True})
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
        with open(w.file("disk2"), "r+b") as taken:
            fcntl.lockf(taken, fcntl.LOCK_EX)
            with stop_and_go(w.pid()):
                w.request("PATCH", "/drives/d",
                          {"drive_id": "d", "path_on_host": "disk2"})
        w.request("PATCH", "/drives/d",
                  {"drive_id": "d", "path_on_host": "missing"}, 400)
        w.request("PATCH", "/drives/d",
                  {"drive_id": "d", "path_on_host": "."}, 400)
        w.request("PATCH", "/drives/r",
                  {"drive_id": "r", "path_on_host": NANO})
        w.request("PATCH", "/drives/d", {"drive_id": "d", "rate_limiter": {}})
        idle = Connection(w.file("api.sock"))
        idle.connect()
        if not NO_TAPS:
            w.request("PATCH", "/network-interfaces/n",
                      {"iface_id": "n", "rx_rate_limiter": {
                          "ops": {"size": 1, "refill_time": 1}}})
            w.request("PATCH", "/mmds", {f"k{i}": i for i in range(200)})
            w.request("GET", "/mmds", status=200)
        w.request("PATCH", "/vm", {"state": "Paused"})
        w.request("GET", "/", status=200)
        w.request("PATCH", "/vm", {"state": "Resumed"})
        idle.request("GET", "/")
        idle.getresponse()
        idle.sock.sendall(b"GET / HTTP/1.1\r\nno header\r\n\r\n")
        idle.sock.recv(4096)
        idle.close()
        w.request("PUT", "/actions", {"action_type": "FlushMetrics"})
        w.request("PUT", "/actions", {"action_type": "SendCtrlAltDel"})
        w.request("GET", "/machine-config", status=200)
    return w, run


def save(w):
    """A snapshot that fails in three ways, then one that works."""
    files = {"snapshot_path": "state", "mem_file_path": "mem"}
    w.request("PATCH", "/vm", {"state": "Paused"})
    for name, path in (("snapshot_path", "/dev/null"), ("mem_file_path", "."),
                       ("mem_file_path", "missing/mem")):
        w.request("PUT", "/snapshot/create", {**files, name: path}, 400)
    w.request("PUT", "/snapshot/create", files)


def boot_with_devices(w, words=""):
    """A guest that has every device and runs for some seconds."""
    w.request("PUT", "/machine-config", {"vcpu_count": 2, "mem_size_mib": 64})
    w.request("PUT", "/boot-source",
              {"kernel_image_path": NANO,
               "boot_args": "nano.run=cpus,blk=0:write:1:4,tick=200 " + words})
    w.request("PUT", "/drives/d",
              {"drive_id": "d", "path_on_host": "disk",
               "is_root_device": False, "is_read_only": False})
    connected(w)
    w.request("PUT", "/actions", {"action_type": "InstanceStart"})
    w.wait_said("ok blk")


def with_taps():
    """Where there can be some."""
    return contextlib.nullcontext() if NO_TAPS else NetNs()


def create(options=()):
    """A snapshot twice, the second over the first; then the guest ends."""
    w = Watched(["--api-sock", "api.sock"], options)

    def run():
        with with_taps():
            w.start()
        boot_with_devices(w)
        save(w)
        save(w)
        w.request("PATCH", "/vm", {"state": "Resumed"})
    return w, run


def saved_by_another(w, words=""):
    """The files of a guest that another monitor has run, in the folder of w;
    then w is started by what follows."""
    first = Watched(["--api-sock", "api.sock"])
    first.args = first.args[first.args.index(MAYFLY):]
    first.cwd = w.cwd
    try:
        first.start()
        boot_with_devices(first, words)
        save(first)
    finally:
        first.close()
    for name in ("api.sock", "w.sock"):
        os.unlink(w.file(name))


def load(options=()):
    """A load that fails, one that works, a snapshot of that, which ends badly.
    """
    w = Watched(["--api-sock", "api.sock"], options)
    body = {"snapshot_path": "state", "resume_vm": True, "mem_backend": {
        "backend_type": "File", "backend_path": "mem"}}

    def run():
        with with_taps():
            saved_by_another(w, "nano.end=triple")
            w.start()
        w.request("PUT", "/snapshot/load", {**body, "mem_backend": {
            "backend_type": "File", "backend_path": "missing"}}, 400)
        w.request("PUT", "/snapshot/load", body)
        w.wait_said("tick")
        save(w)
        w.request("PATCH", "/vm", {"state": "Resumed"})
    return w, run


def page_server(options=()):
    """A page server that fails loads, then brings memory, then dies."""
    w = Watched(["--api-sock", "api.sock"], options)
    body = {"snapshot_path": "state", "resume_vm": True, "mem_backend": {
        "backend_type": "Uffd", "backend_path": "pages"}}

    def run():
        ours, theirs = pty.openpty()
        with with_taps():
            saved_by_another(w)
            w.start(stdin=theirs)
        os.close(theirs)
        def end(_):
            os._exit(0)
        for how, status in ({"before": end}, 400), ({"after": end}, 400), (
                {}, 204):
            server = Server(w.file("pages"), w.file("mem"), **how)
            try:
                w.request("PUT", "/snapshot/load", body, status)
                if status == 204:
                    w.wait_said("tick")
                    os.kill(w.pid(), signal.SIGSTOP)
                    time.sleep(0.1)
                    os.kill(w.pid(), signal.SIGCONT)
                    time.sleep(0.1)
            finally:
                server.kill()
            os.unlink(w.file("pages"))
        w.process.wait(PATIENCE_S)
        os.close(ours)
        if "page server has closed" not in w.output():
            raise Failed(w.output()[-300:])
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


def refused():
    """Starts that fail are undone, with threads and memory."""
    w = Watched(["--api-sock", "api.sock"])

    def run():
        w.start(stdin=None, before=lambda: os.close(0))
        w.request("PUT", "/mmds", {"a": "x" * 40000})
        for msr, kernel, status in (("0x174", "disk", 400),
                                    ("0xdead", NANO, 400),
                                    ("0x174", NANO, 204)):
            w.request("PUT", "/cpu-config", {"msr_modifiers": [
                {"addr": msr, "bitmap": "0b1"}]})
            w.request("PUT", "/boot-source",
                      {"kernel_image_path": kernel,
                       "boot_args": "nano.run=hello"})
            w.request("PUT", "/actions", {"action_type": "InstanceStart"},
                      status)
    return w, run


def no_text():
    """A configuration file that is no text: abort()."""
    w = Watched(["--no-api", "--config-file", "disk"])
    with open(w.file("disk"), "wb") as f:
        f.write(b"\xff")
    return w, w.start


def no_memory():
    """Allocations that the host refuses."""
    w = Watched(["--api-sock", "api.sock"])

    def run():
        w.start()
        w.request("PUT", "/boot-source", {"kernel_image_path": NANO,
                                          "boot_args": "nano.run=tick=0"})
        w.request("PUT", "/actions", {"action_type": "InstanceStart"})
        w.wait_said("tick")
        w.request("PATCH", "/vm", {"state": "Paused"})
        resource.prlimit(w.pid(), resource.RLIMIT_DATA, (0, 0))
        files = {"snapshot_path": "state", "mem_file_path": "mem"}
        w.request("PUT", "/snapshot/create", files, 400)
        c = Connection(w.file("api.sock"))
        with contextlib.suppress(OSError, http.client.HTTPException):
            c.request("PUT", "/mmds", json.dumps({"a": "x" * 51000}))
            c.getresponse()
        w.signal("main", signal.SIGHUP)
    return w, run


def fault_of(name):
    """A thread that ends by SIGSEGV reports it, on a terminal, too."""
    w = Watched(["--no-api", "--config-file", "c.json"])
    w.write("c.json", config("tick=0" if name != "main" else "tick=20"))

    def run():
        ours, theirs = pty.openpty()
        w.start(stdin=theirs)
        os.close(theirs)
        w.wait_said("tick")
        w.signal("main", signal.SIGPIPE)
        if name != "main":
            w.signal(name, signal.SIGSEGV)
            if w.process.wait(PATIENCE_S) != 150:
                raise Failed(f"exit code {w.process.returncode}")
        w.process.wait(PATIENCE_S)
        os.close(ours)
    return w, run


def without_userfaultfd():
    """For a process before its exec: /dev/userfaultfd cannot be opened."""
    if LIBC.unshare(jailed.CLONE_NEWNS):
        raise OSError("unshare")
    jailed.mount(None, "/", jailed.MS_REC | jailed.MS_PRIVATE)
    with tempfile.TemporaryDirectory() as folder, \
            socket.socket(socket.AF_UNIX) as s:
        path = os.path.join(folder, "socket")   # open() refuses these
        s.bind(path)
        if os.path.exists("/dev/userfaultfd"):
            jailed.mount(path, "/dev/userfaultfd", jailed.MS_BIND)


SCENARIOS = {
    "config_file": config_file,
    "api": api,
    "create": create,
    "load": load,
    "page_server": page_server,
    "ends_badly": ends_badly,
    "never_started": never_started,
    "config_file_on_epoll": lambda: config_file(["-e"]),
    "api_on_epoll": lambda: api(["-e"]),
    "config_file_without_vdso": lambda: config_file(["-v"]),
    "api_without_vdso": lambda: api(["-v"]),
    "page_server_without_vdso": lambda: page_server(["-v"]),
    "refused": refused,
    "no_text": no_text,
    "no_memory": no_memory,
    "fault_of_main": lambda: fault_of("main"),
    "fault_of_helper": lambda: fault_of("fc_api"),
    "fault_of_vcpu": lambda: fault_of("fc_vcpu 0"),
    "net": lambda: borrowed("nano_net", "echoes", "checksums"),
    "vsock": lambda: borrowed("nano_vsock", "echo", "half_closes",
                              "full_backlog", "missing_listeners"),
    "snapshot": lambda: borrowed("nano_snapshot", "waits", "moves", "failed",
                                 "full_disk", "killed"),
    "diff": lambda: borrowed("nano_diff", "diff_over", "alone"),
    "pager": lambda: borrowed("nano_pager", "goes_on_from"),
    "pager_without_userfaultfd": lambda: borrowed(
        "nano_pager", "goes_on_from", before=without_userfaultfd),
    "live": lambda: borrowed("nano_live", "is_of_one", "restored_by",
                             "full_disk"),
}
