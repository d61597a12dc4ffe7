#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Snapshots: create, load, clones; beside the floor and other monitors.

The floor starts a guest of 128 MiB (perf/floor), and writes 128 MiB and syncs
them. Prints a table of medians, quartiles and ratios to the floor. Targets
stand beside the figures; a missed one does not fail the run.

Further columns: FIRECRACKER=/path, qemu-system-x86_64 (where installed). With
--linux also clones of a Linux guest, whose boot takes as long as it takes.
"""
import argparse
import contextlib
import json
import os
import re
import select
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time

from bench_host import (PATIENCE_S, Failed, exit_code, output_until,
                        running)
from bench_net import unlink
from bench_table import cell, print_table, progress, verdict

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.append(f"{TOP}/tests/boot")
from monitor import Api, wait_for   # pylint: disable=wrong-import-position

SIZES_MIB = 128, 2048
TOUCHED_MIB = 8
CLONES = 100
IDLE_S = 5
PORT = "1024"
MIB = 1 << 20
# What the guest does for ever: each byte is one access to a port.
FLOOD = f"touch={TOUCHED_MIB},flood=1000000000000"
ECHO = f"vsock=listen:{PORT}:8:echo:0:t1000000"
CACHES = "warm", "cold"


def load_measures():
    """What is measured of loads: {measure: title}"""
    titles = {}
    for mib in SIZES_MIB:
        for cache in CACHES:
            where = f"{mib} MiB, {cache} page cache"
            for key, what in (("resumed", "load request to its answer"),
                              ("byte", "load request to first guest byte"),
                              ("exec", "exec to first byte of the restored"),
                              ("reply", "load request to reply over vsock"),
                              ("execreply", "exec to reply over vsock")):
                titles[f"{key} {mib} {cache}"] = f"{what}, {where}"
    return titles


# measure: (title, unit)
MEASURES = {m: (title, "ms") for m, title in load_measures().items()}
MEASURES["create"] = (f"full create, 128 MiB with {TOUCHED_MIB} touched", "ms")
MEASURES["pause"] = ("pause request to its answer", "ms")
MEASURES["create restored"] = ("full create of the restored guest", "ms")
MEASURES["nano clone"] = (f"private memory of each of {CLONES} clones: nano",
                          "KiB")
MEASURES["linux clone"] = (f"private memory of each of {CLONES} clones: Linux",
                           "KiB")


def targets(median):
    """{measure: what the figure of mayfly is to be}"""
    def of(measure, subject="mayfly"):
        return median.get(measure, {}).get(subject)

    start, ours = of("byte 128 warm", "floor"), {}
    for measure, bound in (("byte 128 warm", 1.5), ("exec 128 warm", 2)):
        if of(measure) and start:
            ours[measure] = verdict(
                f"<= {bound} x floor (is {of(measure) / start:.2f})",
                of(measure) <= bound * start)
    if of("create") and of("create", "floor"):
        share = of("create") / of("create", "floor")
        ours["create"] = verdict(f"<= 1/5 of floor (is {share:.2f})",
                                 share <= 0.2)
    for measure, bound in (("nano clone", 1024), ("linux clone", 2048)):
        if of(measure):
            ours[measure] = verdict(f"<= {bound} KiB", of(measure) <= bound)
    return ours


def private_kib(pid):
    """All private memory of a process: its own and the guest's."""
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as f:
        return sum(map(int, re.findall(r"^Private_\w+: +(\d+)", f.read(),
                                       re.MULTILINE)))


def forget_cache(*paths):
    """The page cache no longer holds these files, which are synced."""
    for path in paths:
        fd = os.open(path, os.O_RDONLY)
        os.fsync(fd)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(fd)


class Bench:
    """Programs and files that the subjects share."""

    def __init__(self, folder, build):
        self.folder, self.build = folder, build
        self.nano = f"{build}/guest/nano.elf"
        self.floor_program = f"{build}/bin/floor"

    def file(self, name):
        """Path of a file of this run."""
        return os.path.join(self.folder, name)

    def stopwatch(self, *args):
        """Milliseconds that one run of the stopwatch says."""
        done = subprocess.run([f"{self.build}/bin/stopwatch", *args],
                              check=False, capture_output=True, text=True)
        if done.returncode:
            raise Failed(f"{' '.join(args)}: {done.stderr}")
        return {k: int(v) / 1e6 for k, v in
                (pair.split("=") for pair in done.stdout.split())}


