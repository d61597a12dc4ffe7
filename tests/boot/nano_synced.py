# SPDX-License-Identifier: Apache-2.0
"""What a create waits for before it says that the snapshot is there, and in
which order. Run by nano.py."""
import os
import re

from monitor import check_equal, drive
from nano_snapshot import TICK, Files, pause
from nano_sweep import HELPER, traced


def is_on_the_disk_before_it_has_its_name(t):
    """drives, files and names are synced, each before what relies on it"""
    disk, files = t.path("disk"), Files(t)
    folder = "fsync " + os.path.basename(t.folder)
    synced = ["fdatasync disk", "fsync snap.mem", "fsync snap.state", folder,
              "rename snap.state", folder, "rename snap.mem", folder]
    with open(disk, "wb") as f:
        f.truncate(1 << 20)
    m = t.boot("tick=0", [drive(disk)], args=())
    m.wait_text(TICK)
    for live in True, False:
        if not live:
            pause(m)
        with traced(m, HELPER, "-y", "-e", "trace=fdatasync,fsync,rename"):
            m.api.put("/snapshot/create", files.create_body(live=live))
        with open(m.trace, encoding="utf-8") as f:
            found = re.findall(r'^(\w+)\((?:\d+<|")([^>"]+)', f.read(), re.M)
        check_equal([call + " " + re.sub(r"\.[0-9a-f]{16}$", "",
                                         os.path.basename(path))
                     for call, path in found], synced, "live: %s" % live)


TESTS = [is_on_the_disk_before_it_has_its_name]
