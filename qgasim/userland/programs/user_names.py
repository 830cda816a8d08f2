"""User and group names, from the guest's /etc/passwd and /etc/group."""

from msgspec import Struct

from qgasim.guest.files.nodes import decode_name
from qgasim.guest.processes.process import Process
from qgasim.guest.system.accounts import parse_id

__all__ = ["Group", "User", "find_user", "group_name", "groups", "user_name", "users"]


class User(Struct):
    """A line of /etc/passwd."""

    name: str
    uid: int
    gid: int


class Group(Struct):
    """A line of /etc/group."""

    name: str
    gid: int
    members: list[str]


def _rows(p: Process, path: str, width: int) -> list[list[str]]:
    try:
        text = decode_name(p.guest.files.read_settings(path))
    except OSError:
        return []
    rows = [line.split(":") for line in text.splitlines()]
    return [row for row in rows if len(row) >= width and parse_id(row[2]) is not None]


def users(p: Process) -> list[User]:
    """Return the accounts, in order."""
    rows = _rows(p, "/etc/passwd", 6)
    return [
        User(r[0], uid, gid)
        for r in rows
        if (uid := parse_id(r[2])) is not None and (gid := parse_id(r[3])) is not None
    ]


def groups(p: Process) -> list[Group]:
    """Return the groups, in order."""
    rows = _rows(p, "/etc/group", 4)
    return [Group(r[0], parse_id(r[2]) or 0, [m for m in r[3].split(",") if m]) for r in rows]


def find_user(p: Process, name: str) -> User | None:
    """Find an account by its name."""
    return next((user for user in users(p) if user.name == name), None)


def user_name(p: Process, uid: int) -> str | None:
    """Return the name of a user; None if there is none."""
    return next((user.name for user in users(p) if user.uid == uid), None)


def group_name(p: Process, gid: int) -> str | None:
    """Return the name of a group; None if there is none."""
    return next((group.name for group in groups(p) if group.gid == gid), None)
