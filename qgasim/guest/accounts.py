"""The guest's accounts and logins."""

from typing import Literal

from msgspec import Struct

from qgasim.guest.units import Time

__all__ = ["Account", "Entry", "Login", "find_entry"]


class Account(Struct, kw_only=True):
    """A line of /etc/passwd and /etc/shadow."""

    uid: int
    gid: int
    home: str
    shell: str = "/bin/sh"
    #: The hash in /etc/shadow.
    password: str = "*"
    comment: str = ""
    #: Whether the home directory exists.
    has_home: bool = True
    #: The text of ``~/.ssh/authorized_keys``; None if there is no such file.
    authorized_keys: str | None = None


class Login(Struct, kw_only=True):
    """An entry of utmp."""

    user: str
    #: When; utmp is exact to the microsecond.
    time: Time
    line: str = ""
    host: str = ""
    kind: Literal["user", "dead", "boot", "init", "login"] = "user"


class Entry(Struct, frozen=True):
    """What /etc/passwd says of an account."""

    name: str
    uid: int
    gid: int
    home: str
    shell: str


def find_entry(passwd: bytes, name: str) -> Entry | None:
    """Find an account in the text of /etc/passwd, as getpwnam(3) does."""
    for line in passwd.decode("utf-8", "surrogateescape").split("\n"):
        fields = line.split(":")
        if (
            len(fields) == 7
            and fields[0] == name
            and fields[2].isdecimal()
            and fields[3].isdecimal()
        ):
            return Entry(name, int(fields[2]), int(fields[3]), fields[5], fields[6])
    return None
