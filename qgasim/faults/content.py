"""Faults in what a reply says."""

from collections.abc import Callable
from copy import deepcopy
from functools import partial
from typing import Any, Final, Literal, TypeAlias, cast

from msgspec import field

from qgasim.effects import Effect
from qgasim.errors import CommandError
from qgasim.faults.base import Exchange, Fault, rewrite, rewrite_value
from qgasim.guest.units import Duration, Size
from qgasim.qapi.envelope import write_error
from qgasim.wire import encode

__all__ = ["Edit", "Empty", "Huge", "InjectedError", "Stale", "parse_pointer"]


class InjectedError(Fault, frozen=True, kw_only=True, tag="error"):
    """The command fails; the guest is untouched."""

    #: The error's text.
    desc: str
    #: The error's class.
    error_class: str = field(default="GenericError", name="class")

    def before(self, exchange: Exchange) -> bytes | None:
        """Answer by the error."""
        error = CommandError(self.desc)
        error.error_class = self.error_class
        return write_error(error, exchange.shown_id)


class Stale(Fault, frozen=True, kw_only=True, tag="stale"):
    """The reply is of an earlier time; the command does not run.

    Without *as_of* it is an earlier reply to the same command. With *as_of* the command is asked of the
    guest as it was then, even if no client had asked; what it does there is forgotten.
    """

    #: The latest reply that is at least this old; the first request of all is answered as usual.
    age: Duration = 0
    #: The guest's uptime whose state the replies show from then on; until then requests are answered as usual.
    as_of: Duration | None = None

    def before(self, exchange: Exchange) -> bytes | None:
        """Answer as then."""
        if self.as_of is not None:
            return exchange.recall(self.as_of)
        old = [reply for at, reply in exchange.history if at <= exchange.now - self.age]
        return old[-1] if old else None


def parse_pointer(pointer: str) -> list[str]:
    """Take a JSON Pointer (RFC 6901) apart.

    Raises:
        ValueError: it is none.
    """
    if pointer and not pointer.startswith("/"):
        raise ValueError(f"not a JSON Pointer: {pointer!r} (expected one as in /0/ip-addresses)")
    return [part.replace("~1", "/").replace("~0", "~") for part in pointer.split("/")[1:]]


JsonType: TypeAlias = Literal["null", "boolean", "integer", "number", "string", "array", "object"]


def _members(value: Any) -> dict[str, Any]:
    """Make an object of a value; of an array as PHP does, by index."""
    items = cast("list[object]", value) if isinstance(value, list) else [value]
    return {str(index): item for index, item in enumerate(items)}


def _number(value: Any) -> float:
    """Make a number of a value: of what is none, its length."""
    if isinstance(value, str):
        return float(value) if value.isdecimal() else len(value)
    if isinstance(value, list | dict):
        return len(cast("list[object]", value))
    return float(value or 0)


#: How a value of another type becomes one of this.
_RETYPE: Final[dict[JsonType, Callable[[Any], Any]]] = {
    "null": lambda _: None,
    "boolean": bool,
    "integer": lambda value: int(value if isinstance(value, int) else _number(value)),
    "number": _number,
    "string": lambda value: value if isinstance(value, str) else encode(value),
    "array": lambda value: cast("Any", value) if isinstance(value, list) else [value],
    "object": lambda value: cast("Any", value) if isinstance(value, dict) else _members(value),
}


class Edit(Fault, frozen=True, kw_only=True, tag="edit"):
    """The value that is returned is changed at some places: JSON Pointers; ``*`` is every item.

    First it is set, then removed, then retyped.
    """

    #: What is there instead, by place. Where nothing is, a member is added.
    set: dict[str, Any] = field(default_factory=dict[str, Any])
    #: Places at which nothing is any more.
    remove: tuple[str, ...] = ()
    #: The type to turn values into, by place: a number its digits, an array an object with its
    #: indices as names.
    retype: dict[str, JsonType] = field(default_factory=dict[str, JsonType])

    def apply(self, exchange: Exchange, effects: list[Effect]) -> list[Effect]:
        """Change it; places that there are not are passed over."""
        return rewrite_value(effects, self.edited)

    def edited(self, value: Any) -> Any:
        """Return what becomes of a value, which may itself be changed."""
        holder: list[Any] = [value]
        for pointer, new in self.set.items():
            _change(holder, pointer, partial(_put, new))
        for pointer in self.remove:
            _change(holder, pointer, _take)
        for pointer, wanted in self.retype.items():
            _change(holder, pointer, partial(_retype, wanted))
        return holder[0] if holder else {}


Change: TypeAlias = Callable[[list[Any]], list[Any]]


def _put(new: Any, _: list[Any]) -> list[Any]:
    return [deepcopy(new)]


def _take(_: list[Any]) -> list[Any]:
    return []


def _retype(wanted: JsonType, old: list[Any]) -> list[Any]:
    return [_RETYPE[wanted](value) for value in old]


def _change(holder: list[Any], pointer: str, change: Change) -> None:
    """Put at a place what *change* makes of what is there: a list of one item, or of none."""
    if holder:
        _change_at(holder, ["0", *parse_pointer(pointer)], change)


def _change_at(container: Any, path: list[str], change: Change) -> None:
    name, *rest = path
    if isinstance(container, list):
        items = cast("list[object]", container)
        if name == "*":
            places = range(len(items))
        elif name.isdecimal() and int(name) < len(items):
            places = range(int(name), int(name) + 1)
        else:
            return
        for place in reversed(places):
            if rest:
                _change_at(items[place], rest, change)
            else:
                items[place : place + 1] = change([items[place]])
    elif isinstance(container, dict):
        members = cast("dict[str, object]", container)
        if rest:
            _change_at(members.get(name), rest, change)
        elif new := change([members[name]] if name in members else []):
            members[name] = new[0]
        else:
            members.pop(name, None)


class Empty(Fault, frozen=True, kw_only=True, tag="empty"):
    """The value that is returned is empty: an object without members, a list without items."""

    def apply(self, exchange: Exchange, effects: list[Effect]) -> list[Effect]:
        """Empty it; a number becomes zero."""
        return rewrite_value(effects, lambda value: type(value)())


class Huge(Fault, frozen=True, kw_only=True, tag="huge"):
    """The reply is padded with spaces, which mean nothing in JSON."""

    #: How many bytes it has then.
    size: Size

    def apply(self, exchange: Exchange, effects: list[Effect]) -> list[Effect]:
        """Pad it."""

        def pad(reply: bytes) -> bytes:
            start, brace, end = reply.rpartition(b"}")
            return start + b" " * (self.size - len(reply)) + brace + end

        return rewrite(effects, pad)
