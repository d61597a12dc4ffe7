# SPDX-License-Identifier: Apache-2.0
"""What is measured, and on whom: the floor, mayfly and other monitors.

A subject is one column of the table. Each of its methods makes one run and
returns {measure: value}; a subject lacks the methods that make no sense for it.
"""
import json
import os
import re
import subprocess
import time

from bench_host import Failed, figures, output_until, running
from bench_jail import GuestJail
from bench_net import GUEST_MAC, GuestNet, GuestVsock, HostNet

MEM_MIB = 128
DISK_MIB = 64
SETTLE_S = 0.05         # the kernel takes a VM down behind the run's end

# (operation, depth, segments, bytes a request): requests a run
DRIVE_JOBS = {
    (op, depth, segs, size): count
    for op in ("read", "write")
    for depth, segs, size, count in (
        (1, 1, 4096, 300), (32, 1, 4096, 2000),
        (1, 1, 131072, 200), (1, 16, 131072, 200),
        (32, 1, 131072, 500), (32, 16, 131072, 500))
}
# Touches the buffers once, so that no run pays for fresh pages.
WARM_UP = "blk=0:bench:read:32:1:131072:64"


# The same guest without interrupts: what the drive does, whatever an exit costs.
POLLED_JOB, POLLED_COUNT = ("read", 32, 1, 131072), 2000

# A guest that reads as much as it can for 10 s: (the bucket, its size, the
# job, what a request costs). N is a size every refill period.
LIMIT_S, LIMIT_REFILL_MS = 10, 100
LIMITS = {
    "limit bytes": ("bandwidth", 10 << 20, "32:1:131072", 131072),
    "limit ops": ("ops", 200, "32:1:4096", 1),
}


def limit_per_s(measure):
    """N: what the limiter of a measure lets pass."""
    return LIMITS[measure][1] * 1000 / LIMIT_REFILL_MS


def drive_measure(job, unit):
    """Name of a drive job's figure: unit is ops or bytes (a second)."""
    return f"{unit} {job[0]} {job[1]} {job[2]} {job[3]}"


def drive_result(job, count, took_ns):
    """Both figures of a drive job."""
    per_s = count * 1e9 / took_ns
    return {drive_measure(job, "ops"): per_s,
            drive_measure(job, "bytes"): per_s * job[3]}


def drive_orders():
    """The drive jobs in nano's words, a command line each."""
    for job, count in DRIVE_JOBS.items():
        op, depth, segs, size = job
        yield f"blk=0:bench:{op}:{depth}:{segs}:{size}:{count}"


def parse_drive(output):
    """nano's report."""
    result = {}
    for m in re.finditer(r"nano: bench op=(\w+) depth=(\d+) segs=(\d+) "
                         r"bytes=(\d+) n=(\d+) ns=(\d+)", output):
        job = (m[1], int(m[2]), int(m[3]), int(m[4]))
        if DRIVE_JOBS.get(job) == int(m[5]):
            result.update(drive_result(job, int(m[5]), int(m[6])))
    if len(result) != 2 * len(DRIVE_JOBS):
        raise Failed("nano did not finish its drive jobs:\n" + output)
    return result


def private_kib(pid):
    """Private memory of a process without the guest's RAM.

    Guest RAM is what is mapped in pieces of at least half its size: the
    monitors map nothing of their own that is nearly as large and touched.
    """
    total = size = 0
    with open(f"/proc/{pid}/smaps", encoding="ascii", errors="replace") as f:
        for line in f:
            word = line.split()
            if word[0] == "Size:":
                size = int(word[1])
            elif word[0].startswith("Private_") and size < MEM_MIB * 512:
                total += int(word[1])
    return total


