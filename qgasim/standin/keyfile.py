"""Key files as glib's GKeyFile reads and writes them, as far as qemu-ga's need it."""

from collections.abc import Mapping

__all__ = ["KeyFileError", "as_boolean", "dump", "parse"]


class KeyFileError(Exception):
    """What glib says of a key file."""


def parse(text: str) -> dict[str, dict[str, str]]:
    """Read groups of keys and values."""
    groups: dict[str, dict[str, str]] = {}
    group: dict[str, str] | None = None
    for line in map(str.strip, text.split("\n")):
        if not line or line.startswith("#"):
            continue
        if line.startswith("[") and line.endswith("]"):
            group = groups.setdefault(line[1:-1], {})
            continue
        key, equals, value = line.partition("=")
        if not equals or not key.strip():
            raise KeyFileError(
                f"Key file contains line “{line}” which is not a key-value pair, group, or comment"
            )
        if group is None:
            raise KeyFileError("Key file does not start with a group")
        group[key.strip()] = value.strip()
    return groups


def as_boolean(key: str, value: str) -> bool:
    """Read a boolean."""
    try:
        return {"true": True, "1": True, "false": False, "0": False}[value]
    except KeyError:
        raise KeyFileError(
            f"Key file contains key “{key}” which has a value that cannot be interpreted."
        ) from None


def dump(group: str, values: Mapping[str, str | bool | int]) -> str:
    """Write one group."""
    lines = [
        f"{key}={str(value).lower() if isinstance(value, bool) else value}"
        for key, value in values.items()
    ]
    return "\n".join([f"[{group}]", *lines]) + "\n"
