#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What the monitor does as a process. TAP output; it is $MAYFLY.

Logs and metrics, the configuration file, command lines, exit codes.
"""
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

from contract import (KVM, MAYFLY, Monitor, contains, main, messages, same, test,
                      wait_for)
from images import HALT, RESET, UNDEFINED, kernel

CONFIG_FAILED = ("Failed to build MicroVM from Json: Configuration for VMM "
                 "from one single json failed: ")
FILES = {"kernel": kernel(HALT), "reset": kernel(RESET),
         "triple": kernel(UNDEFINED), "int3": kernel(b"\xcc"),
         "disk": bytes(4096)}


# ---- logs and metrics ----

KEYS = ["utc_timestamp_ms", "api_server", "balloon", "block", "deprecated_api",
        "get_api_requests", "i8042", "uart", "latencies_us", "logger", "mmds",
        "net", "patch_api_requests", "put_api_requests", "seccomp", "vcpu",
        "vmm", "signals", "vsock", "entropy", "pmem", "interrupts",
        "memory_hotplug"]


@test("log lines: prefix, levels, module, file; requests and replies")
def _():
    with Monitor("--id", "x", "--log-path", "log", "--level", "Warn",
                 "--show-level", "--show-log-origin") as m:
        same(m.read("log") + m.output(), "")
        m.refused("GET", "/foo", None,
                  "Invalid request method and/or path: GET foo.")
        line = m.read("log")
        same(line[10] + line[19] + line[29:31], "T. [", line)
        contains(line, " [x:fc_api:ERROR:")
        contains(line, "Received Error. Status code: 400 Bad Request. "
                 "Message: Invalid request method and/or path: GET foo.")
        m.ok("PUT", "/logger", {"log_path": "log2", "show_level": False,
                                "show_log_origin": False})
        m.ok("GET", "/version")
        m.ok("PUT", "/drives/d", {"drive_id": "d", "is_root_device": False,
                                  "path_on_host": "/dev/urandom"})
        m.request("PUT", "/mmds", {"secret": 1})
        m.ok("PUT", "/cpu-config", {})
        same(messages(m.read("log2"))[1:7], [
            'The API server received a Get request on "/version".',
            "The request was executed successfully. Status code: 200 OK.",
            'The API server received a Put request on "/drives/d" with body '
            '"{\\"drive_id\\":\\"d\\",\\"is_root_device\\":false,'
            '\\"path_on_host\\":\\"/dev/urandom\\"}".',
            "The request was executed successfully. Status code: 204 No "
            "Content.",
            'The API server received a Put request on "/mmds".',
            messages(m.read("log2"))[6]])
        same("secret" in m.read("log2"), False, "is the secret logged?")
        contains(m.read("log2"), 'Put request on "/cpu-config". To view the '
                 "CPU template received by the API, configure log-level to "
                 "DEBUG.")
        contains(m.read("log2"), " [x:fc_api] ")
        m.ok("PUT", "/logger", {"level": "Off"})
        size = len(m.read("log2"))
        m.request("GET", "/foo")
        same(len(m.read("log2")), size, "silent")


@test("FIFOs without a reader hold nothing up; lines that do not fit count",
      KVM)
def _():
    with Monitor(files=FILES) as m:
        for name in ("log", "metrics"):
            os.mkfifo(m.file(name))
        m.ok("PUT", "/logger", {"log_path": "log"})
        m.ok("PUT", "/metrics", {"metrics_path": "metrics"})
        for _ in range(800):
            m.ok("GET", "/version")
        m.boot()
        fd = os.open(m.file("metrics"), os.O_RDONLY | os.O_NONBLOCK)
        data = b""
        deadline = time.monotonic() + 5
        while not data.endswith(b"\n") and time.monotonic() < deadline:
            try:
                data += os.read(fd, 1 << 16)
            except BlockingIOError:
                time.sleep(0.01)
        os.close(fd)
        missed = json.loads(data)["logger"]["missed_log_count"]
        same(missed > 100, True, f"{missed} missed")


@test("metrics: a line at the start, one a flush, one at the end; its keys",
      KVM)
def _():
    with Monitor("--metrics-path", "m", files=FILES) as m:
        m.ok("PUT", "/drives/d", {"drive_id": "d", "is_root_device": False,
                                  "path_on_host": "disk"})
        m.request("PUT", "/drives/e", {"drive_id": "e", "path_on_host": "no",
                                       "is_root_device": False})
        m.request("PUT", "/drives/e", "{")
        m.ok("GET", "/version")
        same(m.read("m"), "", "nothing before the start")
        m.boot()
        m.guest_ready()

        def lines():
            return [json.loads(x) for x in m.read("m").splitlines()]
        wait_for(lambda: len(lines()) == 1, "the first line")
        keys = KEYS[:3] + ["block_d"] + KEYS[3:]
        first = lines()[0]
        same(list(first), keys)
        same(first["put_api_requests"]["drive_count"], 3)
        same(first["put_api_requests"]["drive_fails"], 1)
        same(first["put_api_requests"]["actions_count"], 1)
        same(first["get_api_requests"]["vmm_version_count"], 1)
        for n in (2, 3):
            m.ok("PUT", "/actions", {"action_type": "FlushMetrics"})
            same(len(lines()), n)
        # Counts are those since the line before.
        same(lines()[2]["put_api_requests"]["drive_count"], 0)
        same(lines()[2]["put_api_requests"]["actions_count"], 1)
        m.process.send_signal(signal.SIGHUP)
        m.ends(156)
        same(len(lines()), 4)
        same(lines()[3]["signals"]["sighup"], 1)
        same(list(lines()[3]), keys)
    with Monitor("--metrics-path", "m", "--no-api", "--config-file", "c",
                 api=False, started=False,
                 files=FILES | {"c": config("reset")}) as m:
        m.start()
        m.ends(0)
        same(len(m.read("m").splitlines()), 2, "start and end")


# ---- configuration file, exit codes ----

def config(name="kernel", **more):
    """A configuration file's value."""
    return {"boot-source": {"kernel_image_path": name}, "drives": [],
            "machine-config": {"vcpu_count": 1, "mem_size_mib": 8}} | more


