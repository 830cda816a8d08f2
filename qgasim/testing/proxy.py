"""Objects of another thread, used as if they were this one's."""

from collections.abc import Callable, Iterator
from typing import Any, Final, TypeAlias, TypeVar, cast

from msgspec import Struct

from qgasim.suggestions import did_you_mean
from qgasim.testing.steps import Step, show_call, show_value

__all__ = ["proxy"]

T = TypeVar("T")
#: Calls a function in the thread that owns the objects.
Call: TypeAlias = Callable[[Callable[[], Any]], Any]
#: Sets an attribute.
Assign: TypeAlias = Callable[[Any, str, Any], None]
#: Takes what is done, as a statement of Python.
Record: TypeAlias = Callable[[str], Step | None]
#: Calls that change nothing, by how their names begin.
_READS: Final = (
    "copy", "count", "exists", "find", "get", "has_", "index", "is_", "items", "keys", "list", "now", "read",
    "stat", "uptime", "values",
)  # fmt: skip
#: What can be handed from thread to thread as it is.
_PLAIN: Final = (str, bytes, int, float, bool, type(None))


class Access(Struct, frozen=True):
    """How objects of another thread are used."""

    call: Call
    assign: Assign
    #: Called before a change, with the change as Python code.
    record: Record


def proxy(
    target: T,
    call: Call,
    assign: Assign = setattr,
    record: Record = lambda _: None,
    path: str = "",
) -> T:
    """Return what looks like *target*.

    Args:
        target: an object of another thread.
        call: does whatever is done with it.
        assign: sets attributes of it, and of what is reached through it.
        record: is told what changes it, or may change it, as Python, in the other thread.
        path: what it is called there.
    """
    return cast("T", _wrap(target, Access(call, assign, record), path))


def _wrap(value: Any, access: Access, path: str) -> Any:
    if isinstance(value, (*_PLAIN, type)):
        return value
    if isinstance(value, tuple):
        return tuple(  # pyright: ignore[reportUnknownVariableType]
            _wrap(item, access, f"{path}[{number}]")
            for number, item in enumerate(value)  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
        )
    return _Proxy(value, access, path)


def _unwrap(value: Any) -> Any:
    """Return what a stand-in stands for, also those in a list or a dict of the test."""
    kind: object = cast("object", type(value))
    if kind is _Proxy:
        return object.__getattribute__(value, "_target")
    if kind is list:
        items = cast("list[object]", value)
        return [*map(_unwrap, items)] if _Proxy in map(type, items) else items
    if kind is dict:
        entries = cast("dict[object, object]", value)
        if _Proxy in map(type, entries.values()):
            return {key: _unwrap(item) for key, item in entries.items()}
    return value


class _Proxy:
    """Stands for an object of another thread."""

    __slots__ = ("_access", "_path", "_target")

    def __init__(self, target: object, access: Access, path: str) -> None:
        object.__setattr__(self, "_access", access)
        object.__setattr__(self, "_target", target)
        object.__setattr__(self, "_path", path)

    @staticmethod
    def path_of(stand_in: "_Proxy") -> str:
        """Return what the object is called in Python."""
        return str(object.__getattribute__(stand_in, "_path"))

    def __getattr__(self, name: str) -> Any:
        return _do(self, lambda target: _get(target, name), f"{_Proxy.path_of(self)}.{name}")

    def __setattr__(self, name: str, value: Any) -> None:
        access: Access = object.__getattribute__(self, "_access")
        path = f"{_Proxy.path_of(self)}.{name}"
        shown = show_value(value)
        # `nics += [...]` sets the attribute, too.
        step = f"{path} = {shown}" if shown != path else ""
        _do(self, lambda target: access.assign(target, name, _unwrap(value)), step=step)

    def __delattr__(self, name: str) -> None:
        _do(self, lambda target: delattr(target, name), step=f"del {_Proxy.path_of(self)}.{name}")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        given = [_unwrap(value) for value in args]
        named = {name: _unwrap(value) for name, value in kwargs.items()}
        path = show_call(_Proxy.path_of(self), args, kwargs)
        name = _Proxy.path_of(self).rpartition(".")[2]
        step = "" if name.startswith(_READS) else path
        return _do(self, lambda target: target(*given, **named), path, step)

    def __getitem__(self, key: Any) -> Any:
        path = f"{_Proxy.path_of(self)}[{show_value(key)}]"
        return _do(self, lambda target: target[_unwrap(key)], path)

    def __setitem__(self, key: Any, value: Any) -> None:
        path = f"{_Proxy.path_of(self)}[{show_value(key)}]"
        shown = show_value(value)
        step = f"{path} = {shown}" if shown != path else ""
        _do(self, lambda target: target.__setitem__(_unwrap(key), _unwrap(value)), step=step)

    def __delitem__(self, key: Any) -> None:
        step = f"del {_Proxy.path_of(self)}[{show_value(key)}]"
        _do(self, lambda target: target.__delitem__(_unwrap(key)), step=step)

    def __iadd__(self, items: Any) -> Any:
        given = _unwrap(items)
        step = f"{_Proxy.path_of(self)} += {show_value(items)}"
        _do(self, lambda target: target.__iadd__(given), step=step)
        return self

    def __ior__(self, items: Any) -> Any:
        given = _unwrap(items)
        step = f"{_Proxy.path_of(self)} |= {show_value(items)}"
        _do(self, lambda target: target.__ior__(given), step=step)
        return self

    def __iter__(self) -> Iterator[Any]:
        return iter(_do(self, tuple, f"[*{_Proxy.path_of(self)}]"))

    def __len__(self) -> int:
        return int(_do(self, len))

    def __contains__(self, item: object) -> bool:
        return bool(_do(self, lambda target: _unwrap(item) in target))

    def __bool__(self) -> bool:
        return bool(_do(self, bool))

    def __eq__(self, other: object) -> bool:
        return bool(_do(self, lambda target: target == _unwrap(other)))

    def __hash__(self) -> int:
        return hash(_unwrap(self))

    def __dir__(self) -> list[str]:
        return list(_do(self, dir))

    def __repr__(self) -> str:
        return str(_do(self, repr))


def _do(stand_in: _Proxy, function: Callable[[Any], Any], path: str = "", step: str = "") -> Any:
    """Call *function* where the object is; record *step*, if it is one; the result is called *path*."""
    target = object.__getattribute__(stand_in, "_target")
    access: Access = object.__getattribute__(stand_in, "_access")

    def do() -> Any:
        if not step:
            return function(target)
        recorded = access.record(step)
        try:
            return function(target)
        except Exception as error:
            if recorded is not None:
                recorded.fail(error)
            raise

    return _wrap(access.call(do), access, path)


def _get(target: object, name: str) -> Any:
    try:
        return getattr(target, name)
    except AttributeError as error:
        known = dir(target)
        if name in known or name.startswith("_"):
            raise
        text = f"{error}{did_you_mean(name, known)}"
    raise AttributeError(text)
