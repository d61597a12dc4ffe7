# SPDX-License-Identifier: Apache-2.0
"""Snapshots: a guest goes on in another process. Run by nano.py."""
import os
import re
import struct

from monitor import SOAK, Skip, check, check_equal, drive, wait_for
from nano_drive import check_pattern
from nano_stuck import tool

MIB = 1 << 20
GAP, GAP_END = 3 << 30, 4 << 30 # RAM has a hole there
HUGE = 2 << 20
CHAIN = 1000 if SOAK else 20
QUICK = 10 # snapshots in quick succession
TICK = r"^nano: tick (\d+)\r?$"
FLOOD = ("the quick brown fox jumps over the lazy dog, and nobody counts 64 "
         "bytes\n")


class Files:
    """The two files of a snapshot."""

    def __init__(self, t, name="snap"):
        self.state, self.mem = t.path(name + ".state"), t.path(name + ".mem")

    def create(self, m):
        """Of a monitor whose guest is paused."""
        m.api.put("/snapshot/create", self.create_body())

    def create_body(self, **other):
        """What is sent for it."""
        return {"snapshot_path": self.state, "mem_file_path": self.mem,
                **other}

    def load_body(self, mem=None, **other):
        """What is sent to load it."""
        return {"snapshot_path": self.state, "mem_backend": {
            "backend_type": "File", "backend_path": mem or self.mem}, **other}

    def load(self, t, resume=True, **other):
        """Into a new monitor."""
        m = t.monitor()
        m.api.put("/snapshot/load", self.load_body(resume_vm=resume, **other))
        return m

    def contents(self):
        """All bytes of both."""
        with open(self.state, "rb") as s, open(self.mem, "rb") as m:
            return s.read(), m.read()


def pause(m):
    """Pause it."""
    m.api.patch("/vm", {"state": "Paused"})


def resume(m):
    """And go on."""
    m.api.patch("/vm", {"state": "Resumed"})


def move(t, m, files):
    """Snapshot, end, restore: the next monitor."""
    pause(m)
    files.create(m)
    text = said(m)
    m.kill()
    t.said = getattr(t, "said", "") + text
    return files.load(t)


def said(m):
    """What the console got from a guest that is paused."""
    return wait_for(lambda: settled(m), "end of output")


def settled(m):
    """The console, if it is as long as a moment ago. The pause is over the
    vCPUs; what they wrote may still be on its way to the file."""
    before = m.console()
    m.api.get("/")
    return before if m.console() == before and before else None


def ticks(text):
    """The numbers."""
    return [int(n) for n in re.findall(TICK, text, re.MULTILINE)]


def check_gapless(text):
    """Every tick is there, once, in order."""
    seen = ticks(text)
    check(seen, "no ticks")
    check_equal(seen, list(range(1, len(seen) + 1)), "ticks")


def sampled_words(path, mib):
    """[(address, word)] each 2 MiB of RAM."""
    words = []
    with open(path, "rb") as f:
        for offset in range(HUGE, mib * MIB, HUGE):
            gpa = offset if offset < GAP else offset - GAP + GAP_END
            f.seek(offset)
            words.append((gpa, struct.unpack("<Q", f.read(8))[0]))
    return words


def check_words(path, mib):
    """They are those of nano's order mem, but where it keeps its own."""
    wrong = [hex(gpa) for gpa, word in sampled_words(path, mib)
             if word != gpa ^ (1 << 64) - 1]
    check(len(wrong) <= 1, "RAM is not what the guest wrote: %s" % wrong[:5])


def goes_on_where_it_was(t):
    """a restored guest counts on, with its RAM as it was; 1 and 2 vCPUs"""
    for vcpus, mem, words in ((1, 128, ""), (2, 128, ""), (2, 128, "nano.spin"),
                              (1, 5120, ""), (2, 4, "")):
        files = Files(t)
        t.said = ""
        m = t.boot_api("cpus,mem,tick=0", vcpus=vcpus, mem=mem, words=words)
        m.wait_text("^nano: tick 3")
        m = move(t, m, files)
        check_equal(os.path.getsize(files.mem), mem * MIB, "bytes of RAM")
        check_words(files.mem, mem)
        m.wait_text(TICK)
        # A restore's RAM is a file, which takes long to look through.
        if SOAK or mem < GAP // MIB:
            m = move(t, m, files)
            check_words(files.mem, mem)
            m.wait_text(TICK)
        pause(m)
        check_gapless(t.said + said(m))
        m.kill()