@test("a configuration that is refused ends it with 1 and the line")
def _():
    def drive(path):
        return [{"drive_id": "a-b", "is_root_device": False,
                 "path_on_host": path}]
    cases = [
        ({}, "Invalid JSON: missing field `drives` at line 1 column 2"),
        (b"{", "Invalid JSON: EOF while parsing an object at line 1 column "
         "1"),
        (config("none"), "Boot source error: The kernel file cannot be "
         "opened: No such file or directory (os error 2)"),
        (config(drives=drive("none")), "Block device error: Unable to create "
         "the virtio block device: Virtio backend error: Error manipulating "
         "the backing file: No such file or directory (os error 2) none"),
        (config(drives=drive(".")), "Block device error: Unable to create "
         "the virtio block device: Virtio backend error: Error manipulating "
         "the backing file: Is a directory (os error 21) ."),
        (config(**{"machine-config": {"vcpu_count": 0, "mem_size_mib": 8}}),
         "VM config error: The number of vCPUs must be greater than 0, less "
         "than 32 and must be 1 or an even number if SMT is enabled."),
        (config(logger={"log_path": "none/log"}), "Logger error: Failed to "
         "open target file: No such file or directory (os error 2)"),
        (config(metrics={"metrics_path": "none/m"}), "Metrics error: Cannot "
         "initialize the metrics system due to bad user input: No such file "
         "or directory (os error 2)"),
        (config(**{"cpu-config": "none"}),
         "File operation error: No such file or directory (os error 2)"),
        (config(entropy={}),
         "The section `entropy` is not supported by this version."),
    ]
    for value, text in cases:
        with Monitor("--no-api", "--config-file", "c", api=False,
                     started=False, files=FILES | {"c": value}) as m:
            m.start()
            m.ends(1, text)
            same(messages(m.output())[1:], [
                "RunWithoutApiError error: " + CONFIG_FAILED + text,
                "Firecracker exiting with error. exit_code=1"])
    with Monitor("--config-file", "c", api=False, started=False,
                 files={"c": {}}) as m:
        m.args += ["--api-sock", "s"]
        m.start()
        m.ends(1)
        contains(m.output(), "RunWithApiError error: " + CONFIG_FAILED)
        same(os.path.exists(m.file("s")), True, "the socket stays")


@test("exit codes of the guest's ends: reset 0, triple fault 1, halt none",
      KVM)
def _():
    with Monitor(files=FILES) as m:
        m.boot("reset")
        m.ends(0)
        said = messages(m.output())
        contains(said, "Vmm is stopping.")
        same(said[-1], "Firecracker exiting successfully. exit_code=0")
        same(os.path.exists(m.file("api.sock")), True, "the socket stays")
    # An int3 without an IDT is a triple fault where KVM has hardware under it,
    # and an internal error where KVM interprets it.
    for name in ("triple", "int3"):
        with Monitor(files=FILES) as m:
            m.boot(name)
            m.ends(1, name)
            same(messages(m.output())[-2:], [
                "RunWithApiError error: MicroVM stopped with an error: "
                "GenericError", "Firecracker exiting with error. exit_code=1"])
    for name, code, line in (
            ("reset", 0, "Firecracker exiting successfully. exit_code=0"),
            ("triple", 1, "RunWithoutApiError error: MicroVMStopped without "
             "an error: GenericError")):
        with Monitor("--no-api", "--config-file", "c", api=False,
                     started=False,
                     files=FILES | {"c": config(name)}) as m:
            m.start()
            m.ends(code, name)
            contains(messages(m.output()), line)
    with Monitor("--config-file", "c",
                 files=FILES | {"c": config()}) as m:
        m.guest_ready()
        contains(m.output(), "Successfully started microvm that was "
                 "configured from one single json")
        time.sleep(0.1)
        m.alive()


