# SPDX-License-Identifier: Apache-2.0
"""What rate limiters do to a guest. Run by nano.py."""
import re
import time

from monitor import SOAK, check, check_equal, drive, read_metrics, wait_for
from nano_drive import MIB, check_pattern

SECONDS = 10 if SOAK else 2


def bucket(size, refill_ms, burst=0):
    """As the API takes it."""
    return {"size": size, "refill_time": refill_ms, "one_time_burst": burst}


def bench_requests(m):
    """How many the guest's benchmarks counted."""
    return [int(n) for n in re.findall(r"^nano: bench .* n=(\d+) ",
                                       m.console(), re.MULTILINE)]


def passes_at_most(t, job, limiter, cost):
    """
    A guest that asks for as much as it can for some time: what it got cost at
    most the bucket, its burst, and what came in the time from before its start
    until after its end.
    """
    (limit,) = limiter.values()
    start = time.monotonic()
    m = t.boot("blk=0:bench:%s:%ds" % (job, SECONDS),
               [drive(t.file("a", 16 * MIB), rate_limiter=limiter)])
    m.check_end()
    periods = (time.monotonic() - start) * 1000 / limit["refill_time"]
    (n,) = bench_requests(m)
    most = limit["size"] * (1 + periods) + limit["one_time_burst"]
    check(n * cost <= most, "%d passed, not %d" % (n * cost, most))
    check(n * cost > limit["size"] + limit["one_time_burst"],
          "%d passed" % (n * cost))


def limits_bytes(t):
    """no more bytes are read and written than the bucket gives"""
    for job, cost in (("read:8:1:32768", 32768), ("write:4:4:131072", 131072)):
        passes_at_most(t, job, {"bandwidth": bucket(MIB // 4, 50, MIB)}, cost)


def limits_operations(t):
    """no more requests are served than the bucket gives"""
    passes_at_most(t, "read:8:1:4096", {"ops": bucket(20, 20)}, 1)
    passes_at_most(t, "write:1:1:512", {"ops": bucket(1, 1, 30)}, 1)


def throttled(m, metrics):
    """Requests of the drives that had to wait so far."""
    total = read_metrics(m, metrics)
    return total["block.rate_limiter_throttled_events"]


def a_patch_reaches_requests_that_wait(t):
    """a request that would wait for hours goes on after PATCH, unharmed"""
    path, metrics = t.file("a", MIB), t.path("metrics")
    m = t.boot_api("blk=0:write:1:1,blk=0:verify:1:1",
                   [drive(path, rate_limiter={
                       "bandwidth": bucket(4096, 3600 * 1000)})],
                   metrics={"metrics_path": metrics})
    wait_for(lambda: throttled(m, metrics), "request that waits")
    # Neither a pause nor another bucket lets it pass.
    m.api.patch("/vm", {"state": "Paused"})
    m.api.patch("/vm", {"state": "Resumed"})
    m.api.patch("/drives/a", {"drive_id": "a", "rate_limiter": {
        "ops": bucket(10 ** 6, 1)}})
    check_equal(throttled(m, metrics), 1, "requests that waited")
    check_equal(read_metrics(m, metrics)["block.write_count"], 0, "writes")
    m.api.patch("/drives/a", {"drive_id": "a", "rate_limiter": {
        "bandwidth": bucket(0, 0)}})
    m.check_end()
    check_pattern(path, 1, range(MIB // 512))


def a_patch_sets_another_rate(t):
    """after PATCH no more passes than the new bucket gives"""
    path, metrics = t.file("a", MIB), t.path("metrics")
    limit = bucket(64 << 10, 20)
    m = t.boot_api("blk=0:bench:read:8:1:4096:%ds" % 600, [drive(path)],
                   metrics={"metrics_path": metrics})
    wait_for(lambda: read_metrics(m, metrics)["block.read_bytes"] > 4 * MIB,
             "4 MiB read")
    m.api.patch("/drives/a", {"drive_id": "a",
                              "rate_limiter": {"bandwidth": limit}})
    start = time.monotonic()
    before = read_metrics(m, metrics)["block.read_bytes"]
    time.sleep(SECONDS)
    total = read_metrics(m, metrics)
    periods = (time.monotonic() - start) * 1000 / limit["refill_time"]
    passed = total["block.read_bytes"] - before
    # Up to eight requests passed before the PATCH and were counted after it.
    most = limit["size"] * (1 + periods) + 8 * 4096
    check(passed <= most, "%d passed, not %d" % (passed, most))
    check(total["block.rate_limiter_event_count"] > 0, "no events")
    m.alive()


TESTS = [
    limits_bytes, limits_operations, a_patch_reaches_requests_that_wait,
    a_patch_sets_another_rate,
]
