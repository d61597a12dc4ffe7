# SPDX-License-Identifier: Apache-2.0
"""What Linux makes of what a load changes. Run by linux_net.py."""
import os

from agent import EXITED
from monitor import check, check_equal
from netns import GUEST_MAC, make_tap

NEW_BYTES = 3 << 20
NEW_CID = 4711
LOOK = """\
cat /sys/block/vdb/size /sys/class/net/eth0/address
busybox head -c 16 /dev/vdb
"""


class Overrides:
    """Of snapshots of a guest."""

    def __init__(self, snapshots):
        self.snapshots = snapshots

    def are_seen(self, _):
        """snapshot: a clone has a drive, a CID and metadata of its own"""
        guest, path = self.snapshots.guest, self.snapshots.guest.file("other")
        with open(path, "wb") as f:
            f.write(b"other" * 10)
            f.truncate(NEW_BYTES)
        make_tap("other")
        self.snapshots.create()
        folder = guest.file("copy%d" % (self.snapshots.count + 1))
        m, there = self.snapshots.load(
            network_overrides=[{
                "iface_id": guest.net.tap, "host_dev_name": "other",
                "guest_mac": "02:fc:00:00:00:77"}],
            drive_overrides=[{"drive_id": "data", "path_on_host": path}],
            vsock_override={"guest_cid": NEW_CID,
                            "uds_path": os.path.join(folder, "v.sock")},
            mmds={"name": "clone"})
        try:
            # That the agent answers shows that Linux knows its new CID.
            check_equal(m.api.get("/vm/config")["vsock"]["guest_cid"], NEW_CID,
                        "CID")
            check_equal(m.api.get("/mmds"), {"name": "clone"}, "metadata")
            said = there.run(["sh", "-c", LOOK])
            check_equal((said.how, said.value), (EXITED, 0), repr(said))
            # The MAC it reads when it finds a device, not later.
            check_equal(said.out.split(b"\n"), [
                b"%d" % (NEW_BYTES // 512), GUEST_MAC.encode(),
                b"otherotherothero"], "what Linux sees")
            check("of drive 'data' is not as it was" in m.log(),
                  "no warning about another size")
        finally:
            m.kill()
        guest.monitor.api.patch("/vm", {"state": "Resumed"})
