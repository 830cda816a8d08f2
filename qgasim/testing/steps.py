"""What a test has done to a guest, written down as the Python that does it again."""

from collections.abc import Iterable
from datetime import timedelta
from typing import Any, Final, cast

from msgspec import NODEFAULT, Struct, structs

__all__ = ["Step", "Steps", "show_call", "show_value"]

#: How many steps are kept, and how long one may be.
LIMIT: Final = 1000
LENGTH: Final = 4000
_PLAIN: Final = (str, bytes, int, float, bool, type(None), timedelta)


class Step(Struct):
    """Something that a test did."""

    #: How many entries the journal had.
    position: int
    #: The guest's uptime, in ns.
    at: int
    #: A statement; a comment if it cannot be written down.
    text: str
    #: The how many'th it is.
    number: int
    #: What it has armed, if it is a fault.
    armed: object = None

    def fail(self, error: BaseException) -> None:
        """Note that it was refused, so that it changed nothing."""
        self.text = f"# {self.text}: {type(error).__name__}".replace("\n", " ")


class Steps:
    """The steps of a test, in their order; what is beyond a number is only counted."""

    def __init__(self) -> None:
        self.kept: list[Step] = []
        #: How many more there were.
        self.dropped = 0

    def add(self, position: int, at: int, text: str) -> Step:
        """Put down a step."""
        if len(text) > LENGTH:
            text = f"# {text[:100]!r}... ({len(text)} characters) is too long to be written down"
        elif "\0" in text:
            # `show_value` marks so what has no text.
            text = "# " + text.replace("\0", "").replace("\n", " ")
        step = Step(position, at, text, len(self.kept) + self.dropped + 1)
        if len(self.kept) < LIMIT:
            self.kept.append(step)
        else:
            self.dropped += 1
        return step

    def end(self, armed: object, position: int, at: int) -> None:
        """Put down that a fault was ended; nothing, if it was armed by no step that is kept."""
        for step in self.kept:
            if step.armed is armed and step.text.startswith("qga."):
                step.text = f"end_{step.number} = {step.text}"
                self.add(position, at, f"end_{step.number}()")
                return


def show_call(name: str, arguments: Iterable[object], settings: dict[str, Any]) -> str:
    """Write a call."""
    shown = [*map(show_value, arguments)]
    shown += [f"{key}={show_value(value)}" for key, value in settings.items()]
    return f"{name}({', '.join(shown)})"


def show_value(value: object, depth: int = 0) -> str:  # noqa: PLR0911
    """Write a value; with a NUL in it, if it cannot be written as Python."""
    path = getattr(type(value), "path_of", None)
    if path is not None:
        return str(path(value))
    if isinstance(value, _PLAIN):
        return repr(value).replace("datetime.timedelta", "timedelta")
    if depth > 20:
        return "\0..."
    if isinstance(value, list | tuple):
        items = [show_value(item, depth + 1) for item in cast("list[object]", value)]
        if isinstance(value, list):
            return f"[{', '.join(items)}]"
        return f"({', '.join(items)}{',' if len(items) == 1 else ''})"
    if isinstance(value, dict):
        entries = cast("dict[object, object]", value).items()
        shown = (f"{show_value(k, depth + 1)}: {show_value(v, depth + 1)}" for k, v in entries)
        return f"{{{', '.join(shown)}}}"
    if isinstance(value, Struct) and type(value).__module__.startswith("qgasim."):
        given = [
            f"{field.name}={show_value(item, depth + 1)}"
            for field in structs.fields(value)
            if (item := getattr(value, field.name)) != _default_of(field)
        ]
        return f"{type(value).__name__}({', '.join(given)})"
    # A class of the test's own has a name that another file does not know.
    return f"\0{value!r}"


def _default_of(field: structs.FieldInfo) -> object:
    return field.default if field.default_factory is NODEFAULT else field.default_factory()