class Bench:
    """Programs and files that the subjects share."""

    def __init__(self, folder, programs):
        self.folder = folder
        self.program = programs
        self.disk = self.file("disk")
        with open(self.disk, "wb") as f:
            for _ in range(DISK_MIB):
                f.write(os.urandom(1 << 20))

    def file(self, name):
        """Path of a file of this run."""
        return os.path.join(self.folder, name)

    def stopwatch(self, *args):
        """One run of the stopwatch."""
        done = subprocess.run([self.program["stopwatch"], *args], check=False,
                              capture_output=True, text=True)
        if done.returncode:
            raise Failed(f"{' '.join(args)}: exit code {done.returncode}: "
                         + done.stderr)
        return {k: int(v) for k, v in
                (pair.split("=") for pair in done.stdout.split())}


class Floor(HostNet):
    """The smallest program that starts a guest, and the host's file."""

    name = "floor"

    def __init__(self, bench):
        self.bench = bench

    def byte(self):
        """Exec to the guest's first byte."""
        t = self.bench.stopwatch("byte", self.bench.program["floor"],
                                 self.bench.program["nano"])
        return {"byte": t["ns"] / 1e6, "cpu": t["cpu_ns"] / 1e6,
                "faults": t["faults"]}

    def calls(self):
        """System calls until then."""
        t = self.bench.stopwatch("calls", self.bench.program["floor"],
                                 self.bench.program["nano"])
        return {"calls": t["calls"]}

    def drive(self):
        """The same requests on the file, without a guest."""
        result = {}
        for job, count in DRIVE_JOBS.items():
            result.update(drive_result(job, *figures(
                self.bench.program["diskfloor"], self.bench.disk,
                *map(str, job), str(count))))
        return result

    def polled(self):
        """The polled job on the file."""
        n, ns = figures(self.bench.program["diskfloor"], self.bench.disk,
                        *map(str, POLLED_JOB), str(POLLED_COUNT))
        return {"polled": n * POLLED_JOB[3] * 1e9 / ns}


class Guest(GuestNet):
    """What mayfly, Firecracker and QEMU have in common."""

    def __init__(self, bench, name):
        self.bench = bench
        self.name = name

    def command(self, boot_args, drive=None, tap=None, vsock=None):
        """The command line that starts a guest.

        drive: further fields of its drive, tap: the name of its interface's,
        vsock: the path of its socket; None: it has none.
        """
        raise NotImplementedError

    def byte(self):
        """Exec to the guest's first byte, from a configuration file."""
        t = self.bench.stopwatch("byte", *self.command("nano.run=hello"))
        return {"byte": t["ns"] / 1e6, "cpu": t["cpu_ns"] / 1e6,
                "faults": t["faults"]}

    def calls(self):
        """System calls until then."""
        t = self.bench.stopwatch("calls", *self.command("nano.run=hello"))
        return {"calls": t["calls"]}

    def run(self, boot_args, drive, look):
        """Start a guest that halts in the end; look(process, its output)."""
        with running(*self.command(boot_args + " nano.end=halt", drive)) as p:
            return look(p, output_until(p, b"nano: done"))

    def memory(self):
        """Private memory once the guest is up."""
        return self.run("nano.run=hello", None,
                        lambda p, _: {"memory": private_kib(p.pid)})

    def drive(self):
        """All drive jobs in one guest."""
        orders = " ".join("nano.run=" + o for o in
                          (WARM_UP, *drive_orders()))
        return self.run(orders, {}, lambda _, out: parse_drive(out))

    def polled(self):
        """Sequential reads by a guest that polls for completions."""
        op, depth, segs, size = POLLED_JOB
        orders = (f"nano.poll nano.run={WARM_UP} nano.run=blk=0:bench:{op}:"
                  f"{depth}:{segs}:{size}:{POLLED_COUNT}")
        out = self.run(orders, {}, lambda _, text: text)
        m = re.search(rf" n={POLLED_COUNT} ns=(\d+)", out)
        if not m:
            raise Failed("nano did not finish its polled job:\n" + out)
        return {"polled": POLLED_COUNT * size * 1e9 / int(m[1])}


