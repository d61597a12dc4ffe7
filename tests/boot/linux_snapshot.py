# SPDX-License-Identifier: Apache-2.0
"""A Linux guest goes on in another process. Run by linux_net.py."""
import os
import re
import struct
import time

import agent
import monitor
from agent import Agent
from linux_guest import DATA_BYTES, DEADLINE_S, Server, sha256
from monitor import Monitor, check, check_equal
from netns import HOST_IP, make_tap

MOVES = 100 if monitor.SOAK else 3
CLONES = 100 if monitor.SOAK else 3
KEPT_BYTES = 4 << 20
# Between a snapshot and its restore.
AWAY_S = 10 if monitor.SOAK else 5
CLOCKS = "/sys/devices/system/clocksource/clocksource0/"
CLONE_MAC = "02:fc:00:00:01:%02x"
# Two random numbers; and its own number to its own drive.
WRITE_OWN = """\
cat /proc/sys/kernel/random/uuid
head -c 16 /dev/urandom | hexdump | head -n 1
echo clone %d >/dev/vdb
busybox sync
"""
FORK = "crng reseeded due to virtual machine fork"
WRONG = re.compile(r".*(?:\boops\b|\bBUG\b|WARNING|Call Trace|stall|lockup|"
                   r"blocked for more|unstable|I/O error).*", re.IGNORECASE)
# Writes to a drive, reads it back and compares, counts, and waits on a timer.
LOAD = b"""\
echo $$ >/tmp/load.pid
mkfifo /tmp/never
exec 3<>/tmp/never
i=0
while check write /dev/vdb 1 $i >/tmp/load.out 2>&1; do
	i=$((i + 1))
	echo $i
	read -t 1 x <&3
done
cat /tmp/load.out
"""


class Load:
    """A program in the guest that works, and tells the host over TCP."""

    def __init__(self, guest):
        self.guest, self.text = guest, b""
        guest.agent.copy_in(LOAD, "/tmp/load.sh")
        self.server = Server(self.listen)
        guest.shell("setsid nc %s %d -e /bin/sh /tmp/load.sh "
                    ">/dev/null 2>&1 &" % (HOST_IP, self.server.port))

    def listen(self, conn):
        """On the server's thread."""
        while True:
            data = conn.recv(4096)
            if not data:
                return
            self.text += data

    def check(self):
        """Count of rounds, each of which came once and in order."""
        lines = self.text.decode().split("\n")
        check_equal(lines[:-1], [str(i + 1) for i in range(len(lines) - 1)],
                    "what the guest's program says")
        check(self.server.thread.is_alive(),
              "its connection ended: %r" % self.server.result)
        return len(lines) - 1

    def goes_on(self):
        """It works at this time: two more rounds."""
        goal = self.check() + 2
        monitor.wait_for(lambda: self.check() >= goal, "more rounds",
                         DEADLINE_S)

    def end(self):
        """End it."""
        self.guest.shell("kill `cat /tmp/load.pid`")
        self.server.end()


