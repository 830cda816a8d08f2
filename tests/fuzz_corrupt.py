"""Requests to guests whose system files are corrupted at random: nothing but the guest may suffer.

Run by `make fuzz-corrupt`. What is looked for is an error of qgasim (`Agent.failure`), a program that fails
by one (a RuntimeWarning), and a crash or a hang of the interpreter: before each round, its seed is written
to standard error, by which it can be had again.
"""

import argparse
import random
import re
import sys
import warnings
from collections.abc import Callable, Iterator
from importlib import resources
from typing import Any, Final

from qgasim.errors import KernelError
from qgasim.guest.files.nodes import WouldBlock
from tests.serving import Course

__all__ = ["main"]

RELEASE_NAMES: Final = ("3.1", "5.2", "6.2", "7.2", "8.2", "9.1", "10.0", "11.1")
SCENARIOS: Final = ("debian-12", "alpine-3.20", "windows-11", "k8s-node")
#: What the agent, and the programs that it runs, look at.
PATHS: Final = (
    "/etc/passwd", "/etc/group", "/etc/shadow", "/etc/fstab", "/etc/localtime", "/etc/os-release",
    "/etc/hostname", "/etc/timezone", "/usr/lib/os-release", "/root/.ssh/authorized_keys", "/root/.ssh",
    "/dev/null", "/dev/zero", "/bin/sh", "/bin/true", "/sbin/hwclock", "/sbin/shutdown", "/sbin/poweroff",
    "/usr/sbin/chpasswd", "/etc/qemu", "/etc/qemu/fsfreeze-hook", "/proc/self", "/proc/mounts",
    "/sys/power/state", "/sys/devices/system/cpu/cpu1/online", "/run", "/tmp", "/mnt", "/etc", "/root",
    "/C:/ProgramData/ssh/administrators_authorized_keys", "/C:/Windows/System32",
)  # fmt: skip
REQUESTS: Final[dict[str, list[dict[str, Any]]]] = {
    "guest-ssh-get-authorized-keys": [
        *[{"username": "root"}] * 4,
        {"username": "a\nb"},
        {"username": ""},
    ],
    "guest-ssh-add-authorized-keys": [
        {"username": "root", "keys": ["ssh-rsa A", "\udcff"]},
        {"username": "root", "keys": [""], "reset": True},
    ],
    "guest-ssh-remove-authorized-keys": [{"username": "root", "keys": ["ssh-rsa A", ""]}],
    "guest-set-user-password": [
        {"username": "root", "password": "eA==", "crypted": False},
        {"username": "x:y", "password": "/w==", "crypted": True},
    ],
    "guest-exec": [
        {"path": "/bin/true"},
        {"path": "/bin/sh", "arg": ["-c", "id; ls -l /etc; date; mount; cat /etc/*"]},
        {"path": "sh", "arg": ["-c", "echo ~root ~; ps; su; chmod 0 /etc/*; rm -r /root"]},
        {"path": "/proc/self", "input-data": "AAAA", "capture-output": True},
        {"path": "sh", "arg": ["-c", "umount /boot; mount /boot; fsfreeze -f /; fsfreeze -u /"]},
    ],
    "guest-file-open": [{"path": p, "mode": m} for p in PATHS for m in ("r", "w", "a+")],
    "guest-file-read": [{"handle": h, "count": c} for h in range(1000, 1004) for c in (1, 1 << 20)],
    "guest-file-write": [{"handle": h, "buf-b64": "AAECAw=="} for h in range(1000, 1004)],
    "guest-file-seek": [
        {"handle": h, "offset": o, "whence": w}
        for h in (1000, 1001)
        for o in (0, 10**13, -5, (1 << 63) - 1, -(1 << 63))
        for w in (0, 1, 2)
    ],
    "guest-file-flush": [{"handle": 1000}],
    "guest-file-close": [{"handle": h} for h in range(1000, 1004)],
    "guest-set-time": [{}, {"time": 0}, {"time": 1_700_000_000 * 10**9}, {"time": -(1 << 63)}],
    "guest-fsfreeze-freeze": [{}],
    "guest-fsfreeze-freeze-list": [{"mountpoints": ["/", "/nope", "/boot"]}],
    "guest-fsfreeze-thaw": [{}],
    "guest-fstrim": [{}, {"minimum": (1 << 63) - 1}],
    "guest-set-vcpus": [{"vcpus": [{"logical-id": 1, "online": False}]}],
    "guest-set-memory-blocks": [{"mem-blks": [{"phys-index": 1, "online": False}]}],
    "guest-exec-status": [{"pid": 1}],
}
#: Those that look at what is damaged most: they are asked for more often.
READERS: Final = (
    "guest-ssh-get-authorized-keys", "guest-ssh-add-authorized-keys", "guest-get-osinfo", "guest-get-timezone",
    "guest-set-user-password", "guest-exec", "guest-get-fsinfo", "guest-set-time",
)  # fmt: skip
#: Which are asked for seldom: the guest is gone then for a while.
SELDOM: Final = frozenset(
    {"guest-shutdown", "guest-suspend-ram", "guest-suspend-disk", "guest-suspend-hybrid"}
)


