"""File modes as people write them: ``0644``, ``u+x,go-w``, ``drwxr-xr-x``."""

import re
import stat
from functools import lru_cache

__all__ = ["format_mode", "kind_name", "parse_mode"]

_WHO = {"u": 0o4700, "g": 0o2070, "o": 0o1007, "a": 0o7777}
_KINDS = {
    stat.S_IFDIR: "directory", stat.S_IFLNK: "symbolic link", stat.S_IFCHR: "character special file",
    stat.S_IFBLK: "block special file", stat.S_IFIFO: "fifo", stat.S_IFSOCK: "socket",
}  # fmt: skip


@lru_cache(maxsize=256)
def format_mode(mode: int) -> str:
    """Write a mode as ``ls -l`` does."""
    return stat.filemode(mode)


def kind_name(mode: int, size: int) -> str:
    """Return what ``stat`` calls a file of this mode."""
    default = "regular file" if size else "regular empty file"
    return _KINDS.get(stat.S_IFMT(mode), default)


def parse_mode(
    text: str, old: int = 0, *, is_directory: bool = False, umask: int = 0o022
) -> int | None:
    """Return the permission bits that *text* makes of *old*; None if it is no mode."""
    if re.fullmatch(r"[0-7]{1,5}", text):
        mode = int(text, 8)
        return mode if mode <= 0o7777 else None
    mode = old & 0o7777
    for clause in text.split(","):
        found = re.fullmatch(r"([ugoa]*)((?:[-+=](?:[rwxXst]*|[ugo]))+)", clause)
        if not found:
            return None
        who = 0
        for letter in found[1] or "a":
            who |= _WHO[letter]
        # Without a letter the umask counts.
        masked = umask if not found[1] else 0
        for sign, permissions in re.findall(r"([-+=])([rwxXstugo]*)", found[2]):
            bits = _bits(permissions, mode, is_directory=is_directory) & who & ~masked
            if sign == "+":
                mode |= bits
            elif sign == "-":
                mode &= ~bits
            else:
                kept = mode & 0o6000 if is_directory else 0
                mode = (mode & ~who) | bits | kept
    return mode


def _bits(permissions: str, mode: int, *, is_directory: bool) -> int:
    if permissions in ("u", "g", "o"):
        shift = {"u": 6, "g": 3, "o": 0}[permissions]
        return (mode >> shift & 7) * 0o111
    bits = 0
    for letter in permissions:
        if letter == "X":
            bits |= 0o111 if is_directory or mode & 0o111 else 0
        else:
            bits |= {"r": 0o444, "w": 0o222, "x": 0o111, "s": 0o6000, "t": 0o1000}[letter]
    return bits
