# SPDX-License-Identifier: Apache-2.0
"""What a jail adds to a start: the same one with and without, in turn."""
import json
import os
import shutil
import subprocess

from bench_host import Failed

UID = GID = 31001
TARGET_MS = 5
MEASURES = {
    "jail": ("exec of the jailer to first guest byte, less that without it",
             "ms", 1),
}


def jailer_of(monitor):
    """The jailer beside a monitor, or None."""
    for name in "mayfly-jailer", "jailer":
        path = os.path.join(os.path.dirname(monitor), name)
        if os.path.exists(path):
            return path
    return None


class GuestJail:
    """A monitor that may have a jailer beside it, whom only root can run."""

    def stage_jail(self, base, boot_args):
        """Kernel and configuration, in the root where a jail will be."""
        root = os.path.join(base, os.path.basename(self.path), "bench", "root")
        os.makedirs(root)
        shutil.copy(self.bench.program["nano"], os.path.join(root, "nano"))
        with open(os.path.join(root, "vm.json"), "w", encoding="ascii") as f:
            json.dump({"boot-source": {"kernel_image_path": "nano",
                                       "boot_args": boot_args},
                       "machine-config": {"vcpu_count": 1,
                                          "mem_size_mib": 128},
                       "drives": []}, f)

    def jail(self):
        """One start of each kind, right after the other."""
        jailer = jailer_of(self.path)
        if not jailer or os.geteuid() != 0:
            return {}
        base = self.bench.file(f"{self.name}-jails")
        shutil.rmtree(base, ignore_errors=True)
        boot_args = "nano.run=hello"
        self.stage_jail(base, boot_args)
        where = ["--id", "bench", "--chroot-base-dir", base,
                 "--exec-file", self.path]
        inside = self.bench.stopwatch(
            "byte", jailer, *where, "--uid", str(UID), "--gid", str(GID),
            "--", "--no-api", "--config-file", "vm.json")
        outside = self.bench.stopwatch("byte", *self.command(boot_args))
        self.remove(jailer, where)
        return {"jail": (inside["ns"] - outside["ns"]) / 1e6}

    @staticmethod
    def remove(jailer, where):
        """Not measured; Firecracker's jailer leaves it to others."""
        if os.path.basename(jailer) == "jailer":
            return
        done = subprocess.run([jailer, "--remove", *where], check=False,
                              capture_output=True, text=True)
        if done.returncode:
            raise Failed(f"{jailer} --remove: {done.stderr}")