def _seeds() -> list[bytes]:
    root = resources.files("tzdata.zoneinfo")
    zones = ("Europe/Berlin", "UTC", "America/New_York")
    return [
        *(root.joinpath(*zone.split("/")).read_bytes() for zone in zones),
        b"root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/home/user:/bin/sh\n",
        b'NAME="Debian"\nID=debian\nPRETTY_NAME="a \\" b"\n',
        b"/dev/vda1 / ext4 errors=remount-ro 0 1\nUUID=x /boot vfat defaults 0 2\n",
        b"ssh-rsa AAAA x\n# comment\n\n",
        b"#!/bin/sh\nexit 1\n",
    ]


SEEDS: Final = _seeds()
#: Which of them fit a path.
KINDS: Final = {
    "localtime": (0, 1, 2), "passwd": (3,), "shadow": (3,), "group": (3,), "release": (4,), "fstab": (5,),
    "keys": (6,), "bin/": (7,), "hook": (7,),
}  # fmt: skip
FORMED: Final = tuple(
    path for path in PATHS if any(name in path for name in KINDS) and "bin/" not in path
)
FIELD: Final = re.compile(rb"([:=\n\" /])")
SPICES: Final = (
    b"\0", b"\n", b":", b"=", b'"', b"\\", b"\xff\xfe", b"\xc0\x80", b"9" * 5000, b"-1", b"4294967296",
    "\u0663".encode(), b"TZif2", b"\n" * 1000, b":" * 1000, b"/" * 5000, b"#!", b"#!/bin/sh", b"\x7fELF",
    b"\xed\xa0\x80", b" ", b"\t", b"%s%n", b"'", "\u00e9\U0001f600".encode(), b"\\", b"nan", b"1e9", b"0x10",
)  # fmt: skip


def _fitting(path: str) -> list[bytes]:
    """Return contents of the kind that *path* has."""
    for name, kinds in KINDS.items():
        if name in path:
            return [SEEDS[kind] for kind in kinds]
    return SEEDS


def corrupt(chance: random.Random, path: str) -> bytes:
    """Return contents for *path* that are nearly right, or not at all."""
    if chance.random() < 0.1:
        return chance.randbytes(200)
    seed = chance.choice(_fitting(path) if chance.random() < 0.8 else SEEDS)
    if chance.random() < 0.5:
        # One field or a few are something else; what separates them stays.
        fields = FIELD.split(seed)
        for _ in range(chance.choice((1, 1, 2))):
            fields[chance.randrange(0, len(fields), 2)] = chance.choice(SPICES)
        return b"".join(fields)
    data = bytearray(seed)
    for _ in range(chance.choice((0, 1, 1, 2, 5, 20))):
        at = chance.randrange(len(data) + 1)
        how = chance.randrange(4)
        if how == 0:
            data[at:at] = chance.choice(SPICES)
        elif how == 1:
            del data[at : at + chance.randrange(1, 20)]
        elif how == 2:
            data[at : at + 1] = chance.randbytes(1)
        else:
            data[at:at] = data[: chance.randrange(len(data) + 1)]
        del data[1 << 16 :]
    return bytes(data)


