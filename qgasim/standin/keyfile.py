"""Key files as glib's GKeyFile reads and writes them, as far as qemu-ga's need it.

Tried with qemu-ga 7.2.22 and the glib of Debian 12.
"""

from collections.abc import Mapping
from typing import Final

__all__ = ["KeyFileError", "as_boolean", "as_text", "dump", "parse"]

_ESCAPES: Final = {"s": " ", "n": "\n", "t": "\t", "r": "\r", "\\": "\\"}
_SPACES: Final = " \t\n\v\f\r"


class KeyFileError(Exception):
    """What glib says of a key file."""


def parse(text: str) -> dict[str, dict[str, str]]:
    """Read groups of keys and values; these are as they stand there, without the space before them.

    Bytes that are no UTF-8 are in *text* as `surrogateescape` leaves them.
    """
    groups: dict[str, dict[str, str]] = {}
    group: dict[str, str] | None = None
    for whole in text.split("\n"):
        line = whole.removesuffix("\r").lstrip(_SPACES)
        if not line or line.startswith("#"):
            continue
        header = line.rstrip(_SPACES)
        if header.startswith("[") and header.find("]") == len(header) - 1:
            if header == "[]":
                raise KeyFileError("Invalid group name: ")
            group = groups.setdefault(header[1:-1], {})
            continue
        key, equals, value = line.partition("=")
        if not equals or not key or header.startswith("["):
            raise KeyFileError(
                f"Key file contains line “{_make_valid(whole)}” which is not a key-value pair,"
                " group, or comment"
            )
        if group is None:
            raise KeyFileError("Key file does not start with a group")
        group[key.rstrip(_SPACES)] = value.lstrip(_SPACES).partition("\0")[0]
    return groups


def _make_valid(text: str) -> str:
    return text.encode(errors="surrogateescape").decode(errors="replace")


def as_text(key: str, value: str) -> str:
    """Read a string."""
    try:
        value.encode()
    except UnicodeEncodeError:
        raise KeyFileError(
            f"Key file contains key “{key}” with value “{_make_valid(value)}” which is not UTF-8"
        ) from None
    plain, *escaped = value.split("\\")
    parts = iter(escaped)
    for part in parts:
        if part:
            if part[0] not in _ESCAPES:
                raise _misread(key)
            plain += _ESCAPES[part[0]] + part[1:]
        else:
            # A backslash that a backslash follows, and what comes then.
            rest = next(parts, None)
            if rest is None:
                raise _misread(key)
            plain += "\\" + rest
    return plain


def as_boolean(key: str, value: str) -> bool:
    """Read a boolean."""
    try:
        return {"true": True, "1": True, "false": False, "0": False}[value.rstrip(_SPACES)]
    except KeyError:
        raise _misread(key) from None


def _misread(key: str) -> KeyFileError:
    return KeyFileError(
        f"Key file contains key “{key}” which has a value that cannot be interpreted."
    )


def dump(group: str, values: Mapping[str, str | bool | int]) -> str:
    """Write one group."""
    lines = [f"{key}={_write(value)}" for key, value in values.items()]
    return "\n".join([f"[{group}]", *lines]) + "\n"


def _write(value: str | bool | int) -> str:
    if not isinstance(value, str):
        return str(value).lower()
    escaped = value.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")
    inner = escaped.lstrip(" \t")
    leading = escaped[: len(escaped) - len(inner)]
    return leading.replace(" ", "\\s").replace("\t", "\\t") + inner