class Snapshots:
    """Of one guest; its methods are tests."""

    def __init__(self, guest):
        self.guest, self.count, self.times = guest, 0, []

    def create(self):
        """Of the guest, which stays paused."""
        api = self.guest.monitor.api
        api.patch("/vm", {"state": "Paused"})
        api.put("/snapshot/create",
                {"snapshot_path": self.guest.file("state"),
                 "mem_file_path": self.guest.file("mem")})

    def load(self, **more):
        """(monitor, agent) of a copy, when the agent answers."""
        self.count += 1
        folder = self.guest.file("copy%d" % self.count)
        os.mkdir(folder)
        path = os.path.join(folder, "v.sock")
        m = Monitor(folder)
        try:
            api, begin = m.api, time.monotonic()
            api.put("/snapshot/load", {
                "snapshot_path": self.guest.file("state"), "resume_vm": True,
                "mem_backend": {"backend_type": "File",
                                "backend_path": self.guest.file("mem")},
                "vsock_override": {"uds_path": path}, **more})
            there = Agent(path, timeout=DEADLINE_S)
            there.wait(DEADLINE_S, lambda: m.process.poll() is None)
            self.times.append((time.monotonic() - begin) * 1000)
        except Exception:
            m.show()
            m.kill()
            raise
        return m, there

    def move(self, away_s=0, **more):
        """The guest goes on in another monitor."""
        guest = self.guest
        self.create()
        guest.monitor.kill()
        time.sleep(away_s)
        guest.monitor, guest.is_agent = self.load(**more)

    def prepare(self):
        """The generator of random numbers is ready, and time is kvmclock's."""
        self.guest.shell("busybox head -c 1 /dev/random >/dev/null; "
                         "echo kvm-clock >%scurrent_clocksource" % CLOCKS)

    def check_kernel(self, forks):
        """It complains of nothing, and knows how often it was copied."""
        text = self.guest.run("busybox", "dmesg")
        wrong = WRONG.search(text)
        check(not wrong, wrong and wrong.group(0))
        check_equal(text.count(FORK), forks, "forks that the kernel saw")

    def lateness(self):
        """(seconds that the guest's time of day is late, error)"""
        begin = time.time()
        now = float(self.guest.run("busybox", "date", "+%s"))
        end = time.time()
        return (begin + end) / 2 - now, (end - begin) / 2 + 1

    def check_clock(self, before, more_s):
        """The time of day is later by so much than it was then: a guest may
        have lost time before it took kvmclock's."""
        (first, error), (late, error2) = before, self.lateness()
        check(abs(late - first - more_s) < error + error2 + 1,
              "%.1f s late, then %.1f" % (first, late))

    def clone_drive(self, i):
        """The file of its drive."""
        return self.guest.file("clone%d" % i)

    def own_names(self, i):
        """Overrides for clone number i: TAP, MAC and drive; load() has those
        of vsock."""
        tap, path = "clone%d" % i, self.clone_drive(i)
        make_tap(tap)
        with open(path, "wb") as f:
            f.truncate(DATA_BYTES)
        return {"network_overrides": [
                    {"iface_id": self.guest.net.tap, "host_dev_name": tap,
                     "guest_mac": CLONE_MAC % i}],
                "drive_overrides": [{"drive_id": "data",
                                     "path_on_host": path}]}

    # ---- tests ----

    def goes_on(self, _):
        """snapshot: files, programs, TCP and drives go on; vsock is reset"""
        guest, kept = self.guest, os.urandom(KEPT_BYTES)
        self.prepare()
        guest.agent.copy_in(kept, "/tmp/kept")
        load = Load(guest)
        load.goes_on()
        for _ in range(MOVES):
            with guest.agent.connect() as stream:
                # Its output is not read: it soon waits for credit.
                stream.request(agent.RUN, struct.pack("<III", 0, 1, 0),
                               ["", "yes"])
                guest.shell("until pidof yes; do :; done")
                self.move(clock_realtime=True)
            guest.shell("while pidof yes; do :; done")
            load.goes_on()
            check_equal(guest.hash("/tmp/kept"), sha256(kept), "file")
        load.end()
        self.check_kernel(MOVES)
        guest.run("ping", "-c", "1", "-W", "60", HOST_IP)
        print("# load to first reply of the agent: median %.0f ms of %d"
              % (sorted(self.times)[len(self.times) // 2], len(self.times)))

    def keeps_time(self, _):
        """snapshot: the time of day stands still, or with clock_realtime not"""
        self.prepare()
        before = self.lateness()
        self.move(AWAY_S, clock_realtime=True)
        self.check_clock(before, 0)
        self.move(AWAY_S)
        self.check_clock(before, AWAY_S)

    def clones_differ(self, _):
        """snapshot: clones run at once, with random numbers of their own"""
        guest = self.guest
        self.prepare()
        self.create()
        clones, seen = [], []
        try:
            for i in range(CLONES):
                clones.append(self.load(**self.own_names(i)))
            for i, (m, there) in enumerate(clones):
                m.alive()
                said = there.run(["sh", "-c", WRITE_OWN % i])
                check_equal(said.value, 0, repr(said))
                seen += said.out.decode().splitlines()[:2]
                check_equal(m.api.get("/vm/config")["network-interfaces"][0]
                            ["guest_mac"], CLONE_MAC % i, "MAC")
            for i in range(CLONES):
                with open(self.clone_drive(i), "rb") as f:
                    check_equal(f.readline(100), b"clone %d\n" % i,
                                "what is on its drive")
        finally:
            for m, _ in clones:
                m.kill()
        check_equal(len(set(seen)), 2 * CLONES, "distinct random numbers")
        # The origin was paused all the time, and is no copy.
        guest.monitor.api.patch("/vm", {"state": "Resumed"})
        forks = guest.run("busybox", "dmesg").count(FORK)
        self.move()
        self.check_kernel(forks + 1)

    def keeps_metadata_rules(self, _):
        """snapshot: metadata is put again, and asks for tokens as before"""
        guest = self.guest
        check_equal(guest.ask("GET", "/a")[0], 401, "without a token")
        guest.monitor.api.put("/mmds", {"a": "b"})
        check_equal(guest.ask("GET", "/a", guest.token(600)), (200, "b"),
                    "with one")
