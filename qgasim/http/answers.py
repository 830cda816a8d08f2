"""JSON as it is sent: UTF-8, whatever is in the names of a guest's files."""

from typing import Any, cast

import msgspec

__all__ = ["write_json"]


def write_json(value: object) -> bytes:
    """Write JSON. What UTF-8 cannot write (a name may be any bytes) is written as an escape."""
    try:
        return msgspec.json.encode(value)
    except UnicodeEncodeError:
        return msgspec.json.encode(_escape(msgspec.to_builtins(value)))


def _escape(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, dict):
        entries = cast("dict[str, Any]", value)
        return {_escape(key): _escape(item) for key, item in entries.items()}
    if isinstance(value, list):
        return [_escape(item) for item in cast("list[Any]", value)]  # type: ignore[redundant-cast]
    return value
