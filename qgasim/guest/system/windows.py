"""What is Windows about a guest: paths with drive letters, volumes, names of time zones.

The files of all guests are in one tree. A drive of Windows is a directory of it, ``/C:``; to what is
beside the drives (``/dev/null``, the accounts) no path of Windows leads.
"""

import errno
import uuid
from datetime import datetime
from typing import TYPE_CHECKING, Final

from msgspec import structs

from qgasim.guest.files.nodes import os_error
from qgasim.guest.settings import MountSettings

if TYPE_CHECKING:
    from qgasim.guest.files.files import Files

__all__ = [
    "SYSTEM_DIRECTORY",
    "ZONES",
    "find_case",
    "find_program",
    "inner_mounts",
    "inner_path",
    "volume_name",
    "zone_name",
]

#: Where a service works, the agent among them.
SYSTEM_DIRECTORY: Final = "C:\\Windows\\System32"
#: The root beside the drives, which no client sees.
_ROOT: Final = MountSettings(device="rootfs", path="/", type="rootfs", size=256 << 20)
#: What makes the GUIDs of volumes that a scenario leaves open.
_NAMESPACE: Final = uuid.UUID("5b7f0e6e-6d37-4a6e-9a70-5a3f6f0f7a11")


def inner_path(path: str) -> str:
    r"""Return the path in the guest's tree: ``/C:/Users`` for ``c:\Users``.

    ``..`` is undone in the text, as Windows does it; a path without a drive is the agent's.
    """
    path = path.replace("/", "\\").removeprefix("\\\\?\\")
    if path[1:2] != ":":
        drive = SYSTEM_DIRECTORY[:2]
        path = drive + path if path.startswith("\\") else f"{SYSTEM_DIRECTORY}\\{path}"
    names: list[str] = []
    for name in path[2:].split("\\"):
        if name == "..":
            del names[-1:]
        elif name not in ("", "."):
            names.append(name)
    return "/".join(["", path[:2].upper(), *names])


def find_case(files: "Files", path: str) -> str:
    """Return *path* of the tree with the names as they are written there: Windows ignores case."""
    found = ""
    for name in path.split("/")[1:]:
        if not files.exists(f"{found}/{name}") and files.is_dir(found or "/"):
            wanted = name.casefold()
            name = next((n for n in files.listdir(found or "/") if n.casefold() == wanted), name)  # noqa: PLW2901
        found += f"/{name}"
    return found


def inner_mounts(mounts: list[MountSettings]) -> list[MountSettings]:
    """Return what is mounted in the tree: a root, and *mounts* below it, a drive before what is in it."""
    inner = [
        structs.replace(
            mount,
            path=inner_path(mount.path) if mount.path else f"/volumes/{number}",
            bind=None if mount.bind is None else inner_path(mount.bind),
        )
        for number, mount in enumerate(mounts)
    ]
    return [_ROOT, *sorted(inner, key=lambda m: (m.bind is not None, m.path.count("/")))]


def volume_name(mount: MountSettings) -> str:
    r"""Return the name of a volume: ``\\?\Volume{GUID}\``."""
    guid = mount.volume or str(uuid.uuid5(_NAMESPACE, f"{mount.device} {mount.path}"))
    return f"\\\\?\\Volume{{{guid}}}\\"


#: What the C library of Windows tries if a name has no extension (_spawnvp()).
_EXTENSIONS: Final = ("", ".com", ".exe", ".bat", ".cmd")


def find_program(files: "Files", name: str, search: str | None) -> str:
    """Return the path in the tree of the program *name*; *search* is a PATH. OSError if there is none."""
    directories = [""]
    if not any(mark in name for mark in "\\/:"):
        directories += ["C:\\Windows\\System32\\", "C:\\Windows\\"]
        directories += [f"{part}\\" for part in (search or "").split(";") if part]
    for directory in directories:
        for extension in _EXTENSIONS:
            path = find_case(files, inner_path(f"{directory}{name}{extension}"))
            if files.can_execute(path):
                return path
    raise os_error(errno.ENOENT, name)


# -- time zones -----------------------------------------------------------------------------------

#: What Windows calls zones, in English (CLDR, windowsZones.xml).
ZONES: Final = {
    "Africa/Johannesburg": "South Africa",
    "America/Chicago": "Central",
    "America/Denver": "Mountain",
    "America/Los_Angeles": "Pacific",
    "America/New_York": "Eastern",
    "America/Sao_Paulo": "E. South America",
    "Asia/Kolkata": "India",
    "Asia/Shanghai": "China",
    "Asia/Singapore": "Singapore",
    "Asia/Tokyo": "Tokyo",
    "Australia/Sydney": "AUS Eastern",
    "Europe/Amsterdam": "W. Europe",
    "Europe/Berlin": "W. Europe",
    "Europe/Brussels": "Romance",
    "Europe/Budapest": "Central Europe",
    "Europe/Helsinki": "FLE",
    "Europe/London": "GMT",
    "Europe/Madrid": "Romance",
    "Europe/Moscow": "Russian",
    "Europe/Paris": "Romance",
    "Europe/Prague": "Central Europe",
    "Europe/Rome": "W. Europe",
    "Europe/Stockholm": "W. Europe",
    "Europe/Vienna": "W. Europe",
    "Europe/Warsaw": "Central European",
    "Europe/Zurich": "W. Europe",
}
_UTC: Final = "Coordinated Universal Time"


def zone_name(zone: str | None, local: datetime) -> str:
    """Return what Windows calls a time zone at the time *local*.

    UNVERIFIED: for zones that are not in the table, the abbreviation stands in.
    """
    if zone is None or zone.rpartition("/")[2] in ("UTC", "UCT", "Zulu", "Universal"):
        return _UTC
    name = ZONES.get(zone)
    if name is None:
        return local.tzname() or _UTC
    return f"{name} {'Daylight' if local.dst() else 'Standard'} Time"
