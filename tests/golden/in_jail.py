# SPDX-License-Identifier: Apache-2.0
"""Let golden.py, which has started itself, start monitors in jails.

A scenario's folder becomes the root of the jail, so that what its steps name
relatively is found. What the jailer has made there goes before the next one.
"""
import fnmatch
import os
import resource
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))), "boot"))
# pylint: disable=wrong-import-position
import jailed  # noqa: E402

# Scenarios that are replayed without a jail, and why.
BARE = {
    "cli/*": "the jailer passes words of its own, and --id once",
    "net/*": "the original was root, and made TAPs that were missing",
    "phase/before start": "the same",
    "values/logger path": "the original was root, and wrote read-only files",
}
DEVICES = {"null": 3, "full": 7}


def clear(folder, monitor):
    """Without what a jailer makes, but with what is in /dev of hosts."""
    name = os.path.basename(monitor)
    for made in name, name + ".pid":
        if os.path.lexists(os.path.join(folder, made)):
            os.unlink(os.path.join(folder, made))
    for made in "dev", "run":
        shutil.rmtree(os.path.join(folder, made), ignore_errors=True)
    os.mkdir(os.path.join(folder, "dev"))
    for made, minor in DEVICES.items():
        os.mknod(os.path.join(folder, "dev", made), 0o20666,
                 os.makedev(1, minor))


def give(folder):
    """To the jail's user, with all in it."""
    for path, dirs, files in os.walk(folder):
        for name in (".", *dirs, *files):
            os.lchown(os.path.join(path, name), jailed.UID, jailed.GID)


def start(scenario, command, args):
    """As golden.py's Scenario.start()."""
    n, args = len(scenario.procs) + 1, list(args)
    instance = "anonymous-instance"
    if "--id" in args:
        at = args.index("--id")
        instance = args[at + 1]
        del args[at:at + 2]
    jail = jailed.Jail(command, tempfile.mkdtemp(dir=scenario.base), instance)
    jail.mounts.append((scenario.cwd, jail.root, False))
    clear(scenario.cwd, jail.monitor)
    give(scenario.cwd)

    def enter():
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        jail.enter()
    with open(f"{scenario.base}/out{n}", "wb") as out, \
            open(f"{scenario.base}/err{n}", "wb") as err:
        # pylint: disable=consider-using-with,subprocess-popen-preexec-fn
        process = subprocess.Popen(
            jail.words(None, args), stdin=subprocess.DEVNULL, stdout=out,
            stderr=err, cwd=scenario.cwd, preexec_fn=enter)
    scenario.procs.append(process)
    return process


def replay_in_jails(command):
    """For what golden.py does from now on."""
    if not jailed.possible(command):
        print("# SKIP jail:", jailed.why_not(command))
        return
    kind = sys.modules["__main__"].Scenario
    start_bare = kind.start

    def start_either(scenario, args):
        bare = any(fnmatch.fnmatchcase(scenario.spec["name"], name)
                   for name in BARE)
        return start_bare(scenario, args) if bare else \
            start(scenario, command, args)
    kind.start = start_either