class Floor:
    """The smallest guest's start; a file's write."""

    name = "floor"

    def __init__(self, bench):
        self.bench = bench

    def load(self, mib, cache):
        """Exec to the guest's first byte, whichever guest it is."""
        t = self.bench.stopwatch("byte", self.bench.floor_program,
                                 self.bench.nano)
        return {f"byte {mib} {cache}": t["ns"], f"exec {mib} {cache}": t["ns"]}

    def create(self):
        """Write and sync 128 MiB of data to the same file system."""
        data = memoryview(os.urandom(MIB))
        path = self.bench.file("floor.mem")
        begin = time.monotonic()
        with open(path, "wb", buffering=0) as f:
            for _ in range(SIZES_MIB[0]):
                f.write(data)
            os.fsync(f.fileno())
        took_ms = (time.monotonic() - begin) * 1e3
        os.unlink(path)
        return {"create": took_ms}


class Monitor:
    """mayfly, or a Firecracker."""

    def __init__(self, bench, name, path):
        self.bench, self.name, self.path = bench, name, path
        self.socket, self.uds = bench.file(f"{name}.s"), bench.file(f"{name}.v")
        for mib in SIZES_MIB:
            for kind, order in (("flood", FLOOD), ("echo", ECHO)):
                self.prepare(kind, mib, order)

    def files(self, kind, mib):
        """State and memory."""
        stem = self.bench.file(f"{self.name}.{kind}.{mib}")
        return stem + ".state", stem + ".mem"

    @contextlib.contextmanager
    def api(self, name=None):
        """(process, API) of a new one."""
        path = self.bench.file(name or f"{self.name}.s")
        unlink(path)
        with running(self.path, "--api-sock", path, "--log-path",
                     "/dev/null") as p:
            api = Api(path)
            wait_for(lambda: os.path.exists(path), "API", PATIENCE_S)
            wait_for(lambda: not self.refused(api), "API", PATIENCE_S)
            yield p, api

    @staticmethod
    def refused(api):
        """The socket is there before its listener."""
        try:
            api.connect()
        except ConnectionRefusedError:
            return True
        return False

    def boot(self, api, mib, order, uds=None):
        """A nano."""
        api.put("/machine-config", {"vcpu_count": 1, "mem_size_mib": mib})
        api.put("/boot-source", {"kernel_image_path": self.bench.nano,
                                 "boot_args": "nano.run=" + order})
        if uds:
            unlink(uds)
            api.put("/vsock", {"guest_cid": 3, "uds_path": uds})
        api.put("/actions", {"action_type": "InstanceStart"})

    @staticmethod
    def create_body(files):
        """To both files."""
        return {"snapshot_path": files[0], "mem_file_path": files[1]}

    def prepare(self, kind, mib, order):
        """The files of a guest that is at work."""
        with self.api() as (p, api):
            self.boot(api, mib, order, self.uds if kind == "echo" else None)
            output_until(p, b"quick" if kind == "flood" else b"vsock cid=")
            time.sleep(0.2)
            api.patch("/vm", {"state": "Paused"})
            api.put("/snapshot/create",
                    self.create_body(self.files(kind, mib)))

    def command(self):
        """What is loaded into."""
        return [self.path, "--api-sock", self.socket, "--log-path", "/dev/null"]

    def load(self, mib, cache):
        """Into a new process."""
        result = {}
        for kind, mode, more, keys in (
                ("flood", "load", [], ("resumed", "byte", "exec")),
                ("echo", "reply", [self.uds, PORT],
                 ("", "reply", "execreply"))):
            files = self.files(kind, mib)
            unlink(self.socket, self.uds)
            if cache == "cold":
                forget_cache(*files)
            t = self.bench.stopwatch(mode, self.socket, *files, *more,
                                     *self.command())
            for key, value in zip(keys, (t["resumed_ns"], t["load_ns"],
                                         t["ns"])):
                if key:
                    result[f"{key} {mib} {cache}"] = value
        return result

    def timed(self, call, *args):
        """Milliseconds."""
        begin = time.monotonic()
        call(*args)
        return (time.monotonic() - begin) * 1e3

    def create(self):
        """Of a booted and of a restored guest."""
        files, mib = (self.bench.file("c.state"), self.bench.file("c.mem")), 128
        result = {}
        for measure in "create", "create restored":
            with self.api() as (p, api):
                if measure == "create":
                    self.boot(api, mib, FLOOD)
                else:
                    api.put("/snapshot/load", self.load_body("flood", mib))
                output_until(p, b"quick")
                result["pause"] = self.timed(api.patch, "/vm",
                                             {"state": "Paused"})
                result[measure] = self.timed(api.put, "/snapshot/create",
                                             self.create_body(files))
            unlink(*files)
        return result

    def load_body(self, kind, mib):
        """As the stopwatch sends it."""
        state, mem = self.files(kind, mib)
        return {"snapshot_path": state, "resume_vm": True, "mem_backend": {
            "backend_type": "File", "backend_path": mem}}

    def clones(self):
        """All of them run; nano halts between its ticks."""
        self.prepare_idle()
        with contextlib.ExitStack() as stack:
            return {"nano clone": self.clone_all(
                stack, lambda _: self.load_body("idle", 128))}

    def prepare_idle(self):
        """The files of a guest that has nothing to do."""
        with self.api() as (p, api):
            self.boot(api, 128, f"touch={TOUCHED_MIB},tick=0")
            output_until(p, b"tick 3")
            api.patch("/vm", {"state": "Paused"})
            api.put("/snapshot/create", self.create_body(
                self.files("idle", 128)))

    def clone_all(self, stack, body):
        """Median of what each has of its own, some time after its resume."""
        kib, waiting = [], []
        for i in range(CLONES):
            p, api = stack.enter_context(self.api(f"{self.name}.c{i}"))
            api.put("/snapshot/load", body(i))
            waiting.append((time.monotonic() + IDLE_S, p))
        for when, p in waiting:
            time.sleep(max(0, when - time.monotonic()))
            if p.poll() is not None:
                raise Failed(f"a clone ended with {p.returncode}")
            kib.append(private_kib(p.pid))
        return statistics.median(kib)

    def linux_clones(self, mib=128):
        """The same with Linux: a root drive, an agent behind vsock."""
        state, mem = self.files("linux", mib)
        guest = f"{self.bench.build}/guest"
        words = subprocess.run([f"{TOP}/tools/guest-args.sh"], check=True,
                               capture_output=True, text=True).stdout.strip()
        unlink(self.uds)
        with self.api() as (p, api):
            api.put("/machine-config", {"vcpu_count": 1, "mem_size_mib": mib})
            api.put("/boot-source", {
                "kernel_image_path": f"{guest}/vmlinux",
                "boot_args": "console=ttyS0 quiet reboot=k panic=1 " + words +
                             " mayfly.run=agent,poweroff"})
            api.put("/drives/root", {
                "drive_id": "root", "path_on_host": f"{guest}/root.ext4",
                "is_root_device": True, "is_read_only": True})
            api.put("/vsock", {"guest_cid": 3, "uds_path": self.uds})
            api.put("/actions", {"action_type": "InstanceStart"})
            self.wait_agent(p)
            time.sleep(IDLE_S)
            api.patch("/vm", {"state": "Paused"})
            api.put("/snapshot/create", self.create_body((state, mem)))
        body = self.load_body("linux", mib)
        with contextlib.ExitStack() as stack:
            return {"linux clone": self.clone_all(stack, lambda i: {
                **body, "vsock_override": {
                    "uds_path": self.bench.file(f"v{i}")}})}

    def wait_agent(self, p):
        """It accepts a connection."""
        end = time.monotonic() + 20 * PATIENCE_S
        while time.monotonic() < end and p.poll() is None:
            with socket.socket(socket.AF_UNIX) as s:
                s.settimeout(PATIENCE_S)
                with contextlib.suppress(OSError):
                    s.connect(self.uds)
                    s.sendall(b"CONNECT 1024\n")
                    if s.recv(64).startswith(b"OK"):
                        return
            time.sleep(0.5)
        raise Failed("no agent in the Linux guest")