def memory_file_is_sparse(t):
    """a memory file has no blocks where RAM was never touched"""
    files = Files(t)
    m = t.boot_api("hello,tick=0", mem=5120)
    m.wait_text("^nano: tick 1")
    pause(m)
    files.create(m)
    used = os.stat(files.mem).st_blocks * 512
    check(used < 64 * MIB, "%d bytes" % used)


def waits_until_it_is_resumed(t):
    """resume_vm decides whether a loaded guest runs at once"""
    files = Files(t)
    m = t.boot_api("tick=0")
    m.wait_text("^nano: tick 1")
    pause(m)
    files.create(m)
    first = said(m)
    m.kill()
    m = files.load(t, resume=False)
    check_equal(m.api.get("/")["state"], "Paused", "state")
    check_equal(m.console(), "", "console of a paused guest")
    # It is a machine that can be saved again as it is.
    again = Files(t, "again")
    again.create(m)
    resume(m)
    check_equal(m.api.get("/")["state"], "Running", "state")
    m.wait_text(TICK)
    pause(m)
    check_gapless(first + said(m))
    m = again.load(t)
    m.wait_text(TICK)
    pause(m)
    check_gapless(first + said(m))


def goes_on_in_its_own_process(t):
    """a guest that was snapshotted goes on as if nothing had been"""
    files = Files(t)
    m = t.boot_api("tick=0", vcpus=2)
    for _ in range(QUICK):
        m.wait_text(TICK)
        pause(m)
        files.create(m)
        resume(m)
    before = len(ticks(m.console()))
    m.wait_text("^nano: tick %d" % (before + 3))
    pause(m)
    check_gapless(said(m))


def figures(m):
    """(descriptors, KiB resident that are its own) of a process."""
    folder = "/proc/%d" % m.process.pid
    with open(folder + "/smaps_rollup", encoding="ascii") as f:
        dirty = re.search(r"^Private_Dirty: +(\d+)", f.read(), re.MULTILINE)
    return len(os.listdir(folder + "/fd")), int(dirty.group(1))


def chain_of_restores(t):
    """a snapshot of a restore of a snapshot...: nothing is lost, none grows"""
    files = Files(t)
    t.said = ""
    m = t.boot_api("tick=0")
    m.wait_text("^nano: tick 2")
    first = None
    for i in range(CHAIN):
        m = move(t, m, files)
        m.wait_text(TICK)
        if i == 1:
            first = figures(m)
            names = sorted(n for n in os.listdir(t.folder)
                           if not n.startswith("monitor"))
    pause(m)
    check_gapless(t.said + said(m))
    last = figures(m)
    check_equal(last[0], first[0], "descriptors")
    check(last[1] < first[1] + 512, "%d KiB, then %d" % (first[1], last[1]))
    check_equal(sorted(n for n in os.listdir(t.folder)
                       if not n.startswith("monitor")), names, "files")