def _damages(course: Course, chance: random.Random, path: str) -> list[Callable[[], object]]:
    """Return ways to damage what is at *path*."""
    files = course.guest.files

    def replace(make: Callable[[], object]) -> Callable[[], object]:
        def do() -> None:
            files.remove_if_there(path)
            files.make_parents(path)
            make()

        return do

    def make_sparse() -> None:
        files.write(path, b"x")
        files.truncate(path, 10**13)

    def write() -> None:
        files.write(path, corrupt(chance, path), chance.choice((0o644, 0o755, 0)))

    return [
        replace(write), replace(write), replace(write),
        lambda: files.remove_if_there(path),
        replace(lambda: files.mkdir(path)),
        replace(lambda: files.symlink(chance.choice((path, "/nope", "/dev/zero", "/proc/mounts")), path)),
        replace(lambda: files.mkfifo(path)),
        replace(make_sparse),
        lambda: files.chmod(path, chance.choice((0, 0o755, 0o7777))),
        lambda: files.rename(path, chance.choice(PATHS)),
    ]  # fmt: skip


def damage(course: Course, chance: random.Random) -> None:
    """Damage the guest, as a client could by its programs; what its kernel refuses stays as it is."""
    try:
        if chance.random() < 0.05 and course.guest.volumes:
            volume = chance.choice(list(course.guest.volumes.values()))
            volume.is_frozen = not volume.is_frozen
        elif chance.random() < 0.05:
            mount = chance.choice(course.guest.files.mounts)
            mount.options = chance.choice(("ro", "rw", "rw,noexec", ""))
        elif chance.random() < 0.03 and len(course.guest.files.mounts) > 1:
            course.guest.files.unmount(chance.choice(course.guest.files.mounts[1:]))
        else:
            # Most of all what has a form that can be nearly right.
            path = chance.choice(FORMED if chance.random() < 0.7 else PATHS)
            ways = _damages(course, chance, path)
            chance.choice(ways[:1] if path in FORMED and chance.random() < 0.7 else ways)()
    except (KernelError, WouldBlock):
        pass


def ask(course: Course, chance: random.Random) -> None:
    """Ask for something; an error of qgasim is raised."""
    names = list(course.agent.commands.table)
    how = chance.random()
    name = chance.choice(names if how < 0.2 else list(REQUESTS) if how < 0.4 else READERS)
    if name in SELDOM and chance.random() < 0.8:
        return
    arguments = dict(chance.choice(REQUESTS.get(name, [{}])))
    course.say(name, **{key.replace("-", "_"): value for key, value in arguments.items()})
    if chance.random() < 0.3:
        course.advance(chance.choice((0.01, 1, 30)))
        if course.agent.failure is not None:
            raise course.agent.failure


def rounds(seed: int, requests: int) -> Iterator[int]:
    """Ask until so many *requests* were made; give the seed of each round."""
    made = 0
    while made < requests:
        yield seed
        chance = random.Random(seed)
        release = None if chance.random() < 0.3 else chance.choice(RELEASE_NAMES)
        course = Course(chance.choice(SCENARIOS), release=release)
        for _ in range(30):
            for _ in range(chance.choice((0, 1, 3))):
                damage(course, chance)
            ask(course, chance)
            made += 1
        # A guest that boots with what is left of it.
        course.guest.power.shut_down("reboot", 0)
        for _ in range(3):
            course.advance(10)
        course.say("guest-ping")
        seed += 1


def main() -> int:
    """Run; return the exit status."""
    parser = argparse.ArgumentParser(prog="make fuzz-corrupt", description=__doc__)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    warnings.simplefilter("error", RuntimeWarning)
    seed = options.seed
    try:
        for seed in rounds(options.seed, options.requests):
            sys.stderr.write(f"\rseed {seed}")
    except Exception:
        sys.stderr.write(f"\nfailed: make fuzz-corrupt SEED={seed} REQUESTS=1" + "\n")
        raise
    sys.stderr.write(f"\n{options.requests} requests, no error of qgasim" + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