class Monitor(Guest, GuestJail, GuestVsock):
    """mayfly, or a Firecracker."""

    def __init__(self, bench, name, path):
        super().__init__(bench, name)
        self.path = path
        self.socket = bench.file(f"{name}.sock")

    def command(self, boot_args, drive=None, tap=None, vsock=None):
        config = {
            "boot-source": {"kernel_image_path": self.bench.program["nano"],
                            "boot_args": boot_args},
            "machine-config": {"vcpu_count": 1, "mem_size_mib": MEM_MIB},
            "drives": [{"drive_id": "disk", "path_on_host": self.bench.disk,
                        "is_root_device": False, "is_read_only": False,
                        "io_engine": "Async", **drive}]
            if drive is not None else [],
        }
        if tap:
            config["network-interfaces"] = [
                {"iface_id": "net", "host_dev_name": tap,
                 "guest_mac": GUEST_MAC}]
        if vsock:
            config["vsock"] = {"guest_cid": 3, "uds_path": vsock}
        path = self.bench.file(f"{self.name}.json")
        with open(path, "w", encoding="ascii") as f:
            json.dump(config, f)
        return [self.path, "--no-api", "--config-file", path]

    def limited(self):
        """What limiters really let pass, when their buckets are spent."""
        result = {}
        for measure, (name, size, job, cost) in LIMITS.items():
            orders = " ".join(f"nano.run=blk=0:bench:read:{job}:{end}"
                              for end in (2 * size // cost, f"{LIMIT_S}s"))
            limiter = {name: {"size": size, "refill_time": LIMIT_REFILL_MS}}
            out = self.run(orders, {"rate_limiter": limiter},
                           lambda _, text: text)
            runs = re.findall(r"nano: bench .* n=(\d+) ns=(\d+)", out)
            if len(runs) != 2:
                raise Failed("nano did not finish its limited job:\n" + out)
            n, took_ns = map(int, runs[1])
            result[measure] = n * cost * 1e9 / took_ns
        return result

    def with_socket(self, mode, *args):
        """A stopwatch run that talks to the API."""
        if os.path.exists(self.socket):
            os.unlink(self.socket)
        return self.bench.stopwatch(mode, self.socket, *args, self.path,
                                    "--api-sock", self.socket)["ns"] / 1e6

    def api(self):
        """Exec to GET / answered."""
        return {"api": self.with_socket("api")}

    def start(self):
        """InstanceStart to the guest's first byte."""
        return {"start": self.with_socket(
            "start", self.bench.program["nano"], "nano.run=hello")}


class Qemu(Guest):
    """QEMU's microvm machine, by PVH."""

    def __init__(self, bench, path):
        super().__init__(bench, "qemu")
        self.path = path

    def command(self, boot_args, drive=None, tap=None, vsock=None):
        args = [self.path, "-M", "microvm,acpi=off,pit=on,pic=on,rtc=off",
                "-accel", "kvm", "-cpu", "host", "-m", str(MEM_MIB),
                "-nodefaults", "-no-user-config", "-display", "none",
                "-serial", "stdio", "-no-reboot",
                "-global", "virtio-mmio.force-legacy=false",
                "-kernel", self.bench.program["nano_pvh"],
                "-append", boot_args]
        if drive is not None:
            # The kernel closes the files of a ring some time after the end.
            args += ["-drive", f"id=disk,file={self.bench.disk},format=raw,"
                     "if=none,aio=io_uring,cache=writeback,file.locking=off",
                     "-device", "virtio-blk-device,drive=disk"]
        if tap:
            args += ["-netdev", f"tap,id=net,ifname={tap},script=no,"
                     "downscript=no,vhost=off", "-device",
                     f"virtio-net-device,netdev=net,mac={GUEST_MAC}"]
        return args


def one_round(subjects, number, measures, samples):
    """Each measure once on each subject that has it, in turning order."""
    turn = number % len(subjects)
    for method in measures:
        for s in subjects[turn:] + subjects[:turn]:
            if not hasattr(s, method):
                continue
            time.sleep(SETTLE_S)
            for measure, value in getattr(s, method)().items():
                samples.setdefault(measure, {}).setdefault(
                    s.name, []).append(value)