def stopped_in_the_middle_of_output(t):
    """no byte is lost or doubled by a stop in the middle of a port access"""
    size = 65536 if SOAK else 24576
    files = Files(t)
    t.said = ""
    m = t.boot_api("hello,flood=%d" % size)
    m.wait_text("^the quick")
    for _ in range(QUICK):
        m = move(t, m, files)
        wait_for(lambda: len(m.console()) > 500, "more output")
    m.check_end()
    text = (t.said + m.console()).replace("\r", "")
    start = text.index(FLOOD[:10])
    expected = (FLOOD * (size // len(FLOOD) + 1))[:size]
    got = text[start:start + size]
    check(got == expected, "output differs at %s" % next(
        (i for i, (a, b) in enumerate(zip(got, expected)) if a != b), "its end"))


def moves_while_drives_are_busy(t):
    """requests to a drive go on through snapshots, and so do interrupts"""
    path = t.file("disk", 16 * MIB)
    ways = ["d32:s4:b16384:rand", "d1:s1:b4096", "d128:s4:b16384"]
    orders = ["blk=0:%s:%d:16:%s" % (op, seed, way)
              for seed, way in enumerate(ways * 2)
              for op in ("write", "verify")]
    files = Files(t)
    t.said = ""
    m = t.boot_api(",".join(["hello", *orders]), [drive(path)])
    m.wait_text("^nano: hello")
    moves = 0
    while "nano: done" not in m.console() and moves < QUICK:
        m = move(t, m, files)
        moves += 1
        wait_for(lambda: m.console() or m.process.poll() is not None,
                 "anything from the guest")
    m.check_end()
    check(moves >= 2, "only %d moves" % moves)
    text = t.said + m.console()
    check("FAIL" not in text, "an order failed")
    check_equal(text.count("nano: ok blk="), len(orders), "orders")
    check_pattern(path, len(orders) // 2 - 1, range(0, 16 * MIB // 512, 97))


def prepared(t, orders="tick=0", **more):
    """Files of a guest that ticks, which is dead by now."""
    files = Files(t)
    m = t.boot_api(orders, **more)
    m.wait_text("^nano: tick 1")
    pause(m)
    files.create(m)
    m.kill()
    return files


def write(path, data):
    """A file of these bytes."""
    with open(path, "wb") as f:
        f.write(data)
    return path


def bad_loads(t, files):
    """[(body, what its refusal says)]"""
    state, mem = files.contents()
    mid = len(state) // 2
    cut = Files(t, "cut")
    flipped = Files(t, "flipped")
    empty = Files(t, "empty")
    write(cut.state, state[:-1])
    write(flipped.state, state[:mid] + bytes([state[mid] ^ 1]) +
          state[mid + 1:])
    write(empty.state, b"")
    short = write(t.path("short.mem"), mem[:-1])
    return [
        (cut.load_body(files.mem), "not as long as it says"),
        (flipped.load_body(files.mem), "CRC32C validation failed"),
        (empty.load_body(files.mem), "File too short"),
        (files.load_body(t.path("none")), "No such file or directory"),
        (files.load_body(short), "exceeds largest possible file offset"),
        (files.load_body(t.folder), "exceeds largest possible file offset"),
        ({**files.load_body(), "snapshot_path": t.folder}, "Is a directory"),
        ({**files.load_body(), "snapshot_path": files.mem}, "more than"),
        (files.load_body(network_overrides=[
            {"iface_id": "x", "host_dev_name": "y"}]),
         "Unknown Network Device"),
        (files.load_body(vsock_override={"uds_path": "x"}),
         "Unknown Vsock Device"),
        ({**files.load_body(), "mem_backend": {
            "backend_type": "Uffd", "backend_path": files.mem}},
         "Failed to connect to UDS Unix stream: Connection refused"),
    ]


def can_load_after_failed_loads(t):
    """a refused load says why and leaves a process that loads what is good"""
    path = t.file("disk", MIB)
    files = prepared(t, drives=[drive(path)])
    m = t.monitor()
    os.rename(path, path + ".away")
    text = m.api.refused("PUT", "/snapshot/load", files.load_body())
    check("Error manipulating the backing file: No such file" in text, text)
    os.rename(path + ".away", path)
    before = figures(m)[0]
    for body, why in bad_loads(t, files):
        text = m.api.refused("PUT", "/snapshot/load", body)
        check(why in text, "%r is not in %r" % (why, text))
        check_equal(m.api.get("/")["state"], "Not started", "state")
    check_equal(figures(m)[0], before, "descriptors")
    m.api.put("/snapshot/load", files.load_body(resume_vm=True))
    m.wait_text(TICK)


def check_failed_create(m, files, body, why, before):
    """It is refused; guest and old files are as before."""
    text = m.api.refused("PUT", "/snapshot/create", body)
    check(why in text, "%r is not in %r" % (why, text))
    check_equal(m.api.get("/")["state"], "Paused", "state")
    check(files.contents() == before, "the old files have changed")


def failed_create_harms_nothing(t):
    """a create that fails leaves the old files, no new ones, and the guest"""
    files = Files(t)
    m = t.boot_api("tick=0")
    m.wait_text("^nano: tick 1")
    pause(m)
    files.create(m)
    before, names = files.contents(), sorted(os.listdir(t.folder))
    for other, why in (({"snapshot_path": t.folder}, "Is a directory"),
                       ({"mem_file_path": t.folder}, "Is a directory"),
                       ({"snapshot_path": "/dev/urandom"}, "regular file"),
                       ({"mem_file_path": "/dev/urandom"}, "regular file"),
                       ({"snapshot_path": t.path("no/state")}, "No such file"),
                       ({"mem_file_path": files.state}, "two files")):
        check_failed_create(m, files, files.create_body(**other), why, before)
    check_equal(sorted(os.listdir(t.folder)), names, "files")
    resume(m)
    before = len(ticks(m.console()))
    m.wait_text("^nano: tick %d" % (before + 2))


def full_disk_harms_nothing(t):
    """a create on a file system that is full leaves nothing behind"""
    small = t.path("small")
    os.mkdir(small)
    if not tool("mount", "-t", "tmpfs", "-o", "size=64k", "small", small):
        raise Skip("tmpfs: no mount")
    try:
        files = Files(t)
        m = t.boot_api("touch=4,tick=0")
        m.wait_text("^nano: tick 1")
        pause(m)
        files.create(m)
        before = files.contents()
        for where in "mem_file_path", "snapshot_path":
            write(os.path.join(small, "fill"), bytes(
                60 << 10 if where == "snapshot_path" else 0))
            check_failed_create(
                m, files,
                files.create_body(**{where: os.path.join(small, "x")}),
                "No space left on device", before)
            check_equal(os.listdir(small), ["fill"], "files")
        resume(m)
        m.alive()
    finally:
        for m in t.monitors:
            m.kill()
        tool("umount", small)


def killed_between_the_two_names(t):
    """state and memory are one snapshot, though renamed one after another"""
    files = prepared(t)
    with open(files.state, "rb") as f:
        f.seek(24)
        number = struct.unpack("<Q", f.read(8))[0]
    # As if the end had come before the memory file got its name.
    os.rename(files.mem, "%s.%016x" % (files.mem, number))
    write(files.mem, bytes(128 * MIB))
    m = files.load(t)
    m.wait_text(TICK)
    check(not os.path.exists("%s.%016x" % (files.mem, number)),
          "the file has not got its name")
    m.kill()
    files.load(t).wait_text(TICK)


GENERATION = (r"^nano: generation id=(\S+) counter=(\d+) marker=(\d+) "
              r"seq=(\d+) told=(yes|no)\r?$")


def clones_know_that_they_are(t):
    """clones run at once, each told of an id of its own before it goes on"""
    files = Files(t)
    m = t.boot_api("generation=100")
    m.wait_text(GENERATION)
    pause(m)
    files.create(m)
    first = m.said(GENERATION[1:-1])
    check_equal(first[1:], ("0", "0", "0", "no"), "first generation")
    clones = [files.load(t) for _ in range(10)]
    ids = {first[0]}
    for clone in clones:
        match = clone.wait_text(GENERATION)
        check_equal(match.groups()[1:], ("1", "1", "2", "yes"), "generation")
        ids.add(match.group(1))
    check_equal(len(ids), len(clones) + 1, "distinct ids")
    # The origin is no copy.
    resume(m)
    clones[0].alive()
    check_equal(len(re.findall(GENERATION, m.console(), re.MULTILINE)), 1,
                "generations of the origin")
    # And a copy of a copy is the next.
    pause(clones[0])
    files.create(clones[0])
    match = files.load(t).wait_text(GENERATION)
    check_equal(match.groups()[1:], ("2", "2", "4", "yes"), "generation")


def describes_its_files(t):
    """--describe-snapshot and --snapshot-version print the same"""
    files = prepared(t)
    m = t.monitor("--describe-snapshot", files.state)
    check_equal(m.wait_exit(), 0, "exit code")
    v = t.monitor("--snapshot-version")
    check_equal(v.wait_exit(), 0, "exit code")
    check_equal(m.console().split()[0], "v1.0.0", "version")
    check_equal(v.console().split()[0], "v1.0.0", "version")


TESTS = [
    goes_on_where_it_was, memory_file_is_sparse, waits_until_it_is_resumed,
    goes_on_in_its_own_process, chain_of_restores,
    stopped_in_the_middle_of_output, moves_while_drives_are_busy,
    can_load_after_failed_loads, failed_create_harms_nothing,
    full_disk_harms_nothing, killed_between_the_two_names,
    clones_know_that_they_are, describes_its_files,
]