class Qemu:
    """QEMU's microvm machine: a migration to a file, and from it."""

    name = "qemu"

    def __init__(self, bench, path):
        self.bench, self.path = bench, path
        self.file, self.qmp = bench.file("qemu.mig"), bench.file("qemu.qmp")
        with running(*self.command(), "-qmp",
                     f"unix:{self.qmp},server=on,wait=off") as p:
            output_until(p, b"quick")
            self.migrate()

    def command(self):
        """A nano that floods."""
        return [self.path, "-M", "microvm,acpi=off,pit=on,pic=on,rtc=off",
                "-accel", "kvm", "-cpu", "host", "-m", "128", "-nodefaults",
                "-no-user-config", "-display", "none", "-serial", "stdio",
                "-no-reboot", "-kernel",
                self.bench.nano.replace(".elf", "-pvh.elf"), "-append",
                "nano.run=" + FLOOD]

    def migrate(self):
        """Write all to the file, as of a guest that runs."""
        with socket.socket(socket.AF_UNIX) as s:
            s.connect(self.qmp)
            f = s.makefile("rw")
            f.readline()
            self.ask(f, "qmp_capabilities", {})
            self.ask(f, "migrate", {"uri": f"exec:cat >{self.file}"})
            wait_for(lambda: self.ask(f, "query-migrate", {}).get("status")
                     == "completed", "migration", PATIENCE_S)

    @staticmethod
    def ask(f, word, args):
        """What is returned; events are passed over."""
        f.write(json.dumps({"execute": word, "arguments": args}) + "\n")
        f.flush()
        for line in f:
            answer = json.loads(line)
            if "error" in answer:
                raise Failed(f"{word}: {answer['error']}")
            if "return" in answer:
                return answer["return"]
        raise Failed(f"{word}: no answer")

    def load(self, mib, cache):
        """Exec to a byte; it goes on by itself."""
        if mib != SIZES_MIB[0]:
            return {}
        if cache == "cold":
            forget_cache(self.file)
        begin = time.monotonic()
        with running(*self.command(), "-incoming",
                     f"exec:cat {self.file}") as p:
            ready, _, _ = select.select([p.stdout], [], [], PATIENCE_S)
            if not ready:
                raise Failed("qemu: no byte")
            return {f"exec {mib} {cache}": (time.monotonic() - begin) * 1e3}


