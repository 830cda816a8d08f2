"""The guest's accounts and logins."""

import re
from typing import Final, Literal

from msgspec import Struct

from qgasim.guest.units import Time

__all__ = ["Account", "Login", "PasswdEntry", "find_entry", "make_entries", "parse_id"]

#: The largest number of a user or group; as one, it stands for none.
LARGEST_ID: Final = 0xFFFF_FFFF


class Account(Struct, kw_only=True):
    """A line of /etc/passwd and /etc/shadow."""

    #: The user's number; absent: 0 for root, 1000 and more for others, in their order.
    uid: int | None = None
    #: The group's number; absent: the same as *uid*.
    gid: int | None = None
    #: The home directory; absent: /root, or /home (Windows: ``C:\Users``) and the name.
    home: str | None = None
    #: The login shell.
    shell: str = "/bin/sh"
    #: The hash in /etc/shadow.
    password: str = "*"
    #: The name in full.
    comment: str = ""
    #: Whether the home directory exists.
    has_home: bool = True
    #: The text of ``~/.ssh/authorized_keys``; absent: there is no such file.
    authorized_keys: str | None = None
    #: Whether it is one of Windows' administrators.
    is_admin: bool = False


class Login(Struct, kw_only=True):
    """An entry of utmp."""

    #: The user's name.
    user: str
    #: When; utmp is exact to the microsecond.
    time: Time
    #: The terminal, as in ``pts/0``.
    line: str = ""
    #: Where from.
    host: str = ""
    #: The domain of a user of Windows; absent: the computer itself.
    domain: str | None = None
    #: Only entries of the kind ``user`` are logins.
    kind: Literal["user", "dead", "boot", "init", "login"] = "user"


class PasswdEntry(Struct, frozen=True):
    """What /etc/passwd says of an account."""

    name: str
    uid: int
    gid: int
    home: str
    shell: str


def make_entries(users: dict[str, Account]) -> list[PasswdEntry]:
    """Return the entries of *users*, with everything decided that was left open."""
    taken = {account.uid for account in users.values()}
    free = (uid for uid in range(1000, 60000) if uid not in taken)
    result: list[PasswdEntry] = []
    for name, account in users.items():
        uid = account.uid
        if uid is None:
            uid = 0 if name == "root" else next(free)
        gid = uid if account.gid is None else account.gid
        home = account.home or ("/root" if name == "root" else f"/home/{name}")
        result.append(PasswdEntry(name, uid, gid, home, account.shell))
    return result


def find_entry(passwd: bytes, name: str) -> PasswdEntry | None:
    """Find an account in the text of /etc/passwd, as getpwnam(3) does."""
    start = re.escape(name.encode("utf-8", "surrogateescape"))
    if b":" in start or b"\n" in start:
        return None
    for found in re.finditer(rb"^%b%b$" % (start, rb":([^:\n]*+)" * 6), passwd, re.MULTILINE):
        fields = [field.decode("utf-8", "surrogateescape") for field in found.groups()]
        uid, gid = parse_id(fields[1]), parse_id(fields[2])
        if uid is not None and gid is not None:
            return PasswdEntry(name, uid, gid, fields[4], fields[5])
    return None


def parse_id(text: str) -> int | None:
    """Read the number of a user or group; None if it is none.

    One that is too large is the largest (glibc, nss/nss_files/files-parse.c, strtou32()).
    """
    if not (text.isascii() and text.isdecimal()):
        return None
    digits = text.lstrip("0")
    return LARGEST_ID if len(digits) > len(str(LARGEST_ID)) else min(int(digits or "0"), LARGEST_ID)
