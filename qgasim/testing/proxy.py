"""Objects of another thread, used as if they were this one's."""

from collections.abc import Callable, Iterator
from typing import Any, Final, TypeAlias, TypeVar, cast

from qgasim.suggestions import did_you_mean

__all__ = ["proxy"]

T = TypeVar("T")
#: Calls a function in the thread that owns the objects.
Call: TypeAlias = Callable[[Callable[[], Any]], Any]
#: Sets an attribute.
Assign: TypeAlias = Callable[[Any, str, Any], None]
#: What can be handed from thread to thread as it is.
_PLAIN: Final = (str, bytes, int, float, bool, type(None))


def proxy(target: T, call: Call, assign: Assign = setattr) -> T:
    """Return what looks like *target*.

    Args:
        target: an object of another thread.
        call: does whatever is done with it.
        assign: sets attributes of it, and of what is reached through it.
    """
    return cast("T", _wrap(target, call, assign))


def _wrap(value: Any, call: Call, assign: Assign) -> Any:
    if isinstance(value, (*_PLAIN, type)):
        return value
    if isinstance(value, tuple):
        return tuple(_wrap(item, call, assign) for item in value)  # pyright: ignore[reportUnknownVariableType]
    return _Proxy(value, call, assign)


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

    __slots__ = ("_assign", "_call", "_target")

    def __init__(self, target: object, call: Call, assign: Assign) -> None:
        object.__setattr__(self, "_assign", assign)
        object.__setattr__(self, "_target", target)
        object.__setattr__(self, "_call", call)

    def __getattr__(self, name: str) -> Any:
        __tracebackhide__ = True
        return _do(self, lambda target: _get(target, name))

    def __setattr__(self, name: str, value: Any) -> None:
        __tracebackhide__ = True
        assign: Assign = object.__getattribute__(self, "_assign")
        _do(self, lambda target: assign(target, name, _unwrap(value)))

    def __delattr__(self, name: str) -> None:
        _do(self, lambda target: delattr(target, name))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        __tracebackhide__ = True
        given = [_unwrap(value) for value in args]
        named = {name: _unwrap(value) for name, value in kwargs.items()}
        return _do(self, lambda target: target(*given, **named))

    def __getitem__(self, key: Any) -> Any:
        return _do(self, lambda target: target[_unwrap(key)])

    def __setitem__(self, key: Any, value: Any) -> None:
        _do(self, lambda target: target.__setitem__(_unwrap(key), _unwrap(value)))

    def __delitem__(self, key: Any) -> None:
        _do(self, lambda target: target.__delitem__(_unwrap(key)))

    def __iadd__(self, items: Any) -> Any:
        __tracebackhide__ = True
        given = _unwrap(items)
        _do(self, lambda target: target.__iadd__(given))
        return self

    def __ior__(self, items: Any) -> Any:
        __tracebackhide__ = True
        given = _unwrap(items)
        _do(self, lambda target: target.__ior__(given))
        return self

    def __iter__(self) -> Iterator[Any]:
        return iter(_do(self, tuple))

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


def _do(stand_in: _Proxy, function: Callable[[Any], Any]) -> Any:
    __tracebackhide__ = True
    target = object.__getattribute__(stand_in, "_target")
    call: Call = object.__getattribute__(stand_in, "_call")
    assign: Assign = object.__getattribute__(stand_in, "_assign")
    return _wrap(call(lambda: function(target)), call, assign)


def _get(target: object, name: str) -> Any:
    __tracebackhide__ = True
    try:
        return getattr(target, name)
    except AttributeError as error:
        known = dir(target)
        if name in known or name.startswith("_"):
            raise
        text = f"{error}{did_you_mean(name, known)}"
    raise AttributeError(text)