def measure_all(subjects, rounds, methods):
    """{measure: {subject: [values]}}"""
    samples = {}
    for i in range(rounds):
        progress(i + 1, rounds)
        turn = i % len(subjects)
        for method, args, every in methods:
            if i % every:
                continue
            for s in subjects[turn:] + subjects[:turn]:
                if not hasattr(s, method):
                    continue
                for measure, value in getattr(s, method)(*args).items():
                    samples.setdefault(measure, {}).setdefault(
                        s.name, []).append(value)
    progress(rounds, f"{rounds}\n")
    return samples


def show(samples, names):
    """The table."""
    median = {m: {s: statistics.median(v) for s, v in by.items()}
              for m, by in samples.items()}
    wanted = targets(median)
    rows = []
    for measure, (title, unit) in MEASURES.items():
        if measure in samples:
            floor = median[measure].get("floor")
            rows.append([title, unit, *(
                cell(samples[measure].get(n), floor if n != "floor" else None)
                for n in names), wanted.get(measure, "")])
    print_table(["measure", "unit", *names, "target"], rows)


def run(args):
    """Measure, print."""
    build = os.path.abspath(args.build)
    # Not in /tmp, which may be memory.
    with tempfile.TemporaryDirectory(prefix="snap-", dir=build) as folder:
        bench = Bench(folder, build)
        subjects = [Floor(bench), Monitor(bench, "mayfly",
                                          f"{build}/bin/mayfly")]
        firecracker = os.environ.get("FIRECRACKER")
        if firecracker:
            subjects.append(Monitor(bench, "firecracker",
                                    os.path.abspath(firecracker)))
        qemu = shutil.which("qemu-system-x86_64")
        if qemu and not args.no_qemu:
            subjects.append(Qemu(bench, qemu))
        methods = [("load", (mib, cache), 1 if mib == SIZES_MIB[0] else 3)
                   for mib in SIZES_MIB for cache in CACHES]
        methods += [("create", (), 3), ("clones", (), args.rounds)]
        if args.linux:
            methods.append(("linux_clones", (), args.rounds))
        start = time.monotonic()
        samples = measure_all(subjects, args.rounds, methods)
    print(f"Snapshots: {args.rounds} alternating rounds in "
          f"{time.monotonic() - start:.0f} s, load {os.getloadavg()[0]:.1f}.")
    show(samples, [s.name for s in subjects])


def main():
    """Exit code 77 where there is no KVM, 1 if something did not run."""
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--rounds", type=int, default=15)
    p.add_argument("--build", default=f"{TOP}/build")
    p.add_argument("--linux", action="store_true")
    p.add_argument("--no-qemu", action="store_true")
    args = p.parse_args()
    return exit_code(run, args)


if __name__ == "__main__":
    sys.exit(main())