@test("exit codes of signals, before the start and while a guest runs")
def _():
    ends = {"SIGBUS": 149, "SIGSEGV": 150, "SIGXFSZ": 151, "SIGXCPU": 154,
            "SIGHUP": 156, "SIGILL": 157, "SIGTERM": -15, "SIGINT": -2,
            "SIGQUIT": -3, "SIGSYS": -31}
    survived = ("SIGPIPE", "SIGCHLD", "SIGWINCH", "SIGURG")
    for running in (False, True) if not KVM else (False,):
        for name, code in ends.items():
            with Monitor(files=FILES) as m:
                if running:
                    m.boot()
                    m.guest_ready()
                m.process.send_signal(getattr(signal, name))
                m.ends(code, name)
                if code > 0:
                    contains(m.output(), "Shutting down VM after "
                             "intercepting signal "
                             f"{getattr(signal, name).value}, code 0.")
                same(os.path.exists(m.file("api.sock")), True, name)
        with Monitor(files=FILES) as m:
            if running:
                m.boot()
            for name in survived:
                m.process.send_signal(getattr(signal, name))
            m.alive()


@test("command lines: exit codes and lines")
def _():
    arguments = "Arguments parsing error: "
    help_line = "\\n\\nFor more information try --help."
    for args, code, line in (
            (["--version"], 0, "Firecracker exiting successfully. "
             "exit_code=0"),
            (["--help"], 0, None),
            (["--foo"], 153, arguments + "Found argument 'foo' which wasn't "
             "expected, or isn't valid in this context."),
            (["--id"], 153, arguments + "The argument 'id' requires a value, "
             "but none was supplied."),
            (["--no-api"], 153, arguments + "Argument 'config-file' "
             "required, but not found."),
            (["--id", "a", "--id", "b"], 153, arguments + "The argument "
             "'id' was provided more than once."),
            (["--no-seccomp", "--seccomp-filter", "f"], 153, arguments +
             "Argument 'seccomp-filter' cannot be used together with argument "
             "'no-seccomp'."),
            (["--id", "a_b"], -6, None), (["--id", ""], -6, None),
            (["--id", "\u00e9"], -6, None),
            (["--config-file", "none", "--no-api"], -6, None),
            (["--http-api-max-payload-size", "x"], -6, None),
            (["--level", "foo"], 152, None),
            (["--enable-pci"], 153, None),
            (["--api-sock", "none/s"], 1, "RunWithApiError error: Failed to "
             "bind and run the HTTP server: IO error: No such file or "
             "directory (os error 2)"),
            (["--api-sock", "a" * 108], 1, "RunWithApiError error: Failed to "
             "bind and run the HTTP server: IO error: path must be shorter "
             "than SUN_LEN"),
            (["--api-sock", "used"], 1, "RunWithApiError error: Failed to "
             "open the API socket at: used. Check that it is not already "
             "used."),
            (["--metadata", "none"], -6, None),
            (["--metadata", "bad", "--api-sock", "s"], -6, None),
            (["--seccomp-filter", "used"], 1, None)):
        with Monitor(*args, api=False, started=False, bare="command line",
                     files={"used": b"{}", "bad": b"{"}) as m:
            m.start()
            m.ends(code, args)
            if line:
                said = " ".join(messages(m.output())).replace(
                    " " + help_line, "").replace(help_line, "")
                contains(said, line)


@test("the program runs in a root folder that holds nothing else")
def _():
    with open(MAYFLY[-1], "rb") as f:
        if b"/ld-linux" in f.read(4096):
            return              # a sanitizer's build is dynamic
    with tempfile.TemporaryDirectory(dir="/tmp") as root:
        shutil.copy(MAYFLY[-1], os.path.join(root, "firecracker"))
        done = subprocess.run(["unshare", "-r", "chroot", root,
                               "/firecracker", "--version"], check=False,
                              capture_output=True, text=True)
        same(done.returncode, 0, done.stderr)
        same(done.stdout.splitlines()[0], "Firecracker v1.16.1")


@test("a standard output that nobody reads delays no request")
def _():
    reader, writer = os.pipe()
    try:
        with Monitor(stdout=writer) as m:
            for _ in range(1000):
                same(m.request("GET", "/version").code, 200)
    finally:
        os.close(reader)
        os.close(writer)


if __name__ == "__main__":
    sys.exit(main())
