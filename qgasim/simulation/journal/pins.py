"""Faults that have fired by chance, written as a scenario has them: in one line, to be copied."""

import re
from typing import Any, Final, cast

from msgspec import Struct, structs

from qgasim.wire import encode, is_object

__all__ = ["show_pin"]

#: A text that YAML reads as it stands.
_BARE: Final = re.compile(r"[a-z][a-z0-9_-]*")
_ESCAPES: Final = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t"}
#: What YAML has as the names of other values.
_WORDS: Final = ("null", "true", "false")


def show_pin(fault: Struct) -> str:
    """Return a fault as a line of a scenario; what is as it would be anyway is left out."""
    settings = {
        field.encode_name: getattr(fault, field.name)
        for field in structs.fields(fault)
        if getattr(fault, field.name)
        != (field.default_factory() if callable(field.default_factory) else field.default)
    }
    return _write({"kind": str(fault.__struct_config__.tag)} | settings)


def _write(value: Any) -> str:
    if is_object(value):
        members = [f"{_write(name)}: {_write(member)}" for name, member in value.items()]
        return f"{{{', '.join(members)}}}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_write, cast('list[Any]', value)))}]"
    if isinstance(value, str):
        return value if _BARE.fullmatch(value) and value not in _WORDS else _quote(value)
    return encode(value)


def _quote(text: str) -> str:
    return f'"{"".join(map(_escape, text))}"'


def _escape(character: str) -> str:
    # YAML takes no characters that cannot be printed, and knows no surrogates, as JSON writes them.
    plain = character if character.isprintable() else f"\\U{ord(character):08X}"
    return _ESCAPES.get(character, plain)
